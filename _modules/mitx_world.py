"""
What is true now, and whether it is what the record says
========================================================

A finished phase is skipped only while the world still agrees with what that phase established and no later phase took back:
DNS on the page from ``close`` until ``open`` begins, the new fleet quiet from ``quiesce`` until ``start``, and so on. Looks at the
world at most once per command and fact, and again after a phase has run.
"""

from salt.exceptions import CommandExecutionError

_CACHE = "mitx_world.seen"


def __virtual__():
    return True


def differences(settings, phase):
    """
    Return what is no longer true of a finished ``phase``, as sentences; empty when the world agrees.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.status
    """
    record = __salt__["mitx_phase.record"]()
    # Half-way through a rollback, too, nothing of the new fleet may be launched or stopped by a phase of `prepare`.
    begun = __salt__["mitx_phase.attempted"]()
    check = {
        "build": lambda: [] if "record" in record else _images_there(settings),
        # From `stop` on nothing is launched any more: what is lost then, the window's own phases tell.
        "deploy": lambda: [] if "stop" in begun else _new_fleet_there(),
        "smoke": lambda: [] if "start" in begun else _older(record, "smoke", "deploy"),
        "quiesce": lambda: [] if "start" in begun else _services("new", "stopped"),
        "close": lambda: [] if "open" in record else _dns(settings, "maintenance"),
        "stop": lambda: _services("old", "stopped"),
        "start": lambda: _services("new", "running"),
        "attach": lambda: _members(settings, "new", True),
        "detach": lambda: _members(settings, "old", False),
        "verify": lambda: _verified_something_else(settings, record),
        "open": lambda: _dns(settings, "site"),
    }.get(phase)
    return check() if check else []


def summary():
    """
    Return what is true now, as sentences: where DNS points, which fleet is in the load balancers, which is alive.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_world.summary with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    forget()
    lines = []
    for what, look in (("DNS", _told_dns), ("Load balancers", _told_members), ("Fleets", _told_fleets)):
        try:
            lines += look(settings)
        except CommandExecutionError as err:
            lines.append(f"{what}: not known, {err}")
    return lines


def failure(name, failures):
    """
    Return what is said of a phase, or the rollback, that failed: the ``failures`` (sentences), what is true now, and the next command.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_world.failure smoke '[seen by eye]' with_pillar=True
    """
    try:
        truth = summary()
    except CommandExecutionError as err:
        truth = [f"it could not be found out: {err}"]
    following = f"Next, when that is put right: {__salt__['mitx_phase.next_command']()}"
    return "\n".join([f"{name} failed:", *failures, "Now true:", *(f"  {line}" for line in truth), following])


def forget():
    """
    Look at the world anew from here on.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_world.forget
    """
    __context__.pop(_CACHE, None)


def _seen(name, look):
    seen = __context__.setdefault(_CACHE, {})
    if name not in seen:
        seen[name] = look()
    return seen[name]


def _records(settings):
    return _seen("dns", lambda: __salt__["mitx_dns.records"](settings))


def _dns(settings, side):
    return [f"{name} does not point to the {side}" for name, record in _records(settings).items() if record["shows"] != side]


def _older(record, phase, *others):
    """What was done again since: ``phase`` has looked at something else."""
    then = record[phase]["time"]
    return [f"{other} was done again since" for other in others if record.get(other, {}).get("time", "") > then]


def _verified_something_else(settings, record):
    # While visitors see the site it has been opened, and there is nothing to verify behind a page.
    if _dns(settings, "maintenance"):
        return []
    if record.get("open", {}).get("status") == "finished":
        return ["the page was put up again since the site was opened"]
    return _older(record, "verify", "start", "attach", "detach")


def _images_there(settings):
    number = __salt__["mitx_run.pinned"]("release_number")
    found = __salt__["mitx_images.find"](settings, number) if number is not None else {}
    return [f"there is no AMI of {role}" for role, image in found.items() if not image]


def _fleet(which):
    """The recorded instances that still exist; a retired fleet is no fleet."""
    pinned = __salt__["mitx_run.pinned"](f"{which}_fleet") or []
    now = {one["id"]: one["state"] for one in _seen("instances", lambda: __salt__["mitx_fleet.instances"]())}
    return [{**one, "state": now[one["id"]]} for one in pinned if one["id"] in now]


def _new_fleet_there():
    pinned = __salt__["mitx_run.pinned"]("new_fleet") or []
    there = {one["id"] for one in _fleet("new")}
    return [f"{one['name']} ({one['id']}) is gone" for one in pinned if one["id"] not in there]


def _services(which, wanted):
    # What EC2 has stopped has no minion to ask: it is quiet, and it does not run.
    off = [f"{one['name']} ({one['id']}) is {one['state']}" for one in _fleet(which) if one["state"] != "running"]
    fleet = [one["name"] for one in _fleet(which) if one["state"] == "running"]
    if wanted == "running" and off:
        return off
    if not fleet:
        return []
    # One job for both fleets: each costs a second, and the answer to it holds for all phases.
    everyone = sorted({one["name"] for side in ("old", "new") for one in _fleet(side) if one["state"] == "running"})
    try:
        status = _seen("services", lambda: __salt__["mitx_services.status"](everyone))
    except CommandExecutionError:
        # A host of the other fleet that is silent says nothing of this one.
        try:
            status = _seen(f"services of {which}", lambda: __salt__["mitx_services.status"](fleet))
        except CommandExecutionError as err:
            return [str(err)]
    problems = __salt__["mitx_services.problems"]
    return problems({minion: status[minion] for minion in fleet if minion in status}, wanted)


def _members(settings, which, inside):
    described = _seen("elbs", lambda: __salt__["mitx_elb.describe"](settings))
    fleet = [one for one in _fleet(which) if one["role"] == "edx"]
    found = []
    for elb in settings["elbs"]:
        there = set((described.get(elb["name"]) or {}).get("members") or ())
        for one in fleet:
            if one["purpose"] == elb["purpose"] and (one["id"] in there) is not inside:
                found.append(f"{one['name']} ({one['id']}) is {'not ' if inside else 'still '}in {elb['name']}")
    return found


def _told_dns(settings):
    targets = {}
    for name, record in _records(settings).items():
        targets.setdefault(record["shows"] or record["value"] or "nowhere", []).append(name)
    words = {"maintenance": "see the maintenance page", "site": "are sent to the load balancers"}
    return [f"Visitors of {', '.join(names)} {words.get(side, f'are sent to {side}')}" for side, names in targets.items()]


def _told_members(settings):
    described = _seen("elbs", lambda: __salt__["mitx_elb.describe"](settings))
    sides = {one["id"]: side for side in ("old", "new") for one in __salt__["mitx_run.pinned"](f"{side}_fleet") or []}
    lines = []
    for name, elb in described.items():
        counts = {}
        for member in (elb or {}).get("members") or ():
            side = sides.get(member, "other")
            counts[side] = counts.get(side, 0) + 1
        lines.append(f"{name} holds " + (", ".join(f"{n} {side}" for side, n in sorted(counts.items())) or "no instance"))
    return lines


def _told_fleets(settings):
    return [
        f"{side} fleet: {len(_fleet(side))} instances exist"
        for side in ("old", "new")
        if __salt__["mitx_run.pinned"](f"{side}_fleet")
    ]
