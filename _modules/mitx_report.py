"""
A run, told for whoever reads it: where it stands, how long its phases took, what it changed
============================================================================================

From the journal and from the world as they are; what ``salt-run mitx.status``, ``mitx.watch`` and ``mitx.report`` print.
"""


def __virtual__():
    return True


def status(run=None):
    """
    Return where ``run`` (as ``mitx_run.read`` returns it; None: not begun) and the environment stand::

        {environment, purposes, run, "held by", phases: [a line each], now: [sentences], next: command}

    CLI Example:

    .. code-block:: bash

        salt-run mitx.status
    """
    settings = __salt__["mitx_settings.get"]()
    record = __salt__["mitx_phase.record"]() if run else {}
    held = __salt__["mitx_lock.holder"]()
    return {
        "environment": settings["environment"],
        "purposes": settings["purposes"],
        "run": f"{run['id']}, begun by {run['by']} at {run['began']}" if run else "not begun",
        "held by": f"{held['by']}, process {held['pid']}, since {held['since']} ({held['why']} {held['phase']})"
        if held
        else "nobody",
        "phases": [f"{phase:<10} {_outcome(record.get(phase))}" for phase in __salt__["mitx_phase.names"]()],
        "now": __salt__["mitx_world.summary"](),
        "next": __salt__["mitx_phase.next_command"](),
    }


def times(run):
    """
    Return how long each phase of ``run`` took, what it waited for meanwhile (seconds), and how often which change was made::

        {run: id, folder, phases: [a line each], window: a line, changes: {what: count}}

    CLI Example:

    .. code-block:: bash

        salt-run mitx.report
    """
    changes = {}
    for line in __salt__["mitx_journal.entries"]():
        if line.get("stage") == "after":
            what = f"{line['event']} {line.get('operation') or line.get('sls') or line.get('label') or ''}".strip()
            changes[what] = changes.get(what, 0) + 1
    durations = __salt__["mitx_phase.durations"]()
    return {
        "run": run["id"],
        "folder": __salt__["mitx_run.folder"](),
        "phases": [
            f"{phase:<10} {_outcome(entry)}{_waited(durations.get(phase))}"
            for phase, entry in __salt__["mitx_phase.record"]().items()
        ],
        "window": _window(durations),
        "changes": changes,
    }


def line(entry, expected=None):
    """
    Return one line of the journal about a phase as text; with ``expected`` (``{phase: seconds}``), when a phase starts, how long it
    took the last time.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.watch
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
    return f"{entry['status']} {entry['time']}{seconds}"


def _waited(duration):
    if not duration:
        return ""
    waited = ", ".join(f"{reason} {seconds} s" for reason, seconds in duration["waited"].items())
    return f": its own {_own(duration):.1f} s" + (f", waiting for {waited}" if waited else "")


def _own(duration):
    return duration["seconds"] - sum(duration["waited"].values())


def _window(durations):
    mine = [durations[phase] for phase in __salt__["mitx_phase.names"]("window") if phase in durations]
    return f"{sum(one['seconds'] for one in mine):.1f} s in its phases, of that its own {sum(map(_own, mine)):.1f} s"
