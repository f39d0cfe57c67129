"""
The queues of the workers: how deep, and empty
==============================================

Each purpose has its own. ``drain.command``, a shell command of pillar that prints a number, is
asked of one host of each purpose: a worker where there is one.
"""

from salt.exceptions import CommandExecutionError

from mitx_hosts import jobs, services
from mitx_run import events, phases, wait


def depths(run, fleet):
    """
    Return how many jobs wait in the queue of each purpose of a fleet (instances): ``{purpose:
    int}``.
    """
    asked = _asked(fleet)
    said = jobs.shell(
        run,
        list(asked.values()),
        run.settings["drain"]["command"],
        runas=run.settings["services"]["user"],
        change=False,
        label="queue depth",
    )
    wrong = {minion: text for minion, text in said.items() if not text.strip().isdecimal()}
    if wrong:
        told = "; ".join(f"{minion}: {text.strip()[-200:]!r}" for minion, text in wrong.items())
        raise CommandExecutionError(f"mitx:…:drain:command must print a number, and printed {told}")
    return {purpose: int(said[minion]) for purpose, minion in asked.items()}


def drain(run, fleet):
    """
    Wait until the queue of each purpose of a fleet is empty, and return what happened as a
    sentence. With ``drain.waive`` jobs may be left after ``drain.timeout`` seconds; how many is
    journaled. Otherwise that is an error. Emptied once in a window is enough: the workers are
    stopped after that, and nobody would empty it again.
    """
    waived = run.settings["drain"]["waive"]
    emptied = _emptied(run)
    if emptied:
        return f"The queues were empty, or waived, at {emptied}"
    if not fleet:
        return "No host of the old fleet runs, so nobody works its queues"
    if not run.settings["drain"]["command"]:
        return _unlooked(run, waived)
    found = {}

    def look():
        first = not found
        found.update(depths(run, fleet))
        if first and any(found.values()):
            _require_workers(run, fleet, found)
        return not any(found.values()), ", ".join(
            f"{depth} jobs in the queue of {purpose}" for purpose, depth in found.items()
        )

    try:
        limit, interval = run.settings["drain"]["timeout"], run.settings["drain"]["interval"]
        wait.until(run, look, limit, interval, "Empty queues", waits_for="queue")
    except CommandExecutionError as err:
        if not any(found.values()):
            raise
        if not waived:
            raise _refusal(run, err) from err
        events.write(run, "drain_waived", depths=found)
        return f"Waived: {err}"
    events.write(run, "drained", purposes=sorted(found))
    return f"The queues of {', '.join(found)} are empty"


def _emptied(run):
    # A rollback, whatever became of it, may have let visitors fill them again.
    since = events.when(run, "phase", phase="rollback")
    return events.when(run, "drained", "drain_waived", since=since) or None


def _require_workers(run, fleet, found):
    """Waiting is of no use where nobody works."""
    workers = [one["name"] for one in fleet if one["role"] == "edx-worker"]
    programs = (
        [one["supervisor"] for one in services.status(run, workers).values()] if workers else []
    )
    if not any(
        state not in ("STOPPED", "EXITED", "FATAL")
        for listed in programs
        for state in listed.values()
    ):
        left = ", ".join(
            f"{depth} jobs in the queue of {purpose}" for purpose, depth in found.items() if depth
        )
        raise CommandExecutionError(
            f"{left}, and no worker of the old fleet runs that would work them"
        )


def _asked(fleet):
    chosen = {}
    for one in sorted(fleet, key=lambda one: (one["role"] != "edx-worker", one["name"])):
        chosen.setdefault(one["purpose"], one["name"])
    return dict(sorted(chosen.items()))


def _unlooked(run, waived):
    if not waived:
        raise CommandExecutionError(
            "mitx:…:drain:command is not set, so nobody knows whether jobs are waiting. Set it, or"
            " waive it: mitx:…:drain:waive: True"
        )
    events.write(run, "drain_waived", depths=None)
    return "The queues were not looked at: there is no drain.command, and it is waived"


def _refusal(run, err):
    return CommandExecutionError(
        f"{err}. No worker was stopped. Run again to go on waiting: {phases.next_command(run)}\n"
        "Or leave these jobs to the new workers, which is recorded: the same command with "
        "pillar='{mitx: {drain: {waive: True}}}'"
    )
