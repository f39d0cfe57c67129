"""
Keeping the workers of a fleet quiet while it is being deployed
===============================================================

The workers of a new instance start with its image and again at the end of the existing ``orchestrate.edx.deploy``, on the live
databases and queues, with the new release. That orchestration takes minutes, and may fail on the way; Celery takes its first job half
a minute after it was started. So they are stopped every few seconds for as long as it runs, and once more when it has ended, however
it ended. That they are stopped is proven afterwards, by ``mitx_minions.stopped``.
"""

import contextlib
import multiprocessing
import os
import select
import signal

import salt.client
from salt.exceptions import SaltException

PERIOD = 5  # seconds


def __virtual__():
    return True


def workers():
    """
    Return a context manager that keeps the workers of the release that this run deploys stopped, those that are there by now. Not
    while Ansible or a restart is at work on them: to whoever starts a program, one that is stopped meanwhile is an error.
    """
    settings, release = __salt__["mitx_settings.get"](), __salt__["mitx_existing.release_number"]()
    names = [one["name"].format(release=release) for one in settings["instances"] if one["role"] == "edx-worker"]
    ctl = __salt__["mitx_minions.quoted"](settings["services"]["supervisorctl"])
    command = f"pgrep -f '[a]nsible-playbook|[s]upervisorctl.* (re)?start' >/dev/null || {ctl} stop all"
    # Names do not carry the codename; were they taken by another release's hosts, these would be the live ones.
    target = f"L@{','.join(names)} and G@edx_codename:{settings['codename']}"
    door = __salt__["mitx_journal.door"](
        "minions", label="keep workers quiet", minions=names, function="cmd.run", arguments=[command]
    )
    return _guarded(door, __opts__["conf_file"], target, command)


@contextlib.contextmanager
def _guarded(door, conf_file, target, command):
    # The child sees the end of the pipe when this process ends, be it by kill -9.
    watched, held = os.pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_guard, args=(watched, held, conf_file, target, command), daemon=True
    )
    with door:
        child.start()
        os.close(watched)
        try:
            yield
        finally:
            os.close(held)
            child.join(2 * PERIOD)
            if child.is_alive():
                child.kill()


def _guard(watched, held, conf_file, target, command):
    os.close(held)
    # Ctrl-C is the parent's: its end is this one's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At first nobody is there yet, and Salt says so on the terminal each time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with salt.client.LocalClient(c_path=conf_file) as client:
        ended = False
        while not ended:
            ended = bool(select.select([watched], [], [], PERIOD)[0])
            with contextlib.suppress(SaltException):
                client.cmd_async(target, "cmd.run", [command], tgt_type="compound", kwarg={"python_shell": True})
