"""
The night on one screen, redrawn: ``salt-run mitx.watch`` on a terminal
=======================================================================

:depends: rich, which may be missing: then ``mitx.watch`` prints lines.
"""

import datetime
import io

from mitx_run import events, phases, progress
from mitx_upgrade import situation, timetable

try:
    import rich.bar
    import rich.console
    import rich.table
    import rich.text
except ImportError:
    rich = None

_COLOURS = {"finished": "green", "failed": "red", "started": "yellow", "waiting": "magenta"}
_BAR = 16


def look(run, begun):
    """
    Return what the screen shows of ``begun`` (see ``record.read``)::

        {environment, run, state, why, window, turn_back, now: what the command tells at this
         moment, next, phases: [{phase, status, began, took, usual: seconds or None}]}
    """
    found, statuses = situation.current(run, begun), phases.statuses(run) if begun else {}
    began, usual = _began(run) if begun else {}, phases.expected(run, besides=begun and begun["id"])
    rows = []
    for phase in phases.names():
        entry = statuses.get(phase, {})
        status = entry.get("status", "")
        took = entry.get("seconds") if status in ("finished", "failed") else None
        if status in ("started", "waiting") and phase in began:
            took = (_now() - _moment(began[phase])).total_seconds()
        rows.append(
            {
                "phase": phase,
                "status": status,
                "began": progress.clock(run, _moment(began[phase])) if phase in began else "",
                "took": took,
                "usual": usual.get(phase),
            }
        )
    return {
        "environment": run.environment,
        "run": begun["id"] if begun else "not begun",
        "state": found["state"],
        "why": found["why"],
        "window": situation.time_left(run),
        "turn_back": timetable.plan(run)["turn_back"],
        "now": progress.latest(run) if found["state"] in ("running", "waiting") else "",
        # Whoever reads this follows it already.
        "next": "nothing to type" if found["state"] == "running" else found["next"],
        "phases": rows,
    }


def draw(run, seen, visitors, width):
    """
    Return the screen as a text with colours, for a terminal ``width`` columns wide; ``None`` where
    rich is not installed. ``visitors`` says what these see, in words.
    """
    if rich is None:
        return None
    console = rich.console.Console(
        file=io.StringIO(), force_terminal=True, width=width, highlight=False, emoji=False
    )
    head = rich.table.Table.grid(padding=(0, 2), expand=True)
    head.add_column(no_wrap=True, style="bold")
    head.add_column(ratio=1)
    clock = progress.clock(run, _now())
    head.add_row(clock, f"{seen['environment']}, run {seen['run']}")
    for key, text in (
        ("state", f"{seen['state']}{': ' if seen['why'] else ''}{seen['why']}"),
        ("visitors", visitors),
        ("window", seen["window"]),
        ("turn back", f"by {seen['turn_back']}" if seen["turn_back"] else ""),
        ("now", seen["now"]),
        ("next", seen["next"]),
    ):
        if text:
            # What is shown may hold [ and ], which rich would take for its own.
            head.add_row(key, rich.text.Text(text))
    console.print(head)
    console.print(_table(seen["phases"]))
    return console.file.getvalue().rstrip("\n")


def _table(rows):
    table = rich.table.Table(box=None, padding=(0, 1), pad_edge=False)
    for name, justify in (
        ("phase", "left"),
        ("began", "left"),
        ("took", "right"),
        ("usual", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)
    table.add_column("")
    for row in rows:
        colour = _COLOURS.get(row["status"], "bright_black")
        whole = max(row["usual"] or row["took"] or 1, row["took"] or 0) or 1
        bar = rich.bar.Bar(whole, 0, row["took"] or 0, width=_BAR, color=colour)
        table.add_row(
            rich.text.Text(row["phase"], style=colour),
            row["began"],
            _seconds(row["took"]),
            _seconds(row["usual"]),
            bar if row["took"] is not None else rich.text.Text(row["status"], style=colour),
        )
    return table


def _began(run):
    """When each phase was last begun."""
    lines = events.read(run, "phase", status="started")
    return {line["phase"]: line["time"] for line in lines}


def _seconds(value):
    if value is None:
        return ""
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min"


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
