"""
Keeping the workers of a fleet from their queues while it is deployed
=====================================================================

The workers of a new instance start with its image, and again at the end of the existing
``orchestrate.edx.deploy``: new code, on the live queues and databases, for minutes, and for as long
as it takes to repair a deploy that failed. They cannot be stopped while it is at work: to its
``supervisorctl restart all`` a program that somebody else stops is a failure. So they are let run,
but each of their hosts is cut off from the queues as soon as its minion has started, by a command
of pillar (``services.hold.begin``, a rule of the host's firewall say). Once they are proven stopped
the fence is lifted (``services.hold.end``). A host stays fenced when the command that fenced it is
killed.

A host that runs one job at a time can lose a highstate beside another job. So each is sent one job,
when Salt's event says that its minion has started, which is before the existing deploy configures
anything; nothing is asked of it after that.
"""

import contextlib
import contextvars
import functools
import multiprocessing
import os
import select
import signal

import salt.utils.event
from salt.exceptions import CommandExecutionError

from mitx_fleet import images, instances
from mitx_hosts import jobs
from mitx_run import journal, lock
from mitx_run.dunders import __opts__

# Seconds for which an event is waited for, and for the last job to end.
_PERIOD, _LONGEST = 1, 600


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
    release = images.release_number(run)
    names = [
        one["name"].format(release=release)
        for one in run.settings["instances"]
        if one["role"] == "edx-worker"
    ]
    mine = lock.locked_by(run)
    # Whoever enters it: Salt's dunders are those of this moment.
    fence_all = functools.partial(contextvars.copy_context().run, _fence_all, run, names)
    return _child(fence_all, mine["fd"] if mine and mine["mine"] else None)


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
            jobs.shell(
                run, minions, run.settings["services"]["hold"]["begin"], label="hold workers"
            )
        return minions
    except CommandExecutionError:
        # One that cannot be fenced keeps no other from it.
        return [minion for minion in minions if len(minions) > 1 and _begin(run, [minion])]


def missed(run, minions):
    """
    Return which of these workers this run has not held since it last began to deploy.
    """
    held = set()
    for line in journal.entries(run):
        if (
            line["event"] == "existing"
            and line["sls"] == "orchestrate.edx.deploy"
            and line["stage"] == "before"
        ):
            held = set()
        if line.get("label") == "hold workers" and line.get("stage") == "after":
            held |= set(line["minions"])
    return [minion for minion in minions if minion not in held]


def unfence(run, minions):
    """
    Let these workers have their queues back. All of them must do it.
    """
    jobs.shell(run, minions, run.settings["services"]["hold"]["end"], label="release workers")


@contextlib.contextmanager
def _child(fence_all, locked):
    # The child sees the end of the pipe when this process ends, be it by kill -9.
    watched, open_end = os.pipe()
    arguments = (fence_all, watched, open_end, locked)
    child = multiprocessing.get_context("fork").Process(
        target=_in_child, args=arguments, daemon=True
    )
    child.start()
    os.close(watched)
    try:
        yield
    finally:
        os.close(open_end)
        # What it has asked of a host must be answered: a fence that came after it was lifted would
        # last into the night. Each of its jobs ends by itself.
        child.join(_LONGEST)
        if child.is_alive():
            child.kill()


def _in_child(fence_all, watched, open_end, locked):
    # Of both only the parent's own are to be open: its death shows in the pipe, and gives the
    # environment back at once.
    for descriptor in (open_end, locked):
        if descriptor is not None:
            os.close(descriptor)
    # Ctrl-C is the parent's: its end is this one's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At first nobody is there yet, and Salt says so on the terminal each time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    fence_all(lambda: bool(select.select([watched], [], [], 0)[0]))


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
    """Of the codename that is being deployed, as its tag says: the host itself is not asked."""
    try:
        found = instances.find(run, names=[name])
    except CommandExecutionError:
        return False
    return bool(found) and {one["codename"] for one in found} == {run.settings["codename"]}


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
