"""
The night as a table: how long each phase usually takes, when it begins, and until when one can
still turn back
================================================================================================
"""

import contextlib
import datetime
import zoneinfo

from salt.exceptions import CommandExecutionError

from mitx_run import events, phases, record, window
from mitx_upgrade import extent

# Seconds, where this environment has no earlier run to go by.
_DEFAULTS = {
    "preflight": 30,
    "announce": 10,
    "rebase": 60,
    "build": 5400,
    "images": 600,
    "record": 60,
    "deploy": 3600,
    "smoke": 60,
    "quiesce": 30,
    "close": 120,
    "stop": 300,
    "migrate": 900,
    "start": 120,
    "attach": 180,
    "detach": 330,
    "verify": 900,
    "open": 120,
    "retire": 300,
    "rollback": 600,
}

# From the first migration on the old release may not run on the databases any more.
NO_RETURN = "migrate"

_ROLLBACK = "salt-run mitx.rollback"

_NOTHING = "nothing to take back: the current fleet serves"

_BACK = {
    **dict.fromkeys(phases.PREPARE, _NOTHING),
    **dict.fromkeys(phases.WINDOW, _ROLLBACK),
    **dict.fromkeys(
        phases.WINDOW[phases.WINDOW.index(NO_RETURN) :],
        f"{_ROLLBACK}, once the databases are restored",
    ),
    "retire": "none: the old fleet is destroyed",
}

# The same, told before the first phase of each part.
_FROM_HERE = {
    phases.PREPARE[0]: _NOTHING,
    phases.WINDOW[0]: f"the window; back: {_ROLLBACK}",
    NO_RETURN: f"point of no return: {NO_RETURN}; back: databases restored, {_ROLLBACK}",
    phases.LATER[0]: "days later; no way back",
}


def plan(run):
    """
    Return the timetable::

        {phases: [{phase, status, seconds, as_in: environment or None, begins: text or None,
                   way_back}],
         no_return: phase, turn_back: text or None}

    ``seconds`` is what the phase took the last time in this environment, else where it was
    rehearsed (``rehearsal.environment``), else a default (``as_in`` None). ``begins`` counts from
    the start of the window, in its time zone. ``turn_back`` is the latest time to begin a rollback
    so that the site is up again at the announced end.
    """
    statuses, expected = phases.statuses(run), _expected(run)
    clock, rows = _start(run), []
    for phase in phases.names():
        seconds, as_in = expected.get(phase, (_DEFAULTS[phase], None))
        inside = phase in phases.WINDOW
        rows.append(
            {
                "phase": phase,
                "status": statuses.get(phase, {}).get("status", "-"),
                "seconds": round(seconds),
                "as_in": as_in,
                "begins": f"{clock:%H:%M}" if inside and clock else None,
                "way_back": _BACK[phase],
            }
        )
        if inside and clock:
            clock += datetime.timedelta(seconds=seconds)
    needed, _ = expected.get("rollback", (_DEFAULTS["rollback"], None))
    return {"phases": rows, "no_return": NO_RETURN, "turn_back": _turn_back(run, needed)}


def table(run):
    """
    Return a :py:func:`plan` whose phases have ``what``, what it has to do and how much of it, and
    ``changes``, how many it made the last time (int or ``None``); and ``lines``, the same as a
    table of at most 100 characters.
    """
    planned, what, changes = plan(run), extent.each(run), extent.changes(run)
    for row in planned["phases"]:
        row["what"], row["changes"] = what[row["phase"]], changes.get(row["phase"])
    return {**planned, "lines": _lines(run, planned)}


def _lines(run, planned):
    found = [f"{'phase':<10}{'begins':<7}{'takes':>8}  {'now':<8} {'changes':>7}  what"]
    for row in planned["phases"]:
        if row["phase"] in _FROM_HERE:
            found.append(f"-- {_FROM_HERE[row['phase']]}")
        found.append(_line(run, row))
    if planned["turn_back"]:
        found.append(f"latest time to turn back: {planned['turn_back']}")
    others = {row["as_in"] for row in planned["phases"]} - {run.environment}
    found += [f"* as in {one}" for one in sorted(filter(None, others))]
    if None in others:
        found.append("~ a guess: there is no earlier run to go by")
    return found


def _line(run, row):
    mark = {run.environment: "", None: "~"}.get(row["as_in"], "*")
    takes = f"{mark}{_spoken(row['seconds'])}"
    changes = "" if row["changes"] is None else row["changes"]
    return (
        f"{row['phase']:<10}{row['begins'] or '':<7}{takes:>8}  {row['status']:<8} {changes:>7} "
        f" {row['what']}"
    )


def _expected(run):
    """``{phase: (seconds, environment in which it took them)}``"""
    elsewhere = run.settings["rehearsal"]["environment"]
    rehearsed = {}
    # Another master's, perhaps. What is a guess at best must end neither the plan nor the watch.
    with contextlib.suppress(CommandExecutionError):
        rehearsed = _took(record.Elsewhere(elsewhere)) if elsewhere else {}
    return {**rehearsed, **_took(run)}


def _took(run):
    found = {**phases.expected(run), **_rollback(run)}
    return {phase: (seconds, run.environment) for phase, seconds in found.items()}


def _rollback(run):
    """How long the last rollback took there, if there was one."""
    took = {}
    for one in record.runs(run):
        begun = None
        for line in events.read(run, "phase", run_id=one["id"], phase="rollback"):
            if line["status"] == "started":
                begun = _moment(line["time"])
            elif line["status"] == "finished" and begun:
                took["rollback"] = (_moment(line["time"]) - begun).total_seconds()
    return took


def _start(run):
    if not run.settings["window"].get("start_utc"):
        return None
    return _local(run, "start")


def _turn_back(run, rollback):
    if not run.settings["window"].get("start_utc"):
        return None
    end = _local(run, "end")
    # The rollback itself, the resolvers' memory, and open requests.
    needed = rollback + run.settings["dns"]["ttl"] + 300
    return f"{end - datetime.timedelta(seconds=needed):%H:%M %Z}"


def _local(run, key):
    times = window.times(run.settings["window"])
    zone = zoneinfo.ZoneInfo(times["timezone"])
    return datetime.datetime.fromisoformat(times[key]).astimezone(zone)


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _spoken(seconds):
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
