"""
The announced window: its times, and what is said about it
==========================================================

One definition in pillar gives the 3down request, the mail, the maintenance page and the notice of
an overrun::

    window:
      start: "2026-12-20 21:00"        # or with an offset: 2026-12-20T21:00-05:00
      timezone: America/New_York
      hours: 4
      reason: we perform routine upgrades
      contact: mitx-support@mit.edu

``hours`` is time that passes: a window over a change to or from daylight-saving time is as long as
it says. A start that the clocks skip is refused, and so is one that they show twice, unless its
offset says which of the two is meant.
"""

import datetime
import re
import zoneinfo

from salt.exceptions import CommandExecutionError

_UTC = datetime.timezone.utc

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]([01]\d|2[0-3]):\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?\Z")

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\Z")

_LONGEST_HOURS = 7 * 24

# A reason is a sentence. A log that was pasted into it must not make the page heavy or the request
# unreadable.
_LONGEST_TEXT = {"reason": 2000, "contact": 300}

# What no reader sees and some programs obey: control characters, line and paragraph separators.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")

# Not from strftime: that speaks the language the process happens to have been started in.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def times(window, now=None):
    """
    Return the window with its times worked out: ``start``, ``end`` (ISO 8601 with the zone's
    offset), ``start_utc``, ``end_utc`` (ISO 8601, ``Z``), ``timezone``, ``hours`` (float),
    ``start_text``, ``end_text``, ``hours_text`` (for people), ``reason``, ``contact`` (cleaned and
    cut to a readable length) and ``warnings`` (list of sentences).

    Raises ``CommandExecutionError`` with all that is wrong with it at once.
    """
    (start, hours, zone), found = _read(window, now)
    if found:
        raise CommandExecutionError("The window cannot be announced: " + "; ".join(found))
    end = _later(start, hours)
    spoken, warnings = _texts(window)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "start_utc": _utc(start),
        "end_utc": _utc(end),
        "timezone": zone.key,
        "hours": hours,
        "start_text": _spoken(start),
        "end_text": _spoken(end),
        "hours_text": f"{hours:g} hour" + ("" if hours == 1 else "s"),
        **spoken,
        "warnings": warnings,
    }


def texts(window):
    """
    Return ``{reason, contact}`` of a window, of which nothing else need be there: cleaned, cut to a
    readable length, the reason as a clause that follows "while".
    """
    return _texts(window)[0]


def inside(settings, now=None):
    """
    Return whether ``now`` (ISO 8601, UTC if it has no offset; default: this moment) lies in the
    announced window, its start included and its end not. No window, no.
    """
    if not settings["window"].get("start"):
        return False
    window = times(settings["window"])
    return window["start_utc"] <= _utc(_moment_now(now)) < window["end_utc"]


def require_inside(settings, now=None):
    """
    Raise ``CommandExecutionError`` unless ``now`` lies in the announced window or ``window.force``
    is set. Returns the window's times, or ``{}`` where it was forced without any.
    """
    window = settings["window"]
    if window.get("start") and (window.get("force") or inside(settings, now)):
        return times(window)
    if window.get("force"):
        return {}
    raise CommandExecutionError(
        f"{_whereabouts(window, now)} The site was left as it is. Announce a window that includes"
        " this moment, or say that you know: pillar='{mitx: {window: {force: true}}}'"
    )


def upcoming(settings, now=None):
    """
    Return the times of a window that has not ended yet. Raises ``CommandExecutionError`` if it has,
    or if there is none.
    """
    if not settings["window"].get("start"):
        raise CommandExecutionError(
            f"Nothing is announced: pillar mitx:environments:{settings.get('environment')}:window"
            " has no start"
        )
    return times(settings["window"], now=_utc(_moment_now(now)))


def until(settings, value, now=None):
    """
    Return ``{until, until_utc, until_text}`` of the moment at which the site is now expected back.

    value
        ``23:30`` (the first one after the window's start), ``2026-12-21 02:30``, the same with an
        offset, or ``+90m``, ``+2h`` (from the announced end).

    Raises ``CommandExecutionError`` if it is no moment, is not to come, or is not within a week of
    the window's start.
    """
    window = times(settings["window"])
    zone = zoneinfo.ZoneInfo(window["timezone"])
    start = datetime.datetime.fromisoformat(window["start"]).astimezone(zone)
    moment, problem = _read_until(
        value, start, datetime.datetime.fromisoformat(window["end"]).astimezone(zone), zone
    )
    if not problem and moment <= max(_moment_now(now), start):
        problem = f"{_spoken(moment)} is already past"
    if not problem and moment > _later(start, _LONGEST_HOURS):
        problem = (
            f"{_spoken(moment)} is more than a week after the window's start,"
            f" {window['start_text']}"
        )
    if problem:
        raise CommandExecutionError(f"until={value}: {problem}. Nothing was announced.")
    return {"until": moment.isoformat(), "until_utc": _utc(moment), "until_text": _spoken(moment)}


def _read(window, now):
    found = []
    zone = _zone(window.get("timezone"), found)
    hours = _hours(window.get("hours"), found)
    start = _start(window.get("start"), zone, found)
    if start and hours and now is not None and _later(start, hours) <= _moment_now(now):
        found.append(f"start: this window is past, it ended at {_spoken(_later(start, hours))}")
    return (start, hours, zone), found


def _zone(name, found):
    if not name:
        found.append("timezone: missing; for MIT it is America/New_York")
        return None
    try:
        return zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: what is a folder of the zone database, such as "America".
        found.append(
            f"timezone: {name!r} is not known here (a name such as America/New_York; the data comes"
            " with the package tzdata)"
        )
        return None


def _hours(value, found):
    try:
        hours = float(value) if value is not None and not isinstance(value, bool) else 0.0
    except (TypeError, ValueError):
        hours = 0.0
    # Written so that nan, which no comparison is true of, is refused too.
    if not 0 < hours <= _LONGEST_HOURS:
        found.append(f"hours: must be a number above 0 and up to {_LONGEST_HOURS}, is {value!r}")
        return None
    return hours


def _start(value, zone, found):
    if isinstance(value, datetime.datetime):
        value = value.isoformat(sep=" ", timespec="seconds")
    if not isinstance(value, str) or not _MOMENT.match(value.strip()):
        found.append(
            f'start: must be a date and time in quotes, such as "2026-12-20 21:00", is {value!r}'
        )
        return None
    try:
        return _in_zone(_parse(value), zone) if zone else None
    except ValueError as err:
        found.append(f"start: {value}: {err}")
        return None


def _parse(text):
    # Before Python 3.11 fromisoformat does not know the letter Z.
    return datetime.datetime.fromisoformat(re.sub(r"Z\Z", "+00:00", text.strip()))


def _in_zone(moment, zone):
    """
    Return ``moment`` in ``zone``. Raises ``ValueError`` for a time of day that the zone's clocks
    skip or show twice.
    """
    if moment.tzinfo:
        return moment.astimezone(zone)
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    if first.astimezone(_UTC).astimezone(zone).replace(tzinfo=None) != moment:
        raise ValueError(f"the clocks of {zone.key} skip this time of day on that date")
    raise ValueError(
        f"the clocks of {zone.key} show this time twice on that date; say which one is meant: "
        f"{first.isoformat(timespec='minutes')} or {second.isoformat(timespec='minutes')}"
    )


def _read_until(value, start, end, zone):
    """
    Return ``(moment, None)`` or ``(None, problem)``.
    """
    text = str(value).strip()
    if re.fullmatch(r"[+-]?\d+", text):
        # YAML 1.1, through which every argument of salt-run goes, reads 23:30 as the number 1410,
        # 0230 as 230, and +90 as 90.
        day = start.date().isoformat()
        return (
            None,
            (
                f"is a number, and can mean several times; say the day too ('{day} 23:30'), or"
                " +90m, +2h"
            ),
        )
    span = re.match(r"\+(\d{1,4})([mh])\Z", text)
    try:
        if span:
            return _later(end, int(span[1]) / (60 if span[2] == "m" else 1)), None
        if _CLOCK.match(text):
            hour, minute = map(int, text.split(":"))
            days = 0 if (hour, minute) > (start.hour, start.minute) else 1
            day = start.date() + datetime.timedelta(days=days)
            return _in_zone(datetime.datetime.combine(day, datetime.time(hour, minute)), zone), None
        if _MOMENT.match(text):
            return _in_zone(_parse(text), zone), None
    except ValueError as err:
        return None, str(err)
    return None, "must be a time such as 02:30, 2026-12-21 02:30, +90m or +2h"


def _texts(window):
    defaults = {"reason": "we perform routine upgrades", "contact": "mitx-support@mit.edu"}
    found, warnings = {}, []
    for key, longest in _LONGEST_TEXT.items():
        text = _UNPRINTABLE.sub(" ", str(window.get(key) or defaults[key])).strip() or defaults[key]
        if len(text) > longest:
            warnings.append(
                f"{key}: has {len(text)} characters; only the first {longest} are shown"
            )
            text = text[: longest - 1].rstrip() + "…"
        found[key] = text
    # "we perform routine upgrades" and "routine upgrades" are both written in pillars; it is said
    # after "while".
    if not found["reason"].lower().startswith("we "):
        found["reason"] = f"we perform {found['reason']}"
    return found, warnings


def _whereabouts(window, now):
    if not window.get("start"):
        return "No window is announced."
    announced = times(window)
    moment = _moment_now(now).astimezone(zoneinfo.ZoneInfo(announced["timezone"]))
    return (
        f"It is {_spoken(moment)}, outside of the announced window from {announced['start_text']}"
        f" to {announced['end_text']}."
    )


def _moment_now(now):
    if now is None:
        return datetime.datetime.now(_UTC)
    moment = _parse(now) if isinstance(now, str) else now
    return moment if moment.tzinfo else moment.replace(tzinfo=_UTC)


def _later(moment, hours):
    # Through UTC: adding to a local time moves the hands of the clock, not the time that passes.
    return (moment.astimezone(_UTC) + datetime.timedelta(hours=hours)).astimezone(moment.tzinfo)


def _utc(moment):
    return moment.astimezone(_UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _spoken(moment):
    zone = moment.tzname() or ""
    zone = f"UTC{zone}" if zone[:1] in "+-" else zone
    clock = (
        f"{(moment.hour + 11) % 12 + 1}:{moment.minute:02} {'AM' if moment.hour < 12 else 'PM'}"
        f" {zone}"
    )
    day = f"{_DAYS[moment.weekday()]}, {_MONTHS[moment.month - 1]} {moment.day}, {moment.year}"
    if (moment.hour, moment.minute) == (0, 0):
        # Half of the readers take "12:00 AM on Monday" for the night that follows Monday.
        return f"midnight ({clock}) at the beginning of {day}"
    return f"{clock} on {day}"


def listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
