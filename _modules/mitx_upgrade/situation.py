"""
Where the upgrade stands, and what to type next
===============================================

One answer for every state a run can be in; whatever tells an operator what is next tells this.
"""

import datetime
import zoneinfo

from mitx_run import events, lock, phases, window

NOTHING = "nothing"


def current(run, begun):
    """
    Return ``{state, since, why, next}``. ``state`` is ``not begun``, ``running``, ``waiting``,
    ``broke off``, ``failed``, ``rolling back``, ``rolled back``, ``postponed``, ``done`` or
    ``retired``; ``since`` (UTC, ISO 8601) and ``why`` may be empty; ``next`` is a command, or
    ``nothing``.

    begun
        The run record, ``None`` if the run has not begun.
    """
    if not begun:
        return _told("not begun", next_=phases.next_command(run))
    last = _last(run)
    holder = lock.locked_by(run)
    if holder and not holder["mine"]:
        return _running(last, holder)
    if phases.rolling_back(run):
        return _rolling_back(run, last)
    return _standing(run, last)


def time_left(run, now=None):
    """
    Return what is left of the announced window, as a sentence; the empty string if there is none.
    """
    if not run.settings["window"].get("start_utc"):
        return ""
    times = window.times(run.settings["window"])
    now = now or datetime.datetime.now(datetime.timezone.utc)
    start, end = (datetime.datetime.fromisoformat(times[key]) for key in ("start", "end"))
    span = _span(
        *(moment.astimezone(zoneinfo.ZoneInfo(times["timezone"])) for moment in (start, end))
    )
    if now < start:
        return f"{span}: begins in {_spoken(start - now)}"
    if now < end:
        return f"{span}: {_spoken(end - now)} left"
    return f"{span}: ended {_spoken(now - end)} ago"


def _span(start, end):
    same_day = start.date() == end.date()
    return f"{start:%a %d %b %H:%M} to {end:{'' if same_day else '%a %d %b '}%H:%M %Z}"


def _last(run):
    return events.last(run, "phase")


def _running(last, holder):
    if last and last["status"] == "waiting":
        command = last.get("command") or "salt-run mitx.approve"
        return _told("waiting", last["time"], f"{last['phase']} waits for a human", command)
    doing = f"{holder['why']} {holder['phase']}".strip() or "a command"
    why = f"{doing}, by {holder['by']}, process {holder['pid']} on {holder['host']}"
    return _told("running", holder["since"], why, "salt-run mitx.watch")


def _rolling_back(run, last):
    words = {
        "started": "the command was killed",
        "failed": _first_line(last),
        "halted": "nothing runs, the databases can be restored",
    }
    state = "broke off" if last["status"] == "started" else "rolling back"
    why = f"rollback: {words.get(last['status'], last['status'])}"
    return _told(state, last["time"], why, phases.next_command(run))


def _standing(run, last):
    following = phases.next_command(run)
    if not last:
        return _told("not begun", next_=following)
    if last["status"] in ("started", "waiting"):
        why = f"{last['phase']}: the command was killed"
        return _told("broke off", last["time"], why, following)
    if last["status"] == "failed":
        return _told("failed", last["time"], f"{last['phase']}: {_first_line(last)}", following)
    if last["phase"] == "rollback":
        return _told("rolled back", last["time"], "the old fleet serves", following)
    return _ended(run, last, following)


def _ended(run, last, following):
    left = phases.unfinished(run)
    if left:
        return _told("postponed", last["time"], f"next phase: {left[0]}", following)
    if phases.statuses(run).get("retire", {}).get("status") == "finished":
        return _told("retired", last["time"], "the old fleet is destroyed", NOTHING)
    return _told("done", last["time"], _kept(run), following)


def _kept(run):
    opened = phases.statuses(run)["open"]["time"]
    after = datetime.timedelta(hours=run.settings["retire"]["after"])
    until = datetime.datetime.fromisoformat(opened.replace("Z", "+00:00")) + after
    return f"the old fleet is kept until {until:%Y-%m-%d %H:%M} UTC"


def _first_line(line):
    return (str(line.get("error") or "").splitlines() or ["no reason recorded"])[0]


def _told(state, since="", why="", next_=""):
    return {"state": state, "since": since, "why": why, "next": next_}


def _spoken(span):
    minutes = int(span.total_seconds() // 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60:02d} min"
