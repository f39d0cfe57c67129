"""
Keeping the workers of a fleet from their queues while it is deployed
=====================================================================

The workers of a new instance start with its image, and again at the end of the existing ``orchestrate.edx.deploy``: new code, on the live
queues and databases, for minutes, and for as long as it takes to repair a deploy that failed. They cannot be stopped while it is at work:
to its ``supervisorctl restart all`` a program that somebody else stops is a failure. So they are let run, but each of their hosts is cut
off from the queues as soon as its minion answers, by a command of pillar (``services.hold.begin``, a rule of the host's firewall say). Once they
are proven stopped the host is let go again (``services.hold.end``). A host stays held when the command that held it is killed.
"""

import contextlib
import contextvars
import functools
import multiprocessing
import os
import select
import signal

from salt.exceptions import CommandExecutionError

from mitx_fleet import images
from mitx_hosts import jobs
from mitx_run import journal, lock

# Seconds between two looks at who has come up, and for the last one to end.
_PERIOD, _LONGEST = 2, 600


def configured(run):
    """
    Return whether pillar says how workers are held.
    """
    return bool(run.settings["services"]["hold"]["begin"])


def workers(run):
    """
    Return a context manager in which the workers of the release that this run deploys are held, each as soon as it answers.

    .. code-block:: python

        with fence.workers(run):
            …
    """
    if not configured(run):
        return contextlib.nullcontext()
    release = images.release_number(run)
    names = [one["name"].format(release=release) for one in run.settings["instances"] if one["role"] == "edx-worker"]
    mine = lock.locked_by(run)
    return _holding(
        functools.partial(contextvars.copy_context().run, fence, run), names, mine["fd"] if mine and mine["mine"] else None
    )


def fence(run, minions):
    """
    Hold those of these workers that answer and are of the codename that is being deployed. Returns them. Whoever is not there yet,
    or fails, is not in the answer.
    """
    # Names do not carry the codename: were they another release's, these would be the workers that serve.
    codenames = jobs.answers(run, minions, "grains.get", ["edx_codename"])
    mine = [minion for minion, codename in codenames.items() if codename == run.settings["codename"]]
    command = run.settings["services"]["hold"]["begin"]
    try:
        if mine:
            jobs.shell(run, mine, command, label="hold workers")
        return mine
    except CommandExecutionError:
        # One that cannot be held keeps no other from it.
        return [minion for minion in mine if len(mine) > 1 and fence(run, [minion])]


def missed(run, minions):
    """
    Return which of these workers this run has not held since it last began to deploy.
    """
    held = set()
    for line in journal.entries(run):
        if line["event"] == "existing" and line["sls"] == "orchestrate.edx.deploy" and line["stage"] == "before":
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
def _holding(hold, names, lock):
    # The child sees the end of the pipe when this process ends, be it by kill -9.
    watched, held = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=_hold_all, args=(watched, held, lock, hold, names), daemon=True)
    child.start()
    os.close(watched)
    try:
        yield
    finally:
        os.close(held)
        # What it has asked of a host must be answered: a hold that came after the release would last into the night. Each of its
        # jobs ends by itself.
        child.join(_LONGEST)
        if child.is_alive():
            child.kill()


def _hold_all(watched, held, lock, hold, names):
    # Of both only the parent's own are to be open: its death shows in the pipe, and gives the environment back at once.
    for descriptor in (held, lock):
        if descriptor is not None:
            os.close(descriptor)
    # Ctrl-C is the parent's: its end is this one's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At first nobody is there yet, and Salt says so on the terminal each time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    waiting, ended = list(names), False
    while waiting and not ended:
        ended = bool(select.select([watched], [], [], _PERIOD)[0])
        # Whatever goes wrong is tried again; who was never held, `missed` tells.
        with contextlib.suppress(Exception):
            done = hold(waiting)
            waiting = [name for name in waiting if name not in done]
