"""
What Salt's schedules would do in the middle of the window, and holding what must not
=====================================================================================

MITx's master backs up its databases at 01:00, and a window of an evening reaches into that. The
schedules of the hosts are disabled with their services; that of the master's minion goes on, but
for the jobs of ``window.pause_schedule``.

A job from pillar cannot be disabled: Salt refuses. But a job of the same name in the minion's own
configuration goes before it, and one with ``after`` waits until then. So a job is held by a copy of
itself with ``after``, a day from now: nobody has to live to give it back. It is saved, so that a
restart of the minion does not end it; and it bears a mark, by which it is known again, and who
holds it: one master may upgrade two environments at a time.
"""

import datetime
import json
import re
import shlex

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets
from mitx_hosts import jobs
from mitx_run import wait, window
from mitx_run.dunders import __opts__

HELD, GIVEN_BACK = "held", "given back"

# How long a job is held whatever becomes of the run, as Salt's `after` has it.
_HELD_FOR = datetime.timedelta(hours=24)
_AFTER = "%Y-%m-%dT%H:%M:%S"

_CANNOT_BE_HELD = "it is the master's configuration's, and cannot be held from here"
_IS_HELD = "held from close to open (window:pause_schedule)"
_COULD_BE_HELD = "window:pause_schedule would hold it from close to open"

# Below `metadata` of the copy: the environments that hold it, and what these were before.
_MARK, _CHANGED = "held_by_mitx", ("after", "run_on_start")

_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}

_CLOCK = re.compile(r"(?i)\A(\d{1,2})(?::(\d\d))?(?::\d\d)?\s*(am|pm)?\Z")

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def inside(run):
    """
    Return, as sentences, which jobs of the master's schedules and of those of the hosts that serve
    fall into the announced window, and which of them cannot be determined. Empty without a window;
    of minions that do not answer nothing is said.
    """
    if not run.settings["window"].get("start_utc"):
        return []
    times = window.times(run.settings["window"])
    begin, end = (
        # Salt's schedule counts in the local time of the host.
        datetime.datetime.fromisoformat(times[key]).astimezone().replace(tzinfo=None)
        for key in ("start", "end")
    )
    listed = [("salt-master", __opts__.get("schedule") or {}, _CANNOT_BE_HELD)]
    listed += [(minion, _known(found), None) for minion, found in _of_master(run).items()]
    listed += [(who, found, "disabled with the services") for who, found in _of_fleet(run)]
    paused = run.settings["window"]["pause_schedule"]
    found = []
    for who, schedule, what in listed:
        for name, job in sorted(schedule.items()):
            when = None if name.startswith("__") else falls(job, begin, end)
            if when:
                told = what or (_IS_HELD if name in paused else _COULD_BE_HELD)
                found.append(f"{who}: its schedule {name} ({job.get('function')}) {when}; {told}")
    return found


def by_hand(run):
    """
    Return what to type to give the jobs back without this package.
    """
    names = run.settings["window"]["pause_schedule"]
    events = [shlex.quote(json.dumps({"func": "delete", "name": name})) for name in names]
    return "\n".join(f"salt -G roles:master event.fire {one} manage_schedule" for one in events)


def plan(run, wanted):
    """
    Return what is to be done until the jobs of ``window.pause_schedule`` are :py:data:`HELD` or
    :py:data:`GIVEN_BACK`: ``{changes: {"minion: job": {old, new}}, calls, at work: [sentence]}``.
    Only reads.
    """
    names = run.settings["window"]["pause_schedule"]
    if not names:
        return {"changes": {}, "calls": [], "at work": []}
    found = _of_master(run)
    path = f"mitx:environments:{run.settings['environment']}:window:pause_schedule"
    if not found:
        raise CommandExecutionError(
            f"{path}: the master's own minion (grain roles: master) does not answer, so what its"
            " schedule does is not known. Look: salt -G roles:master test.ping"
        )
    if wanted == HELD:
        _require_known(found, names, path)
        planned = _held(found, names, run.environment)
    else:
        planned = _given_back(found, run.environment)
    at_work = [
        f"{minion}: its schedule {job['schedule']} (job {job.get('jid')})"
        for minion, one in found.items()
        for job in one["running"]
        if job.get("schedule") in names
    ]
    return {**planned, "at work": at_work}


def apply(run, planned, wanted):
    """
    Make the calls of a :py:func:`plan`, and prove what is ``wanted``. Of what is held nothing may
    be at work: what it has begun already would go on.
    """
    for call in planned["calls"]:
        call.make(run)

    def look():
        now = plan(run, wanted)
        planned["at work"] = now["at work"]
        return not now["changes"], f"not yet: {', '.join(now['changes'])}"

    if planned["calls"]:
        limit = run.settings["timeouts"]["minions"]
        wait.until(run, look, limit, 1, f"Jobs of the master's schedule {wanted}")
    if wanted == HELD and planned["at work"]:
        raise CommandExecutionError(
            "Begun before it was held, and still at work: "
            + "; ".join(planned["at work"])
            + ". When it has ended (salt -G roles:master saltutil.running), run the same command"
            " again. Until then visitors are where they were."
        )


def _require_known(found, names, path):
    known = {name for schedule in found.values() for name in _known(schedule)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise CommandExecutionError(
            f"{path}: {', '.join(unknown)}: no job of the schedule of {', '.join(found)}. There"
            f" are: {', '.join(sorted(known))}"
        )


def _held(found, names, environment):
    until = (datetime.datetime.now() + _HELD_FOR).strftime(_AFTER)
    changes, calls = {}, []
    for minion, schedule in found.items():
        copies = {}
        for name in sorted(set(names) & set(_known(schedule))):
            holders = _holders(schedule["opts"].get(name))
            if environment not in holders:
                copies[name] = _copy(_original(schedule, name), until, [*holders, environment])
                changes[f"{minion}: {name}"] = {"old": "runs", "new": f"held until {until}"}
        if copies:
            event = {"func": "reload", "schedule": copies}
            calls.append(_event(minion, event, f"hold {', '.join(copies)}"))
    return {"changes": changes, "calls": calls}


def _given_back(found, environment):
    changes, calls = {}, []
    for minion, schedule in found.items():
        mine = [name for name, job in schedule["opts"].items() if environment in _mark(job)["by"]]
        for name in mine:
            calls.append(_event(minion, _without(schedule, name, environment), f"give back {name}"))
            changes[f"{minion}: {name}"] = {"old": "held", "new": "runs"}
    return {"changes": changes, "calls": calls}


def _without(schedule, name, environment):
    """What gives a job back, unless another environment holds it still."""
    job, original = schedule["opts"][name], _original(schedule, name)
    others = [one for one in _holders(job) if one != environment]
    if others:
        return {"func": "reload", "schedule": {name: _copy(original, job["after"], others)}}
    if name in schedule["pillar"]:
        return {"func": "delete", "name": name}
    return {"func": "reload", "schedule": {name: original}}


def _known(schedule):
    """What is in the minion's configuration goes before what is in its pillar."""
    return {**schedule["pillar"], **schedule["opts"]}


def _mark(job):
    return ((job or {}).get("metadata") or {}).get(_MARK) or {"by": []}


def _holders(job):
    """The environments that hold a job; none once its time is over."""
    by = _mark(job)["by"]
    return by if by and job["after"] > datetime.datetime.now().strftime(_AFTER) else []


def _copy(job, until, by):
    mark = {_MARK: {"by": by, **{key: job.get(key) for key in _CHANGED}}}
    metadata = {**(job.get("metadata") or {}), **mark}
    # What is run at the start does not ask for `after`; on 3008 that is every interval.
    return {**job, "after": until, "run_on_start": False, "metadata": metadata}


def _original(schedule, name):
    """The job as it is when nobody holds it."""
    job = schedule["opts"].get(name) or {}
    if name in schedule["pillar"] and (not job or _mark(job)["by"]):
        return schedule["pillar"][name]
    metadata = dict(job.get("metadata") or {})
    before = metadata.pop(_MARK, {})
    whole = {**job, **{key: before[key] for key in _CHANGED if before}, "metadata": metadata}
    return {key: value for key, value in whole.items() if value not in (None, {})}


def _event(minion, event, label):
    """
    What ``schedule.reload`` and ``schedule.delete`` send to the minion's scheduler. Themselves they
    read a file, and call a job that pillar has too not deleted.
    """
    functions, arguments = ["event.fire", "schedule.save"], [[event, "manage_schedule"], []]
    return jobs.planned([minion], functions, arguments, label)


def falls(job, begin, end):
    """
    Return when a job of a Salt schedule runs between two moments (naive, local), in words; ``None``
    if it does not.
    """
    if not isinstance(job, dict) or job.get("enabled") is False:
        return None
    seconds = sum(
        int(job[unit]) * factor
        for unit, factor in _UNITS.items()
        if str(job.get(unit) or "").isdigit()
    )
    if seconds:
        return _interval(seconds, begin, end)
    whens = job.get("when") or job.get("once") or ()
    whens = [whens] if isinstance(whens, str) else list(whens)
    if not whens:
        return f"runs by {job['cron']!r} (cron)" if job.get("cron") else None
    told = [_at(text, begin, end) for text in whens]
    return ", ".join(filter(None, told)) or None


def _interval(seconds, begin, end):
    if seconds <= (end - begin).total_seconds():
        return f"runs every {seconds} s"
    return f"runs every {seconds} s, and may do so in the window"


def _at(text, begin, end):
    """``1:00am``, ``Sunday 5:00am``, or a date, which is left to the reader."""
    *days, clock = str(text).strip().lower().split(" ", 1) if " " in str(text) else [str(text)]
    match = _CLOCK.match(clock.strip())
    if not match or (days and days[0] not in _DAYS):
        return f"runs at {text!r}, which may lie in the window"
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3]:
        hour = hour % 12 + (12 if match[3].lower() == "pm" else 0)
    day = begin.date()
    while day <= end.date():
        moment = datetime.datetime.combine(day, datetime.time(hour % 24, minute))
        right_day = not days or _DAYS.index(days[0]) == day.weekday()
        if right_day and begin <= moment < end:
            return f"runs at {moment:%H:%M} on {moment:%A}, in the window"
        day += datetime.timedelta(days=1)
    return None


def _of_master(run):
    """
    ``{minion: {opts: {name: job}, pillar: {name: job}, running: [job at work]}}`` of the master's
    own minions.
    """
    asked = {
        "schedule.list": ["show_all=True", "return_yaml=False", "where=opts"],
        "pillar.get": ["schedule"],
        "saltutil.running": [],
    }
    # Twice: Salt's list of jobs cannot be read at the moment in which it is written, and a busy
    # minion is slow.
    for _ in range(2):
        found = jobs.of_master(run, list(asked), list(asked.values()))
        wrong = [minion for minion, told in found.items() if not _understood(told)]
        if found and not wrong:
            break
    if wrong:
        raise CommandExecutionError(
            f"What {', '.join(wrong)} said of its schedule is not understood. Look: salt -L"
            f" {','.join(wrong)} schedule.list"
        )
    return {
        minion: {
            "opts": _jobs_of(told["schedule.list"]),
            "pillar": _jobs_of(told["pillar.get"]),
            "running": told["saltutil.running"],
        }
        for minion, told in found.items()
    }


def _understood(told):
    shapes = {"schedule.list": dict, "saltutil.running": list}
    return isinstance(told, dict) and all(
        isinstance(told.get(name), shape) for name, shape in shapes.items()
    )


def _of_fleet(run):
    """
    ``(hosts, {name: job})`` of what serves; hosts that have the same jobs are told together.
    """
    running = [one["name"] for one in fleets.current(run) if one["state"] == "running"]
    names = [name for name in running if name]
    arguments = ["show_all=True", "return_yaml=False"]
    told = jobs.answers(run, names, "schedule.list", arguments) if names else {}
    alike = {}
    for minion, listed in sorted(told.items()):
        alike.setdefault(str(_jobs_of(listed)), []).append(minion)
    return [(_who(minions), _jobs_of(told[minions[0]])) for minions in alike.values()]


def _who(minions):
    return minions[0] + (f" and {len(minions) - 1} more" if minions[1:] else "")


def _jobs_of(listed):
    """Beside its jobs a schedule has switches, and ``__mine_interval`` is Salt's own."""
    found = listed if isinstance(listed, dict) else {}
    return {
        name: job
        for name, job in found.items()
        if isinstance(job, dict) and not name.startswith("__")
    }
