"""
What is true now, and whether it is what the record says
========================================================

A finished phase is skipped only while the world still agrees with what that phase established and
no later phase took back: DNS on the page from ``close`` until ``open`` begins, the new fleet quiet
from ``quiesce`` until ``start``, and so on. Looks at the world at most once per command and fact,
and again after a phase has run.
"""

import contextlib

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, images, instances
from mitx_hosts import services
from mitx_run import phases, record
from mitx_site import dns

# Of a look that is to be told now, the tries.
_ATTEMPTS = 2


def check(run, phase):
    """
    Return what is no longer true of a finished ``phase``, as sentences; empty when the world
    agrees.
    """
    record = phases.statuses(run)
    # Half-way through a rollback, too, nothing of the new fleet may be launched or stopped by a
    # phase of `prepare`.
    begun = phases.touched(run)
    check = {
        "build": lambda: [] if "record" in record else _images_there(run),
        # From `stop` on nothing is launched any more: what is lost then, the window's own phases
        # tell.
        "deploy": lambda: [] if "stop" in begun else _new_fleet_there(run),
        "smoke": lambda: [] if "start" in begun else _older(record, "smoke", "deploy"),
        "quiesce": lambda: [] if "start" in begun else _services(run, "new", "stopped"),
        "close": lambda: [] if "open" in record else _dns(run, "maintenance"),
        "stop": lambda: _services(run, "old", "stopped"),
        "start": lambda: _services(run, "new", "running"),
        "attach": lambda: _members(run, "new", True),
        "detach": lambda: _members(run, "old", False),
        "verify": lambda: _verified_something_else(run, record),
        "open": lambda: _dns(run, "site"),
    }.get(phase)
    return check() if check else []


def summary(run):
    """
    Return what is true now, as sentences: where DNS points, which fleet is in the load balancers,
    which is alive.
    """
    invalidate(run)
    lines = []
    with _impatient(run):
        for what, look in (
            ("DNS", _told_dns),
            ("Load balancers", _told_members),
            ("Fleets", _told_fleets),
        ):
            try:
                lines += look(run)
            except CommandExecutionError as err:
                lines.append(f"{what}: not known, {err}")
    return lines


@contextlib.contextmanager
def _impatient(run):
    """
    Whoever is told that something failed must not wait for it, once for each look, while AWS
    throttles every call.
    """
    patient = run.aws
    run.aws = {**patient, "attempts": min(_ATTEMPTS, patient["attempts"])}
    try:
        yield
    finally:
        run.aws = patient


def failure(run, name, failures):
    """
    Return what is said of a phase, or the rollback, that failed: the ``failures`` (sentences), what
    is true now, and the next command.
    """
    try:
        truth = summary(run)
    except CommandExecutionError as err:
        truth = [f"it could not be found out: {err}"]
    following = f"Next, when that is put right: {phases.next_command(run)}"
    return "\n".join(
        [f"{name} failed:", *failures, "Now true:", *(f"  {line}" for line in truth), following]
    )


def invalidate(run):
    """
    Look at the world anew from here on.
    """
    run.seen.clear()


def _seen(run, name, look):
    if name not in run.seen:
        run.seen[name] = look()
    return run.seen[name]


def _records(run):
    return _seen(run, "dns", lambda: dns.records(run))


def _dns(run, side):
    return [
        f"{name} does not point to the {side}"
        for name, record in _records(run).items()
        if record["shows"] != side
    ]


def _older(record, phase, *others):
    """What was done again since: ``phase`` has looked at something else."""
    then = record[phase]["time"]
    return [
        f"{other} was done again since"
        for other in others
        if record.get(other, {}).get("time", "") > then
    ]


def _verified_something_else(run, record):
    # While visitors see the site it has been opened, and there is nothing to verify behind a page.
    if _dns(run, "maintenance"):
        return []
    if record.get("open", {}).get("status") == "finished":
        return ["the page was put up again since the site was opened"]
    return _older(record, "verify", "start", "attach", "detach")


def _images_there(run):
    number = record.pinned(run, "release_number")
    found = images.find(run, number) if number is not None else {}
    return [f"there is no AMI of {role}" for role, image in found.items() if not image]


def _fleet(run, which):
    """The recorded instances that still exist; a retired fleet is no fleet."""
    pinned = record.pinned(run, f"{which}_fleet") or []
    now = {
        one["id"]: one["state"] for one in _seen(run, "instances", lambda: instances.instances(run))
    }
    return [{**one, "state": now[one["id"]]} for one in pinned if one["id"] in now]


def _new_fleet_there(run):
    pinned = record.pinned(run, "new_fleet") or []
    there = {one["id"] for one in _fleet(run, "new")}
    return [f"{one['name']} ({one['id']}) is gone" for one in pinned if one["id"] not in there]


def _services(run, which, wanted):
    # What EC2 has stopped has no minion to ask: it is quiet, and it does not run.
    off = [
        f"{one['name']} ({one['id']}) is {one['state']}"
        for one in _fleet(run, which)
        if one["state"] != "running"
    ]
    fleet = [one["name"] for one in _fleet(run, which) if one["state"] == "running"]
    if wanted == "running" and off:
        return off
    if not fleet:
        return []
    # One job for both fleets: each costs a second, and the answer to it holds for all phases.
    everyone = sorted(
        {
            one["name"]
            for side in ("old", "new")
            for one in _fleet(run, side)
            if one["state"] == "running"
        }
    )
    try:
        status = _seen(run, "services", lambda: services.status(run, everyone))
    except CommandExecutionError:
        # A host of the other fleet that is silent says nothing of this one.
        try:
            status = _seen(run, f"services of {which}", lambda: services.status(run, fleet))
        except CommandExecutionError as err:
            return [str(err)]
    problems = services.problems
    return problems({minion: status[minion] for minion in fleet if minion in status}, wanted)


def _members(run, which, inside):
    described = _seen(run, "elbs", lambda: elb.describe(run))
    fleet = [one for one in _fleet(run, which) if one["role"] == "edx"]
    found = []
    for balancer in run.settings["elbs"]:
        there = set((described.get(balancer["name"]) or {}).get("members") or ())
        for one in fleet:
            if one["purpose"] == balancer["purpose"] and (one["id"] in there) is not inside:
                found.append(
                    f"{one['name']} ({one['id']}) is {'not ' if inside else 'still '}in"
                    f" {balancer['name']}"
                )
    return found


def _told_dns(run):
    targets = {}
    for name, shown in _records(run).items():
        targets.setdefault(shown["shows"] or shown["value"] or "nowhere", []).append(name)
    words = {"maintenance": "the maintenance page", "site": "the load balancers"}
    whole = len(targets) == 1
    return [
        f"DNS: {f'all {len(names)} names' if whole else ', '.join(names)}"
        f" lead{'s' if len(names) == 1 else ''} to {words.get(side, side)}"
        for side, names in targets.items()
    ]


def _told_members(run):
    described = _seen(run, "elbs", lambda: elb.describe(run))
    sides = {
        one["id"]: side
        for side in ("old", "new")
        for one in record.pinned(run, f"{side}_fleet") or []
    }
    lines = []
    for name, balancer in described.items():
        counts = {}
        for member in (balancer or {}).get("members") or ():
            side = sides.get(member, "other")
            counts[side] = counts.get(side, 0) + 1
        lines.append(
            f"{name} holds "
            + (", ".join(f"{n} {side}" for side, n in sorted(counts.items())) or "no instance")
        )
    return lines


def _told_fleets(run):
    return [
        f"{side} fleet: {len(_fleet(run, side))} instances exist"
        for side in ("old", "new")
        if record.pinned(run, f"{side}_fleet")
    ]
