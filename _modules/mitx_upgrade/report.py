"""
A run, told for whoever reads it: where it stands, how long its phases took, what it changed
============================================================================================

From the journal and from the world as they are; what ``salt-run mitx.status``, ``mitx.watch`` and
``mitx.report`` print.
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_run import events, folders, lock, phases, progress, record
from mitx_site import checks
from mitx_upgrade import approval, drift, go_ahead, report_page, situation


def current_run(run):
    """
    Return the run record of the run that the settings name, and let what follows belong to it;
    ``None``: it has not begun.
    """
    return record.read(run, folders.use(run, record.identify(run)))


def require_run(run):
    """
    Return :py:func:`current_run`; raise ``CommandExecutionError`` if it has not begun.
    """
    begun = current_run(run)
    if not begun:
        raise CommandExecutionError("There is nothing to report: the run has not begun")
    return begun


def follow(run, lines=0):
    """
    Return what is new in the run since its first ``lines`` (int) lines about phases, and who works
    on it::

        {run: id or None, news: [a line each], lines: how many there are now, locked_by, next:
         command}
    """
    begun = current_run(run)
    holder = lock.locked_by(run)
    found = events.read(run, "phase") if begun else []
    usual = phases.expected(run) if found[lines:] else {}
    return {
        "run": begun["id"] if begun else None,
        "news": [line(entry, usual) for entry in found[lines:]],
        "lines": len(found),
        "locked_by": holder["by"] if holder else None,
        "next": situation.current(run, begun)["next"],
    }


# What prints how to get behind the page.
_BACKSTAGE = "salt-run mitx.backstage"

_GATES = {"verify": approval.approve, go_ahead.GATE: go_ahead.approve}


def approve(run, gate="verify", note="", test=False):
    """
    Record that a human has looked: at the site (``gate`` verify), or at the plan, before the window
    (close). Returns ``{approved: run, gate, by, at}``, under ``test`` ``{"would approve": run}``.

    Raises ``CommandExecutionError`` while there is nothing to look at.
    """
    begun = current_run(run)
    if not begun:
        raise CommandExecutionError("There is no run to approve: it has not begun")
    if gate not in _GATES:
        raise CommandExecutionError(f"There is no gate {gate!r}: {' and '.join(_GATES)}")
    given = _GATES[gate](run, str(note), test)
    if test:
        return {"would approve": begun["id"]}
    return {"approved": begun["id"], "gate": gate, "by": given["by"], "at": given["time"]}


def status(run, begun=None):
    """
    Return where ``begun`` (as ``record.read`` returns it; None: not begun) and the environment
    stand, in the order in which one reads it::

        {environment, purposes, run, state, since, why, window, visitors, locked_by,
         phases: [a line each], true_now: [sentences], look: [str], next: command or "nothing"}

    ``visitors``, what they get, is asked as one of them, whatever DNS should say. ``look``, what a
    human is asked to look at and the command that tells how, is empty unless one is waited for.
    """
    entries = phases.statuses(run) if begun else {}
    found = situation.current(run, begun)
    held = lock.locked_by(run)
    return {
        "environment": run.settings["environment"],
        "purposes": run.settings["purposes"],
        "run": (
            f"{begun['id']}, begun by {begun['by']} at {_second(begun['began']) or 'some time'}"
            if begun
            else "not begun"
        ),
        "state": found["state"],
        "since": found["since"],
        "why": found["why"],
        "window": situation.time_left(run),
        "visitors": _visitors(run),
        "locked_by": _holder(held),
        "phases": [f"{phase:<10} {_outcome(entries.get(phase))}" for phase in phases.names()],
        "true_now": drift.summary(run),
        "look": [approval.LOOK, _BACKSTAGE] if found["state"] == "waiting" else [],
        "next": found["next"],
    }


def _visitors(run):
    try:
        return checks.in_words(run)
    except CommandExecutionError as err:
        return f"cannot be looked at: {err}"


def _holder(held):
    if not held:
        return "nobody"
    doing = f"{held['why']} {held['phase']}".strip()
    return f"{held['by']}, process {held['pid']}, since {_second(held['since'])} ({doing})"


def times(run, begun):
    """
    Return how long each phase of the run ``begun`` took, what it waited for meanwhile (seconds),
    and how often which change was made::

        {run: id, folder, page: path of the report, phases: [a line each], window: a line,
         changes: {what: count}}
    """
    changes = {}
    for line in events.read(run):
        if line.get("stage") == "after":
            what = (
                f"{line['event']}"
                f" {line.get('operation') or line.get('sls') or line.get('label') or ''}".strip()
            )
            changes[what] = changes.get(what, 0) + 1
    durations = phases.durations(run)
    return {
        "run": begun["id"],
        "folder": folders.folder(run),
        "page": save(run),
        "phases": [
            f"{phase:<10} {_outcome(entry)}{_waited(durations.get(phase))}"
            for phase, entry in phases.statuses(run).items()
        ],
        "window": _window(durations),
        "changes": changes,
    }


def save(run):
    """
    Write the report of the run as a page, and return its path; ``None`` if it could not be written,
    which is told and hinders nothing.
    """
    begun = record.read(run)
    try:
        return report_page.write(run, begun, situation.current(run, begun))
    except Exception as err:  # What tells of a run must not end it.
        progress.say(run, f"The report could not be written: {type(err).__name__}: {err}")
        return None


def line(entry, expected=None):
    """
    Return one line of the journal about a phase as text; with ``expected`` (``{phase: seconds}``),
    when a phase starts, how long it took the last time.
    """
    usual = (expected or {}).get(entry["phase"])
    pace = ""
    if entry.get("seconds") is not None:
        pace = f" after {entry['seconds']} s"
    elif usual is not None and entry["status"] == "started":
        pace = f" (the last time it took {usual} s)"
    return f"{entry['time']}  {entry['phase']:<10} {entry['status']}{pace}"


def _outcome(entry):
    if not entry:
        return "-"
    seconds = f" ({entry['seconds']} s)" if entry.get("seconds") is not None else ""
    why = f": {str(entry['error']).splitlines()[0]}" if entry.get("error") else ""
    return f"{entry['status']} {_second(entry['time'])}{seconds}{why}"


def _second(text):
    """A moment (UTC, ISO 8601) without what is less than a second."""
    return re.sub(r"\.\d+", "", text)


def _waited(duration):
    if not duration:
        return ""
    waited = ", ".join(f"{reason} {seconds} s" for reason, seconds in duration["waited"].items())
    return f": its own {_own(duration):.1f} s" + (f", waiting for {waited}" if waited else "")


def _own(duration):
    return duration["seconds"] - sum(duration["waited"].values())


def _window(durations):
    mine = [durations[phase] for phase in phases.names("window") if phase in durations]
    return (
        f"{sum(one['seconds'] for one in mine):.1f} s in its phases, of that its own"
        f" {sum(map(_own, mine)):.1f} s"
    )
