"""
What each phase has to do, and how much of it
=============================================

From the settings, the record and the load balancers, as the phases before it will have left them:
hosts that ``deploy`` launches count before they exist.
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets
from mitx_run import events, record


def each(run):
    """
    Return ``{phase: what it has to do, in words, with the number of what it does it to}``.
    """
    release, names = run.settings["release"], _counted(run.settings["records"], "name")
    elbs = _counted(run.settings["elbs"], "load balancer")
    new = _counted(run.settings["instances"], "new host")
    web = [one for one in run.settings["instances"] if one["role"] == "edx"]
    old = _old(run)
    registered = old and [one for one in old if one["elbs"]]
    retired = old and [one for one in old if one.get("serves", True)]
    return {
        "preflight": "settings, permissions, hosts, AWS, names",
        "announce": "maintenance page, 3down request",
        "rebase": f"{release['branch']} onto {release['onto']}",
        "build": _counted(run.settings["amis"], "AMI"),
        "images": f"{_counted(run.settings['amis'], 'AMI')} available",
        "record": f"{_counted(run.settings['sdb']['ami'], 'AMI')} in SDB",
        "deploy": f"launch {new}",
        "smoke": new,
        "quiesce": f"stop {new}",
        "close": f"{names} to the page",
        "stop": f"stop {_counted(old, 'old host')}",
        "migrate": _migrate(run),
        "start": f"start {new}",
        "attach": f"{_counted(web, 'new host')} into {elbs}",
        "detach": f"{_counted(registered, 'old host')} out of {elbs}",
        "verify": f"{names}{', a human' if run.settings['gate']['required'] else ''}",
        "open": f"{names} to the site",
        "retire": f"destroy {_counted(retired, 'old host')}",
    }


def changes(run):
    """
    Return how many changes each phase made when it last finished in this environment: calls of AWS,
    jobs of minions, pushes and the like. ``{phase: int}``
    """
    found = {}
    for one in record.runs(run):
        now, count = None, 0
        for line in events.read(run, run_id=one["id"]):
            if line["event"] == "phase":
                if line["status"] == "finished" and line["phase"] == now:
                    found[now] = count
                now, count = line["phase"] if line["status"] == "started" else None, 0
            elif line.get("stage") == "after":
                count += 1
    return found


def _old(run):
    """
    The fleet that serves: as the run has recorded it, else as it is; ``None`` where AWS does not
    tell, which stands in the way of the upgrade anyway.
    """
    recorded = record.pinned(run, "old_fleet")
    if recorded is not None:
        return recorded
    try:
        return fleets.current(run, release=record.pinned(run, "release_number"))
    except CommandExecutionError:
        return None


def _migrate(run):
    purposes = _counted(run.settings["purposes"], "purpose")
    told = events.last(run, "migrations")
    if not told:
        return f"databases of {purposes}"
    numbers = [number for lists in told["unapplied"].values() for number in lists.values()]
    return f"{sum(numbers)} migrations of {purposes}"


def _counted(things, name):
    if things is None:
        return f"? {name}s"
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
