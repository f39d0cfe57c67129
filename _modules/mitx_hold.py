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
import multiprocessing
import os
import select
import signal

from salt.exceptions import CommandExecutionError

# Seconds between two looks at who has come up, and for the last one to end.
_PERIOD, _LONGEST = 2, 600


def __virtual__():
    return True


def configured(settings=None):
    """
    Return whether pillar says how workers are held.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hold.configured with_pillar=True
    """
    return bool((settings or __salt__["mitx_settings.get"]())["services"]["hold"]["begin"])


def workers():
    """
    Return a context manager in which the workers of the release that this run deploys are held, each as soon as it answers.

    .. code-block:: python

        with __salt__["mitx_hold.workers"]():
            …
    """
    settings = __salt__["mitx_settings.get"]()
    if not configured(settings):
        return contextlib.nullcontext()
    release = __salt__["mitx_existing.release_number"]()
    names = [one["name"].format(release=release) for one in settings["instances"] if one["role"] == "edx-worker"]
    mine = __salt__["mitx_lock.holder"]()
    return _holding(__salt__["mitx_hold.hold"], names, mine["fd"] if mine and mine["mine"] else None)


def hold(minions, settings=None):
    """
    Hold those of these workers that answer and are of the codename that is being deployed. Returns them. Whoever is not there yet,
    or fails, is not in the answer.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hold.hold '[edx-worker-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    # Names do not carry the codename: were they another release's, these would be the workers that serve.
    codenames = __salt__["mitx_minions.answers"](minions, "grains.get", ["edx_codename"])
    mine = [minion for minion, codename in codenames.items() if codename == settings["codename"]]
    command = settings["services"]["hold"]["begin"]
    try:
        if mine:
            __salt__["mitx_minions.shell"](mine, command, label="hold workers")
        return mine
    except CommandExecutionError:
        # One that cannot be held keeps no other from it.
        return [minion for minion in mine if len(mine) > 1 and hold([minion], settings)]


def missed(minions):
    """
    Return which of these workers this run has not held since it last began to deploy.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hold.missed '[edx-worker-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    held = set()
    for line in __salt__["mitx_journal.entries"]():
        if line["event"] == "existing" and line["sls"] == "orchestrate.edx.deploy" and line["stage"] == "before":
            held = set()
        if line.get("label") == "hold workers" and line.get("stage") == "after":
            held |= set(line["minions"])
    return [minion for minion in minions if minion not in held]


def release(minions, settings=None):
    """
    Let these workers have their queues back. All of them must do it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hold.release '[edx-worker-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    __salt__["mitx_minions.shell"](minions, settings["services"]["hold"]["end"], label="release workers")


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
