"""
The queues of the workers: how deep, and empty
==============================================

Each purpose has its own. ``drain.command``, a shell command of pillar that prints a number, is asked of one host of
each purpose: a worker where there is one.
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    return True


def depths(fleet, settings=None):
    """
    Return how many jobs wait in the queue of each purpose of a fleet (instances): ``{purpose: int}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_queues.depths '[{name: edx-worker-1, purpose: p, role: edx-worker}]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    asked = _asked(fleet)
    said = __salt__["mitx_minions.shell"](
        list(asked.values()), settings["drain"]["command"], runas=settings["services"]["user"], change=False, label="queue depth"
    )
    wrong = {minion: text for minion, text in said.items() if not text.strip().isdecimal()}
    if wrong:
        told = "; ".join(f"{minion}: {text.strip()[-200:]!r}" for minion, text in wrong.items())
        raise CommandExecutionError(f"mitx:…:drain:command must print a number, and printed {told}")
    return {purpose: int(said[minion]) for purpose, minion in asked.items()}


def drain(fleet, settings=None):
    """
    Wait until the queue of each purpose of a fleet is empty, and return what happened as a sentence. With
    ``drain.waive`` jobs may be left after ``drain.timeout`` seconds; how many is journaled. Otherwise that is an error.
    Emptied once in a window is enough: the workers are stopped after that, and nobody would empty it again.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_queues.drain '[{name: edx-worker-1, purpose: p, role: edx-worker}]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    waived = settings["drain"]["waive"]
    emptied = _emptied()
    if emptied:
        return f"The queues were empty, or waived, at {emptied}"
    if not fleet:
        return "No host of the old fleet runs, so nobody works its queues"
    if not settings["drain"]["command"]:
        return _unlooked(waived)
    found = {}

    def look():
        first = not found
        found.update(depths(fleet, settings))
        if first and any(found.values()):
            _require_workers(fleet, settings, found)
        return not any(found.values()), ", ".join(f"{depth} jobs in the queue of {purpose}" for purpose, depth in found.items())

    try:
        limit, interval = settings["drain"]["timeout"], settings["drain"]["interval"]
        __salt__["mitx_run.wait_until"](look, limit, interval, "Empty queues", waits_for="queue")
    except CommandExecutionError as err:
        if not any(found.values()):
            raise
        if not waived:
            raise _refusal(err) from err
        __salt__["mitx_journal.write"]("drain_waived", depths=found)
        return f"Waived: {err}"
    __salt__["mitx_journal.write"]("drained", purposes=sorted(found))
    return f"The queues of {', '.join(found)} are empty"


def _emptied():
    # A rollback, whatever became of it, may have let visitors fill them again.
    lines = __salt__["mitx_journal.entries"]()
    since = max((line["time"] for line in lines if line["event"] == "phase" and line["phase"] == "rollback"), default="")
    ended = ("drained", "drain_waived")
    return max((line["time"] for line in lines if line["event"] in ended and line["time"] > since), default=None)


def _require_workers(fleet, settings, found):
    """Waiting is of no use where nobody works."""
    workers = [one["name"] for one in fleet if one["role"] == "edx-worker"]
    programs = [one["supervisor"] for one in __salt__["mitx_services.status"](workers, settings).values()] if workers else []
    if not any(state not in ("STOPPED", "EXITED", "FATAL") for listed in programs for state in listed.values()):
        left = ", ".join(f"{depth} jobs in the queue of {purpose}" for purpose, depth in found.items() if depth)
        raise CommandExecutionError(f"{left}, and no worker of the old fleet runs that would work them")


def _asked(fleet):
    purposes = sorted({one["purpose"] for one in fleet})
    order = sorted(fleet, key=lambda one: (one["role"] != "edx-worker", one["name"]))
    return {purpose: next(one["name"] for one in order if one["purpose"] == purpose) for purpose in purposes}


def _unlooked(waived):
    if not waived:
        raise CommandExecutionError(
            "mitx:…:drain:command is not set, so nobody knows whether jobs are waiting. Set it, or waive it: mitx:…:drain:waive: True"
        )
    __salt__["mitx_journal.write"]("drain_waived", depths=None)
    return "The queues were not looked at: there is no drain.command, and it is waived"


def _refusal(err):
    return CommandExecutionError(
        f"{err}. No worker was stopped. Run again to go on waiting: {__salt__['mitx_phase.next_command']()}\n"
        "Or leave these jobs to the new workers, which is recorded: the same command with "
        "pillar='{mitx: {drain: {waive: True}}}'"
    )
