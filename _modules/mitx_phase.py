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

# What was said to it must be said again: whether the databases were restored can have changed since.
_ROLLBACK = {
    "started": "salt-run mitx.rollback, with what was said to it before",
    "failed": "salt-run mitx.rollback, with what was said to it before",
    "halted": "salt-run mitx.rollback database_restored=True, once they are restored",
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
    ``failed``. A phase that never began is absent. A rollback takes the window's phases back as soon as it begins: whatever becomes
    of it, nothing is left of what they established that could be relied on.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.record with_pillar=True
    """
    return _told(run, taken_back_by=("started", "finished"))


def attempted(run=None):
    """
    Return the same as :py:func:`record`, but with what a rollback that is not finished has begun to take back: what may have been
    done to the world since the last one that is.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.attempted with_pillar=True
    """
    return _told(run, taken_back_by=("finished",))


def rolling_back(run=None):
    """
    Return the journal's last line of a rollback that has begun and is not finished, else ``None``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.rolling_back with_pillar=True
    """
    lines = [line for line in __salt__["mitx_journal.entries"](run=run, event="phase") if line["phase"] in ("rollback", *WINDOW)]
    # Whoever runs the window again has decided otherwise.
    return lines[-1] if lines and lines[-1]["phase"] == "rollback" and lines[-1]["status"] != "finished" else None


def taken_back(run=None):
    """
    Return when the last rollback was finished (UTC, ISO 8601), the empty string if none ever was.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.taken_back with_pillar=True
    """
    lines = __salt__["mitx_journal.entries"](run=run, event="phase")
    return max((line["time"] for line in lines if line["phase"] == "rollback" and line["status"] == "finished"), default="")


def closed(run=None):
    """
    Return when this run first closed the site (UTC, ISO 8601) since it was last rolled back, ``None`` if it did not.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_phase.closed with_pillar=True
    """
    since = taken_back(run)
    lines = __salt__["mitx_journal.entries"](run=run, event="phase")
    times = [line["time"] for line in lines if (line["phase"], line["status"]) == ("close", "finished") and line["time"] > since]
    return min(times, default=None)


def _told(run, taken_back_by):
    found = {}
    for line in __salt__["mitx_journal.entries"](run=run, event="phase"):
        if line["phase"] == "rollback" and line["status"] in taken_back_by:
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
        if line["event"] == "phase" and line["status"] == "started":
            now = {} if line["phase"] in names() else None
        elif line["event"] == "phase" and line["status"] in ("finished", "failed"):
            # Only now: of an attempt that was killed nobody knows how long it took, so its waits do not count either.
            if line["phase"] in names():
                _add(found.setdefault(line["phase"], {"seconds": 0.0, "waited": {}}), line.get("seconds") or 0, now or {})
            now = None
        reason = _waited_for(line)
        if now is not None and reason:
            now[reason] = now.get(reason, 0) + line["seconds"]
    return found


def _add(duration, seconds, waited):
    duration["seconds"] = round(duration["seconds"] + seconds, 1)
    for reason, more in waited.items():
        duration["waited"][reason] = round(duration["waited"].get(reason, 0) + more, 1)


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
    back = rolling_back(run)
    if back:
        return _ROLLBACK[back["status"]]
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
