"""
Keeping the workers of a fleet from their queues while it is deployed
=====================================================================

The workers of a new instance start with its image, and again at the end of the existing
``orchestrate.edx.deploy``: new code, on the live queues and databases, for minutes, and for as long
as it takes to repair a deploy that failed. They cannot be stopped while it is at work: to its
``supervisorctl restart all`` a program that somebody else stops is a failure. So they are let run,
but each of their hosts is cut off from the queues as soon as its minion has started, by a command
of pillar (``services.hold.begin``, a rule of the host's firewall say). Once they are proven stopped
the fence is lifted (``services.hold.end``).

Whoever fences is a process of its own, in a session of its own: salt-cloud goes on when the command
is killed or its terminal is lost, and so does this. It ends when each worker is fenced, when the
deploy has ended, or when the same command is run again and fences from then on. What a reboot of
the master takes with it, its reactor does (:py:func:`at_start`; ``pillar_examples/reactor.conf``).

A host that runs one job at a time can lose a highstate beside another job. So each is sent one job,
when Salt's event says that its minion has started, which is before the existing deploy configures
anything; nothing is asked of it after that.
"""

import contextlib
import contextvars
import fcntl
import functools
import os
import pathlib
import select
import signal
import socket
import time

import salt.utils.event
from salt.exceptions import CommandExecutionError

from mitx_fleet import images, instances
from mitx_hosts import jobs
from mitx_run import events, folders, lock, record
from mitx_run.dunders import __opts__

# Seconds for which an event is waited for, and for the last job to end.
_PERIOD, _LONGEST = 1, 600

_DEPLOY = "orchestrate.edx.deploy"

# Tenths of a second in which an earlier watcher has to end.
_TRIES = 100

# Seconds that a living watcher has to fence a worker, before the reactor does it.
_PATIENCE = 20


def configured(run):
    """
    Return whether pillar says how workers are held.
    """
    return bool(run.settings["services"]["hold"]["begin"])


def workers(run):
    """
    Return a context manager in which the workers of the release that this run deploys are fenced,
    each as soon as its minion has started.

    .. code-block:: python

        with fence.workers(run):
            …
    """
    if not configured(run):
        return contextlib.nullcontext()
    names = _names(run)
    mine = lock.locked_by(run)
    # Whoever enters it: Salt's dunders are those of this moment.
    fence_all = functools.partial(contextvars.copy_context().run, _fence_all, run, names)
    path = _pid_file(run)
    limit = run.settings["timeouts"]["existing"]
    return _watcher(path, fence_all, limit, mine["fd"] if mine and mine["mine"] else None)


def by_reactor():
    """
    Return whether the master's reactor fences new workers (``pillar_examples/reactor.conf``).
    """
    reactions = [sls for one in __opts__.get("reactor") or () for sls in one.values()]
    return any("mitx/reactor/fence" in str(sls) for sls in reactions)


def _names(run):
    """The workers of the release that this run deploys."""
    release = images.release_number(run)
    return [
        one["name"].format(release=release)
        for one in run.settings["instances"]
        if one["role"] == "edx-worker"
    ]


def fence(run, minions):
    """
    Fence those of these workers that are up already and are of the codename that is being deployed.
    Returns them. Whoever is not there yet, or fails, is not in the answer.
    """
    # Names do not carry the codename: were they another release's, these would be the workers that
    # serve.
    codenames = jobs.answers(run, minions, "grains.get", ["edx_codename"])
    return _begin(
        run,
        [minion for minion, codename in codenames.items() if codename == run.settings["codename"]],
    )


def _begin(run, minions):
    try:
        if minions:
            command = run.settings["services"]["hold"]["begin"]
            jobs.shell(run, minions, command, label="fence workers")
            events.write(run, "fenced", minions=list(minions))
        return minions
    except CommandExecutionError:
        # One that cannot be fenced keeps no other from it.
        return [minion for minion in minions if len(minions) > 1 and _begin(run, [minion])]


def at_start(run, minion, started=None):
    """
    Fence a worker whose minion has just started, if it is of the fleet that the environment's last
    run deploys and has not unfenced yet. Returns a sentence. For the master's reactor.

    started
        When it started (UTC, ISO 8601): the process that the command has started may have fenced it
        since, or be about to. Without it nobody is waited for.
    """
    begun = record.runs(run)
    if not begun or not configured(run):
        return f"{minion} is left alone: no run here fences workers"
    folders.use(run, begun[-1]["id"])
    if not _deploying(run):
        return f"{minion} is left alone: the run {begun[-1]['id']} deploys no workers now"
    if minion in _names(run) and started and _watcher_does(run, minion, started):
        return f"{minion} is fenced"
    ours = _is_ours(run, minion) if minion in _names(run) else False
    if ours is False:
        return f"{minion} is left alone: it is no new worker of the run {begun[-1]['id']}"
    if ours is None or not _begin(run, [minion]):
        raise CommandExecutionError(
            f"{minion} could not be fenced: it may work live jobs. Look: salt-run mitx.status"
        )
    return f"{minion} is fenced"


def _watcher_does(run, minion, started):
    """Whether the command's own process fences it in time; ``False`` when it is gone, too."""
    latest = time.monotonic() + _PATIENCE
    while True:
        # First: it may end as soon as it has written down the last one.
        waits = _is_watched(run) and time.monotonic() < latest
        if any(minion in one["minions"] for one in events.read(run, "fenced", since=started)):
            return True
        if not waits:
            return False
        time.sleep(0.1)


def _is_watched(run):
    path = _pid_file(run)
    if not path.exists():
        return False
    with open(_lock_file(path), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def missed(run, minions):
    """
    Return which of these workers this run has not fenced since it last began to deploy.
    """
    fenced = set()
    for line in events.read(run):
        if _begins_deploy(line):
            fenced = set()
        if line["event"] == "fenced":
            fenced |= set(line["minions"])
    return [minion for minion in minions if minion not in fenced]


def _begins_deploy(line):
    return (line["event"], line.get("sls"), line.get("stage")) == ("existing", _DEPLOY, "before")


def _deploying(run):
    """Whether the run has begun to deploy, and not unfenced its workers since."""
    last = ""
    for line in events.read(run):
        if line["event"] == "unfenced" or _begins_deploy(line):
            last = line["event"]
    return last == "existing"


def unfence(run, minions):
    """
    Let these workers have their queues back. All of them must do it.
    """
    command = run.settings["services"]["hold"]["end"]
    jobs.shell(run, minions, command, label="unfence workers")
    events.write(run, "unfenced", minions=list(minions))


@contextlib.contextmanager
def _watcher(path, fence_all, limit, locked):
    _end_earlier(path)
    watched, open_end = os.pipe()
    ready, begun = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(open_end)
        _in_watcher(path, fence_all, _End(watched, limit), locked, begun)
    os.close(watched)
    os.close(begun)
    # Until it is in a session of its own it would be killed with this process.
    os.read(ready, 1)
    os.close(ready)
    try:
        yield
        # It may have ended already: all are fenced.
        with contextlib.suppress(BrokenPipeError):
            os.write(open_end, b"ended")
        # What it has asked of a host must be answered: a fence that came after it was lifted would
        # last into the night. Each of its jobs ends by itself.
        _reap(pid)
    finally:
        # After a failure, or Ctrl-C, the hosts may go on: it stays.
        os.close(open_end)


class _End:
    """
    When a watcher is to end: told so through a pipe, or after ``limit`` seconds. That the other end
    of the pipe is gone means that the command was killed, not that there is nothing left to fence.
    """

    def __init__(self, pipe, limit):
        self._pipe, self._latest = pipe, time.monotonic() + limit

    def __call__(self):
        if self._pipe is not None and select.select([self._pipe], [], [], 0)[0]:
            if os.read(self._pipe, 16):
                return True
            self._pipe = None
        return time.monotonic() > self._latest


def _in_watcher(path, fence_all, ended, locked, begun):
    try:
        os.setsid()
        # The environment is the command's alone: its death gives it back.
        if locked is not None:
            os.close(locked)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # At first nobody is there yet, and Salt says so on the terminal each time.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        file = _lock_file(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()} {socket.gethostname()}".encode())
        os.close(begun)
        fence_all(ended)
    finally:
        os._exit(0)


def _end_earlier(path):
    """End the watcher of a command that was killed: this one fences from here on."""
    file = _lock_file(path)
    try:
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            pid, _, host = os.pread(file, 300, 0).decode(errors="replace").partition(" ")
            # On a shared run_dir it may be another master's: the same number here is somebody else.
            if pid.isdigit() and host == socket.gethostname():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)
            time.sleep(0.1)
    finally:
        os.close(file)
    raise CommandExecutionError(
        f"The process that fences new workers for an earlier command does not end: see {path}. End"
        " it (kill -9), then run the same command again"
    )


def _pid_file(run):
    return pathlib.Path(folders.folder(run)) / "fence.pid"


def _lock_file(path):
    return folders.open_file(path, os.O_RDWR)


def _reap(pid):
    latest = time.monotonic() + _LONGEST
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > latest:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _fence_all(run, names, ended):
    # Listening first: nobody starts unheard between the look at who is up and the first event.
    with _listening() as started:
        waiting = list(names)
        # Whatever goes wrong here, `missed` tells who was never fenced.
        with contextlib.suppress(Exception):
            fenced = fence(run, names)
            waiting = [name for name in names if name not in fenced]
        while waiting and not ended():
            name = started()
            if name in waiting and _is_ours(run, name):
                with contextlib.suppress(Exception):
                    _begin(run, [name])
                waiting.remove(name)


def _is_ours(run, name):
    """
    Of the codename that is being deployed, as its tag says; the host itself is asked only where EC2
    does not answer. ``None``: nobody knows.
    """
    try:
        found = {one["codename"] for one in instances.find(run, names=[name])}
    except CommandExecutionError:
        found = set(jobs.answers(run, [name], "grains.get", ["edx_codename"]).values())
        if not found:
            return None
    return found == {run.settings["codename"]}


@contextlib.contextmanager
def _listening():
    """A function that waits a moment for a minion to start and returns its name, or ``None``."""
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True) as bus:

        def started():
            event = bus.get_event(
                wait=_PERIOD, tag="salt/minion/", match_type="startswith", full=True
            )
            words = event["tag"].split("/") if event else []
            return words[2] if len(words) == 4 and words[3] == "start" else None

        yield started
