"""
The window as an entry of a calendar (iCalendar, RFC 5545)
==========================================================

One entry for a run, by its id: the notice that it takes longer moves its end, in whatever calendar
took it over.

:depends: icalendar, which may be missing: then the mail goes without.
"""

import datetime

from mitx_run import events, record, window

try:
    import icalendar
except ImportError:
    icalendar = None


def entry(run, text, until=None):
    """
    Return the window as the text of an ``.ics`` file (bytes), ``text`` being its description;
    ``None`` where icalendar is not installed. ``until``: the new end, as ``window.until`` takes it.
    """
    if icalendar is None:
        return None
    times = window.times(run.settings["window"])
    end = window.until(run.settings, until)["until_utc"] if until is not None else times["end_utc"]
    name = run.settings["maintenance"].get("name") or "Residential MITx"
    event = icalendar.Event()
    event.add("uid", f"{record.identify(run)}@{run.settings['dns']['zone'].rstrip('.')}")
    # A calendar takes the entry with the higher number for the newer one.
    event.add("sequence", len(events.read(run, "announced")))
    event.add("dtstamp", datetime.datetime.now(datetime.timezone.utc))
    event.add("dtstart", _moment(times["start_utc"]))
    event.add("dtend", _moment(end))
    event.add("summary", f"{name}: maintenance")
    event.add("description", text)
    # Whoever has it in the calendar can be met all the same.
    event.add("transp", "TRANSPARENT")
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//MITx//saltext-mitx//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(event)
    return calendar.to_ical()


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
