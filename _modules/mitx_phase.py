"""
The phases of an upgrade: their order, what the record says of each, what is next
=================================================================================

A phase is the unit of resumption. Phases contradict each other (``quiesce`` and ``start``, ``close`` and ``open``), so a finished
phase is skipped when the same command runs again, as long as the world still agrees (``mitx_world``).
"""

import re

import salt.utils.event
from salt.exceptions import CommandExecutionError

PREPARE = ("preflight", "announce", "rebase", "build", "images", "record", "deploy", "smoke", "quiesce")
WINDOW = ("close", "stop", "migrate", "start", "attach", "detach", "verify", "open")
LATER = ("retire",)
_NEXT = {
    **dict.fromkeys(PREPARE, "salt-run state.orchestrate orchestrate.mitx.prepare"),
    **dict.fromkeys(WINDOW, "salt-run state.orchestrate orchestrate.mitx.window"),
    "retire": "salt-run mitx.retire",
}


def __virtual__():
    return True


def names(part=None):
    """
    Return the names of all phases, in order; of one ``part`` only, ``prepare`` or ``window``, if given.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.names
    """
    return list({"prepare": PREPARE, "window": WINDOW}.get(part, (*PREPARE, *WINDOW, *LATER)))


def record(run=None):
    """
    Return what the journal says of each phase: ``{phase: {status, time, seconds}}`` with status ``started``, ``finished`` or
    ``failed``. A phase that never began is absent. A finished rollback takes the window's phases back.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.record with_pillar=True
    """
    found = {}
    for line in __salt__["mitx_journal.entries"](run=run, event="phase"):
        if line["phase"] == "rollback" and line["status"] == "finished":
            found = {phase: status for phase, status in found.items() if phase not in WINDOW}
        elif line["phase"] in names():
            found[line["phase"]] = {key: line.get(key) for key in ("status", "time", "seconds", "error")}
    return found


def durations(run=None):
    """
    Return where the time of each phase went: ``{phase: {seconds, waited: {what for: seconds}}}``, all its attempts together.
    What is waited for: ``drain``, ``health``, ``DNS``, ``queue``, ``migration``, ``approval``; the rest is the upgrade's own.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.report
    """
    found, now = {}, None
    for line in __salt__["mitx_journal.entries"](run=run):
        if line["event"] == "phase" and line["phase"] in names():
            now = found.setdefault(line["phase"], {"seconds": 0.0, "waited": {}})
            now["seconds"] = round(now["seconds"] + (line.get("seconds") or 0), 1)
        reason = _waited_for(line)
        if now and reason:
            now["waited"][reason] = round(now["waited"].get(reason, 0) + line["seconds"], 1)
    return found


def _waited_for(line):
    if line["event"] == "wait":
        return line["waits_for"]
    migrates = line["event"] == "minions" and str(line.get("label")).startswith("migration ") and line.get("stage") != "before"
    return "migration" if migrates else None


def expected():
    """
    Return how long each phase took when it last finished in this environment, in whatever run: ``{phase: seconds}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.expected with_pillar=True
    """
    found = {}
    for run in __salt__["mitx_run.runs"]():
        for phase, entry in record(run["id"]).items():
            if entry["status"] == "finished" and entry["seconds"] is not None:
                found[phase] = entry["seconds"]
    return found


def unfinished(run=None, upto=None):
    """
    Return the phases that are not finished, in order; only those before ``upto``, if given.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.unfinished with_pillar=True
    """
    done = record(run)
    before = names()[: names().index(upto)] if upto else [*PREPARE, *WINDOW]
    return [phase for phase in before if done.get(phase, {}).get("status") != "finished"]


def next_command(run=None):
    """
    Return the command that goes on with the run, as the engineer would type it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.next_command with_pillar=True
    """
    left = unfinished(run)
    return _NEXT[left[0]] if left else _NEXT["retire"]


def postponed(phase):
    """
    Return whether pillar ``mitx:until`` says to stop before this phase.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.postponed open with_pillar=True
    """
    until = (__pillar__.get("mitx") or {}).get("until")
    if not until:
        return False
    if until not in names():
        raise CommandExecutionError(f"mitx:until: there is no phase {until!r}; there are: {', '.join(names())}")
    return names().index(phase) > names().index(until)


def mark(phase, status, **fields):
    """
    Journal that a phase ``started``, ``finished`` or ``failed``, and fire the event
    ``mitx/<environment>/<run>/<phase>/<status>``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.mark smoke failed error='seen by eye' with_pillar=True
    """
    line = __salt__["mitx_journal.write"]("phase", phase=phase, status=status, **fields)
    if not __opts__.get("test"):
        run = re.sub(r".*/", "", __salt__["mitx_run.folder"]())
        tag = f"mitx/{__salt__['mitx_settings.environment']()}/{run}/{phase}/{status}"
        # Not event.send: in an orchestration that speaks to the bus of a minion, and nobody hears it.
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
            bus.fire_event(line, tag)
    return line
