"""
The hosts that a state means by the name of a fleet
===================================================

``fleet`` is ``old`` or ``new`` (as the run recorded them), ``current`` (what serves now) or
``bases`` (the base instances). Instances are as in ``mitx_fleet``, their state asked of EC2 now:
one that EC2 has stopped runs nothing, so it counts as stopped, and cannot count as running.
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, instances
from mitx_run import errors, record


def current(run, release=None):
    """
    Return the fleet that the new one replaces: what is registered in the run's load balancers, and
    every other host of the same purposes, without what is new. New is what the run recorded as
    such, and what is tagged with the run's codename and ``release`` (int).

    ``serves`` is False for a host of another release than what its purpose's load balancers hold: a
    leftover of an earlier upgrade, or what a colleague tries. It works on the same databases, so it
    must be stopped with the rest; it is never started again, and not retired.

    A registered id that is no existing instance of this environment is in the list too, with
    ``name`` None.
    """
    found = _with_elbs(instances.instances(run), elb.describe(run))
    is_new = _is_new(run, release)
    mine = [one for one in found if _belongs(one, run.settings) and not is_new(one)]
    serving = {(one["purpose"], one["codename"], one["release"]) for one in found if one["elbs"]}
    purposes = {purpose for purpose, _, _ in serving}
    for one in mine:
        generation = (one["purpose"], one["codename"], one["release"])
        # With nothing registered there is no release that serves, and nobody can be told to be a
        # leftover.
        one["serves"] = bool(one["elbs"]) or generation in serving or one["purpose"] not in purposes
    return mine


def new(run, release=None, found=None):
    """
    Return what there is of the new fleet, whose names follow from settings and ``release`` (int)::

        {instances: [exactly as expected: name, role, purpose, codename, release, existing once],
         missing: [names], unexpected: [instances], problems: [what is wrong with each, in words]}

    ``unexpected`` are instances that bear an expected name but are something else, or bear it
    twice, and instances of this codename and release which settings do not name. ``found``: an
    answer of :py:func:`instances`, if there is one already.
    """
    release = int(release)
    found = instances.instances(run) if found is None else found
    expected = {one["name"].format(release=release): one for one in run.settings["instances"]}
    good, unexpected, problems = {}, [], []
    for one in found:
        wrong = _differences(one, expected, run.settings, release, found)
        if wrong is None:
            continue
        if wrong:
            unexpected.append(one)
            problems.append(f"{instances.label(one)}: {wrong}")
        else:
            good[one["name"]] = one
    missing = [name for name in expected if name not in good]
    return {
        "instances": list(good.values()),
        "missing": missing,
        "unexpected": unexpected,
        "problems": problems,
    }


def unexpected_members(run):
    """
    Return the hosts of the run's purposes that run and are in neither fleet that it recorded:
    launched by somebody else since. They work on the same databases.
    """
    known = {one["id"] for which in ("old", "new") for one in recorded(run, which)}
    return [
        one
        for one in instances.instances(run)
        if one["id"] not in known and one["state"] != "stopped" and _belongs(one, run.settings)
    ]


def left_alone(run):
    """
    Return the instances that bear the tags of a host of the run's purposes and not its name: MITx's
    analytics host, base instances. They are of no fleet: nothing is done to them.
    """
    return [
        one
        for one in instances.instances(run)
        if one["purpose"] in run.settings["purposes"]
        and one["role"] in (instances.WEB, instances.WORKER)
        and not _bears_the_name(one, run.settings)
    ]


def existing(run, which):
    """
    Return the recorded instances of a fleet that still exist, as they are now.
    """
    return instances.find(run, ids=[one["id"] for one in recorded(run, which)])


def recorded(run, which):
    """
    Return the fleet, ``old`` or ``new``, that the run recorded: a list of instances as they were
    then. In a dry run before that, the old one is what would be recorded now.
    """
    if which not in ("old", "new"):
        raise CommandExecutionError(f"There is an old and a new fleet, not {which!r}")
    fleet = record.pinned(run, f"{which}_fleet")
    if fleet is None and run.test and which == "old":
        return current(run, record.pinned(run, "release_number"))
    if fleet is None:
        recorded_by = {"old": "record the old fleet", "new": "deploy the new fleet"}[which]
        raise CommandExecutionError(
            f"This run has recorded no {which} fleet yet. Let it {recorded_by} first: "
            "salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    return fleet


def taken(run, release=None):
    """
    Return what a deploy of ``release`` (int) would collide with, by name, in the whole account::

        {taken: [instances that exist under a name that the deploy would give, each with ``why`` in
         words],
         ours: [those which an interrupted deploy of this very release launched],
         terminated: [instances that are gone but still listed under such a name]}

    A colleague's Koa v3 beside Juniper v3 is ``taken``: ``cloud.map_run`` would skip the name with
    a warning. A terminated twin is no collision for us, but the existing ``mitx_elb`` fails on it
    for about an hour.
    """
    release = int(release)
    expected = {one["name"].format(release=release): one for one in run.settings["instances"]}
    everything = instances.find(run, names=expected, states=None)
    living = [one for one in everything if one["state"] in instances.LIVE]
    answer = {
        "taken": [],
        "ours": [],
        "terminated": [one for one in everything if one["state"] not in instances.LIVE],
    }
    for one in living:
        wrong = _differences(one, expected, run.settings, release, living) or _other_image(run, one)
        if wrong:
            answer["taken"].append({**one, "why": wrong})
        else:
            answer["ours"].append(one)
    return answer


def _with_elbs(found, elbs):
    """Fill in ``elbs``; a registered id that is none of ``found`` is added, nameless."""
    holders = {}
    for name, described in elbs.items():
        for id_ in described["members"] if described else ():
            holders.setdefault(id_, []).append(name)
    known = [{**one, "elbs": holders.pop(one["id"], [])} for one in found]
    unknown = [
        instances.instance({"InstanceId": id_, "State": {"Name": None}}) for id_ in sorted(holders)
    ]
    return known + [{**one, "elbs": holders[one["id"]]} for one in unknown]


def _is_new(run, release):
    ids = {one["id"] for one in record.pinned(run, "new_fleet") or ()}
    generation = (run.settings["codename"], None if release is None else int(release))

    def is_new(one):
        return one["id"] in ids or (
            release is not None and (one["codename"], one["release"]) == generation
        )

    return is_new


def _belongs(one, settings):
    if one["elbs"]:
        return True
    return one["purpose"] in settings["purposes"] and _bears_the_name(one, settings)


def _bears_the_name(one, settings):
    """
    Whether it is called as MITx calls the hosts of a fleet. Tags do not tell: MITx's analytics host
    has the role and the purpose of a web host, and the base instances of a build have a purpose
    too.
    """
    environment, purpose = re.escape(settings["environment"]), re.escape(str(one["purpose"]))
    wanted = rf"{one['role']}-{environment}-{purpose}-\d+-v\d+"
    return one["role"] in (instances.WEB, instances.WORKER) and bool(
        re.fullmatch(wanted, str(one["name"]))
    )


def _differences(one, expected, settings, release, found):
    """
    None: it is no affair of this release. Empty: exactly one that is expected. Else what is wrong,
    in words.
    """
    generation = (one["codename"], one["release"]) == (settings["codename"], release)
    plan = expected.get(one["name"])
    if plan is None:
        return "not in settings" if generation and one["purpose"] in settings["purposes"] else None
    twins = [
        other["id"] for other in found if other["name"] == one["name"] and other["id"] != one["id"]
    ]
    wanted = {
        "codename": settings["codename"],
        "release": release,
        "role": plan["role"],
        "purpose": plan["purpose"],
        "environment": settings["environment"],
    }
    wrong = [
        f"its {key} is {one[key]}, not {value}"
        for key, value in wanted.items()
        if one[key] != value
    ]
    if twins:
        wrong.append(f"the same name is borne by {', '.join(twins)}")
    return "; ".join(wrong)


def _other_image(run, one):
    image = (record.pinned(run, "images") or {}).get(one["role"])
    if one["image"] == image:
        return ""
    return (
        f"launched from {one['image']}, not from this run's"
        f" {image or 'images, which do not exist yet'}"
    )


def alive(run, fleet, serving=False):
    """
    Return ``(instances of the fleet that run, names of those that EC2 has stopped or terminated)``.

    serving
        True: without the leftovers of an earlier upgrade, which are stopped with the old fleet and
        never started.
    """
    return _alive(run, _members(run, fleet, serving))


def running(run, fleet, serving=False):
    """
    Return the instances of the fleet, every one of which must run. ``serving`` as in
    :py:func:`alive`.

    Raises ``CommandExecutionError`` if the fleet is empty, or one is stopped or gone in EC2.
    """
    instances = _members(run, fleet, serving)
    if not instances:
        raise CommandExecutionError("There is no such instance: the fleet is empty")
    there, halted = _alive(run, instances)
    if halted:
        raise CommandExecutionError(
            f"Stopped or gone in EC2: {', '.join(halted)}. Start what is stopped (aws ec2"
            " start-instances), then run again. What is gone of the new fleet,"
            " orchestrate.mitx.prepare launches anew, before the window or after salt-run"
            " mitx.rollback."
        )
    return there


def _members(run, fleet, serving):
    return [one for one in _instances(run, fleet) if not serving or one.get("serves", True)]


def _instances(run, fleet):
    if fleet == "current":
        return current(run)
    if fleet == "bases":
        names = list(run.settings["base_instances"].values())
        there = instances.find(run, names=names)
        missing = sorted(set(names) - {one["name"] for one in there})
        if missing:
            raise CommandExecutionError(
                f"The base instances {', '.join(missing)} do not exist: there is no build to resume"
            )
        return there
    if fleet == "new" and run.test and record.pinned(run, "new_fleet") is None:
        number = record.pinned(run, "release_number") or "N"
        names = [one["name"].format(release=number) for one in run.settings["instances"]]
        raise errors.NotPlannable(f"Not known before deploy has launched {', '.join(names)}")
    return recorded(run, fleet)


def _alive(run, members):
    found = instances.find(run, ids=[member["id"] for member in members])
    there = {instance["id"]: instance["state"] for instance in found}
    halted = [
        one["name"]
        for one in members
        if there.get(one["id"], "terminated") in ("stopped", "terminated")
    ]
    return [one for one in members if one["name"] not in halted], halted
