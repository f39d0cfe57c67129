"""
The handover card: where the upgrade stands, for whoever was just woken
========================================================================

The same as ``report.status``, for a terminal: times of day in the window's zone, phases by what
became of them, and of the databases and the new workers what the record knows. No host is asked.
"""

import datetime

from mitx_run import events, lock, phases, progress

# What a phase is on the card, by its status.
_BECAME = {"failed": "failed", "started": "begun", "waiting": "waits"}


def rows(run, told):
    """
    Return ``{label: text or [text]}`` of ``told`` (see ``report.status``), in the order in which
    one reads it.
    """
    entries = phases.statuses(run) if told["run"] != "not begun" else {}
    return {
        "environment": f"{told['environment']}: {', '.join(told['purposes'])}",
        "run": told["run"],
        "state": _state(run, told),
        "window": told["window"],
        "page": _page(run, entries),
        "visitors": told["visitors"],
        "locked_by": _holder(run),
        "done": " ".join(_with(entries, "finished")),
        **{word: _lines(run, entries, status) for status, word in _BECAME.items()},
        "to_come": " ".join(phase for phase in phases.names() if phase not in entries),
        "true_now": told["true_now"],
        "databases": _databases(run),
        "new_workers": _workers(run),
        "look": told["look"],
        "next": told["next"],
    }


def _holder(run):
    held = lock.locked_by(run)
    if not held:
        return "nobody"
    # Of a holder who has just come nothing is known yet.
    since = _clock(run, held["since"]) if held["pid"] else held["since"]
    doing = f" ({held['phase']})" if held["phase"] else ""
    return f"{held['by']}, process {held['pid']} on {held['host']}, since {since}{doing}"


def _state(run, told):
    since = f" since {_clock(run, told['since'])}" if told["since"] else ""
    return f"{told['state']}{since}" + (f": {told['why']}" if told["why"] else "")


def _with(entries, status):
    return [phase for phase, entry in entries.items() if entry["status"] == status]


def _lines(run, entries, status):
    return [
        f"{phase} at {_clock(run, entries[phase]['time'])}"
        + (f": {str(entries[phase]['error']).splitlines()[0]}" if entries[phase]["error"] else "")
        for phase in _with(entries, status)
    ]


def _page(run, entries):
    close, open_ = (entries.get(phase, {}).get("status") for phase in ("close", "open"))
    if close != "finished" or open_ == "finished":
        return ""
    return f"up since {_clock(run, entries['close']['time'])}"


def _databases(run):
    """What was last done to them: a rollback takes phases back, and not what they did here."""
    told = [(line, _done(line)) for line in events.read(run, "phase", "restored")]
    told = [(line, what) for line, what in told if what]
    return f"{told[-1][1]}, {_clock(run, told[-1][0]['time'])}" if told else ""


def _done(line):
    """What a line of the journal says was done to the databases; nothing, if it is about others."""
    if line["event"] == "restored":
        return "restored"
    if line["phase"] == "rollback" and line["status"] == "started":
        return "restored, as was said" if line.get("database_restored") else ""
    words = {"finished": "migrated", "started": "a migration was begun"}
    unsure = "perhaps half migrated: the migration failed"
    return words.get(line["status"], unsure) if line["phase"] == "migrate" else ""


def _workers(run):
    found = []
    last = events.last(run, "fenced", "unfenced")
    if last:
        words = {"fenced": "are kept from the queues", "unfenced": "may have their queues"}
        found.append(f"{words[last['event']]} since {_clock(run, last['time'])}")
    unheld = events.last(run, "not_held")
    if unheld:
        found.append(f"worked before they were fenced: {', '.join(unheld['minions'])}")
    return found


def _clock(run, text):
    """The time of day; of another day the date, too."""
    moment = progress.local(run, datetime.datetime.fromisoformat(text.replace("Z", "+00:00")))
    date = "" if moment.date() == progress.local(run).date() else f"{moment:%Y-%m-%d} "
    return f"{date}{moment:%H:%M:%S}"
