"""
What the master's own Salt schedule would do in the middle of the window
========================================================================

MITx's master backs up its databases at 01:00, and a window of an evening reaches into that. The
schedules of the hosts are disabled in the window with their services; this one goes on.
"""

import datetime
import re

from mitx_hosts import jobs
from mitx_run import window

_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}

_CLOCK = re.compile(r"(?i)\A(\d{1,2})(?::(\d\d))?(?::\d\d)?\s*(am|pm)?\Z")

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def inside(run):
    """
    Return, as sentences, which jobs of the master's schedule fall into the announced window, and
    which of them cannot be determined. Empty without a window, or when the master's minion does not
    answer.
    """
    if not run.settings["window"].get("start_utc"):
        return []
    times = window.times(run.settings["window"])
    begin, end = (
        # Salt's schedule counts in the local time of the host.
        datetime.datetime.fromisoformat(times[key]).astimezone().replace(tzinfo=None)
        for key in ("start", "end")
    )
    found = []
    for minion, listed in _listed(run).items():
        for name, job in sorted(listed.items()):
            when = falls(job, begin, end)
            if when:
                found.append(f"{minion}: its schedule {name} ({job.get('function')}) {when}")
    return found


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


def _listed(run):
    found = jobs.of_master(run, "schedule.list", ["show_all=True", "return_yaml=False"])
    jobs_of = {}
    for minion, listed in found.items():
        if isinstance(listed, dict):
            shown = {name: job for name, job in listed.items() if not name.startswith("__")}
            jobs_of[minion] = shown
    return jobs_of
