"""
The phases of an upgrade: their order, what the record says of each, what is next
=================================================================================

A phase is the unit of resumption. Phases contradict each other (``quiesce`` and ``start``,
``close`` and ``open``), so a finished phase is skipped when the same command runs again, as long as
the world still agrees (``drift``).
"""

import re

import salt.utils.event
from salt.exceptions import CommandExecutionError

from mitx_run import events, folders, progress, record
from mitx_run.dunders import __opts__, __pillar__

PREPARE = (
    "preflight",
    "announce",
    "rebase",
    "build",
    "images",
    "record",
    "deploy",
    "smoke",
    "quiesce",
)

WINDOW = ("close", "stop", "migrate", "start", "attach", "detach", "verify", "open")

LATER = ("retire",)

_NEXT = {
    **dict.fromkeys(PREPARE, "salt-run state.orchestrate orchestrate.mitx.prepare"),
    **dict.fromkeys(WINDOW, "salt-run state.orchestrate orchestrate.mitx.window"),
    "retire": "salt-run mitx.retire",
}


def names(part=None):
    """
    Return the names of all phases, in order; of one ``part`` only, ``prepare`` or ``window``, if
    given.
    """
    return list({"prepare": PREPARE, "window": WINDOW}.get(part, (*PREPARE, *WINDOW, *LATER)))


def statuses(run, run_id=None):
    """
    Return what the journal says of each phase: ``{phase: {status, time, seconds}}`` with status
    ``started``, ``finished`` or ``failed``. A phase that never began is absent. A rollback takes
    the window's phases back as soon as it begins: whatever becomes of it, nothing is left of what
    they established that could be relied on.
    """
    return _told(run, run_id, taken_back_by=("started", "finished"))


def touched(run, run_id=None):
    """
    Return the same as :py:func:`record`, but with what a rollback that is not finished has begun to
    take back: what may have been done to the world since the last one that is.
    """
    return _told(run, run_id, taken_back_by=("finished",))


def rolling_back(run, run_id=None):
    """
    Return the journal's last line of a rollback that has begun and is not finished, else ``None``.
    """
    last = events.last(run, "phase", run_id=run_id, phase=("rollback", *WINDOW))
    # Whoever runs the window again has decided otherwise.
    going = last and last["phase"] == "rollback" and last["status"] != "finished"
    return last if going else None


def rolled_back(run, run_id=None):
    """
    Return when the last rollback was finished (UTC, ISO 8601), the empty string if none ever was.
    """
    return events.when(run, "phase", run_id=run_id, phase="rollback", status="finished")


def closed(run, run_id=None):
    """
    Return when this run first closed the site (UTC, ISO 8601) since it was last rolled back,
    ``None`` if it did not.
    """
    since = rolled_back(run, run_id)
    closed_ = {"phase": "close", "status": "finished"}
    found = events.read(run, "phase", run_id=run_id, since=since, **closed_)
    return found[0]["time"] if found else None


def _told(run, run_id, taken_back_by):
    found = {}
    for line in events.read(run, "phase", run_id=run_id):
        if line["phase"] == "rollback" and line["status"] in taken_back_by:
            found = {phase: status for phase, status in found.items() if phase not in WINDOW}
        elif line["phase"] in names():
            found[line["phase"]] = {
                key: line.get(key) for key in ("status", "time", "seconds", "error")
            }
    return found


def durations(run, run_id=None):
    """
    Return where the time of each phase went: ``{phase: {seconds, waited: {what for: seconds}}}``,
    all its attempts together. What is waited for: ``drain``, ``health``, ``DNS``, ``queue``,
    ``migration``, ``approval``; the rest is the upgrade's own.
    """
    found, now = {}, None
    for line in events.read(run, run_id=run_id):
        if line["event"] == "phase" and line["status"] == "started":
            now = {} if line["phase"] in names() else None
        elif line["event"] == "phase" and line["status"] in ("finished", "failed"):
            # Only now: of an attempt that was killed nobody knows how long it took, so its waits do
            # not count either.
            if line["phase"] in names():
                _add(
                    found.setdefault(line["phase"], {"seconds": 0.0, "waited": {}}),
                    line.get("seconds") or 0,
                    now or {},
                )
            now = None
        reason = line.get("waits_for")
        if now is not None and reason:
            now[reason] = now.get(reason, 0) + line["seconds"]
    return found


def _add(duration, seconds, waited):
    duration["seconds"] = round(duration["seconds"] + seconds, 1)
    for reason, more in waited.items():
        duration["waited"][reason] = round(duration["waited"].get(reason, 0) + more, 1)


def expected(run, besides=None):
    """
    Return how long each phase took when it last finished in this environment, in whatever run but
    ``besides`` (an id): ``{phase: seconds}``.
    """
    found = {}
    for run_id in record.runs(run):
        for phase, entry in statuses(run, run_id["id"]).items() if run_id["id"] != besides else ():
            if entry["status"] == "finished" and entry["seconds"] is not None:
                found[phase] = entry["seconds"]
    return found


def unfinished(run, run_id=None, upto=None):
    """
    Return the phases that are not finished, in order; only those before ``upto``, if given.
    """
    done = statuses(run, run_id)
    before = names()[: names().index(upto)] if upto else [*PREPARE, *WINDOW]
    return [phase for phase in before if done.get(phase, {}).get("status") != "finished"]


def next_command(run, run_id=None):
    """
    Return the command that goes on with the run, as the engineer would type it.
    """
    back = rolling_back(run, run_id)
    if back:
        return _rollback_again(run, run_id, back)
    left = unfinished(run, run_id)
    if not left and statuses(run, run_id).get("retire", {}).get("status") == "finished":
        return "nothing"
    return _NEXT[left[0]] if left else _NEXT["retire"]


def _rollback_again(run, run_id, back):
    """
    What was said to it is said again; halted for the databases, it goes on once they are restored.
    """
    if back["status"] == "halted":
        return "salt-run mitx.rollback database_restored=True"
    begun = events.last(run, "phase", run_id=run_id, phase="rollback", status="started") or {}
    return rollback_command(begun)


def rollback_command(said):
    """
    Return the rollback to which this was said (``{option: bool}``), as one types it.
    """
    options = ("database_restored", "accept_new_schema", "stop_only", "restore")
    words = [f"{key}=True" for key in options if said.get(key)]
    return " ".join(["salt-run mitx.rollback", *words])


def postponed(phase):
    """
    Return whether pillar ``mitx:until`` says to stop before this phase.
    """
    until = (__pillar__.get("mitx") or {}).get("until")
    if not until:
        return False
    if until not in names():
        raise CommandExecutionError(
            f"mitx:until: there is no phase {until!r}; there are: {', '.join(names())}"
        )
    return names().index(phase) > names().index(until)


def block(run, what):
    """
    Note, in a dry run, that ``what`` fails: ``failhard`` ends a real run there, a dry run Salt lets
    go on.
    """
    if run.test:
        run.blocked_by = run.blocked_by or what


def blocked_by(run):
    """
    Return what :py:func:`block` has noted first in this dry run, or ``None``.
    """
    return run.blocked_by if run.test else None


def _progress(run, phase, status, fields):
    place = f"phase {names().index(phase) + 1} of {len(names())}: " if phase in names() else ""
    usual = expected(run).get(phase) if status == "started" and not run.test else None
    seconds = f" after {fields['seconds']} s" if fields.get("seconds") else ""
    more = {
        "started": f" (usually {usual} s)" if usual is not None else "",
        "finished": seconds,
        # Why is told once, at the end.
        "failed": seconds,
        "waiting": f" for: {fields.get('command')}",
    }
    return f"{place}{phase} {status}{more.get(status, '')}"


def mark(run, phase, status, **fields):
    """
    Journal that a phase ``started``, ``finished`` or ``failed``, and fire the event
    ``mitx/<environment>/<run>/<phase>/<status>``.
    """
    line = events.write(run, "phase", phase=phase, status=status, **fields)
    progress.say(run, _progress(run, phase, status, fields))
    if not run.test:
        run_id = re.sub(r".*/", "", folders.folder(run))
        tag = f"mitx/{run.environment}/{run_id}/{phase}/{status}"
        # Not event.send: in an orchestration that speaks to the bus of a minion, and nobody hears
        # it.
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
            bus.fire_event(line, tag)
    return line
