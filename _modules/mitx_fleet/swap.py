"""
The swap: from one fleet to the other, in all load balancers of a run as if they were one
=========================================================================================

Nothing is taken out of any load balancer before everything that is wanted is healthy in all of
them.

A *plan* (:py:func:`plan`) is what :py:func:`attach` and :py:func:`detach` act on, for each load
balancer::

    members       ids that are registered now
    wanted        ids that shall be registered in the end
    register      wanted, and not registered yet
    deregister    registered, and not wanted
    unknown       registered, but neither of the old nor of the new fleet
    names         {id: name} of all of them
    timeout       seconds in which, by its own health check, it must have found an instance healthy
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, fleets, images, instances
from mitx_run import record
from mitx_run.dunders import __pillar__

# A load balancer that probes each second would leave a slow first answer no time.
_LEAST_TIMEOUT = 60


def plan(run, fleet="new", release=None):
    """
    Return what there is to do until the run's load balancers hold exactly the web instances of the
    ``fleet``, ``new`` or (going back) ``old``: ``{load balancer: …}`` as at the head of this
    module. Reads only: one DescribeInstances, one DescribeLoadBalancers, one DescribeTags.

    The fleets are those that the run recorded. Outside of a run the new one follows from settings
    and ``release`` (default: what the Salt database says), and the old one is whatever else bears
    the same environment and purpose.

    Raises if the fleet is not there in full and running, or a load balancer is missing or another
    environment's. In a dry run a new fleet that is not deployed yet is taken as if it were, its
    names standing for its ids.
    """
    actual = instances.instances(run)
    wanted = _fleet(run, fleet, release, actual)
    # A new fleet that is only planned cannot differ.
    if not run.test or fleet == "old":
        _refuse_drift(fleet, wanted, actual)
    leaving = _other_fleet(run, fleet, wanted, actual)
    elbs = elb.describe(run, required=True)
    names = {one["id"]: one["name"] for one in [*leaving, *wanted, *actual]}
    return {
        balancer["name"]: _step(
            run.settings,
            balancer,
            elbs[balancer["name"]],
            _goes_into(balancer, wanted, fleet),
            leaving,
            names,
        )
        for balancer in run.settings["elbs"]
    }


def serves(run, which):
    """
    Return whether any of the run's load balancers holds an instance of the recorded fleet ``old``
    or ``new``.
    """
    ids = {one["id"] for one in record.pinned(run, f"{which}_fleet") or ()}
    return any(ids & set(held) for held in elb.holding(run).values())


def attach(run, plan):
    """
    Register what is missing, one call for each load balancer, and wait until all that is wanted is
    InService everywhere. If that does not come true, what this call registered is taken out again
    and the error says why.
    """
    try:
        for call in calls(plan, deregister=False):
            call.make(run)
        return confirm(run, plan)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}. {_take_out_again(run, plan)}") from err


def confirm(run, plan):
    """
    Wait until every wanted instance is InService in all load balancers of the ``plan``:
    ``elb.polls`` polls in a row; where nothing is to change, one look is enough. Has
    ``elb.timeout`` seconds, by default what the load balancers' own health checks need.
    """
    quiet = not any(step["register"] or step["deregister"] for step in plan.values())
    return elb.wait_in_service(
        run,
        {name: step["wanted"] for name, step in plan.items()},
        run.settings["elb"]["timeout"] or max(step["timeout"] for step in plan.values()),
        polls=1 if quiet else None,
        names={id_: name for step in plan.values() for id_, name in step["names"].items()},
    )


def detach(run, plan):
    """
    Take out what is registered and not wanted, one call for each load balancer, and wait until it
    has drained. Membership is read again first: nothing is taken out when something is registered
    that the ``plan`` does not know, or something wanted is not.

    Returns ``{load balancer: ids}`` whose open requests were cut off at the end of the drain
    timeout.
    """
    now = elb.members(run, list(plan))
    _refuse_surprises(plan, now)
    leaving = {}
    for name, step in plan.items():
        ids = [id_ for id_ in step["deregister"] if id_ in now[name]]
        if ids:
            leaving[name] = ids
    # Asked before, so that no answer is missing once requests are being cut off.
    timeouts = {name: elb.drain_timeout(run, name) for name in leaving}
    for name, ids in leaving.items():
        elb.deregistration(name, ids).make(run)
    return elb.wait_drained(run, leaving, timeouts) if leaving else {}


def calls(plan, register=True, deregister=True):
    """
    Return the calls by which the ``plan`` is applied, in their order: all that registers, then all
    that deregisters.
    """
    found = []
    for side, wanted, call in (
        ("register", register, elb.registration),
        ("deregister", deregister, elb.deregistration),
    ):
        steps = plan.items() if wanted else ()
        found += [call(name, step[side]) for name, step in steps if step[side]]
    return found


def changes(plan, register=True, deregister=True):
    """
    Return what acting on the ``plan`` would change: ``{load balancer: {registered: [names],
    deregistered: [names]}}``, without what is empty.
    """
    return _named(
        plan,
        {
            name: {
                "registered": step["register"] if register else (),
                "deregistered": step["deregister"] if deregister else (),
            }
            for name, step in plan.items()
        },
    )


def done(run, plan):
    """
    Return what is different now from when the ``plan`` was made, in the form of
    :py:func:`changes`. After a failure this is what was done, whatever was meant to be. One
    DescribeLoadBalancers.
    """
    now = elb.members(run, list(plan))
    return _named(
        plan,
        {
            name: {
                "registered": set(now[name]) - set(step["members"]),
                "deregistered": set(step["members"]) - set(now[name]),
            }
            for name, step in plan.items()
        },
    )


def _fleet(run, fleet, release, actual):
    if fleet == "old" or record.pinned(run, "new_fleet") is not None:
        return fleets.recorded(run, fleet)
    release = release or _release(run)
    found = fleets.new(run, release, actual)
    if run.test:
        return found["instances"] + _planned(run.settings, found["missing"], release)
    if found["missing"] or found["unexpected"]:
        problems = [*(f"{name} does not exist" for name in found["missing"]), *found["problems"]]
        raise CommandExecutionError(
            f"{run.settings['codename']} v{release} is not deployed as settings say:"
            f" {'; '.join(problems)}. Nothing was changed. Deploy it first: salt-run"
            " state.orchestrate orchestrate.mitx.prepare"
        )
    return found["instances"]


def _planned(settings, names, release):
    plans = {one["name"].format(release=release): one for one in settings["instances"]}
    return [
        {
            "id": name,
            "name": name,
            "role": plans[name]["role"],
            "purpose": plans[name]["purpose"],
            "elbs": None,
        }
        for name in names
    ]


def _release(run):
    """The number of the run's release; outside of a run that of the last one built."""
    if run.test and (__pillar__.get("mitx") or {}).get("run"):
        return images.release_number(run)
    number = record.pinned(run, "release_number") or images.recorded_release(run.settings)
    if not number:
        raise CommandExecutionError(
            f"No release of {run.settings['codename']} was built yet:"
            f" {run.settings['sdb']['release']} is not set"
        )
    return number


def _other_fleet(run, fleet, wanted, actual):
    pins = {which: record.pinned(run, f"{which}_fleet") for which in ("old", "new")}
    if pins["old"] is not None:
        return pins["old" if fleet == "new" else "new"] or []
    ids = {one["id"] for one in wanted}
    return [one for one in actual if one["role"] == "edx" and one["id"] not in ids]


def _refuse_drift(fleet, wanted, actual):
    # A leftover is in no load balancer, and nobody minds what became of it.
    web = [one for one in wanted if one["role"] == "edx" and one.get("serves", True)]
    differs = instances.drift(web, actual)
    if differs:
        raise CommandExecutionError(
            f"The {fleet} fleet is not as it was recorded: {'; '.join(differs)}. Nothing was"
            " changed. See what is true now: salt-run mitx.status"
        )


def _goes_into(elb, wanted, fleet):
    """
    The ids that belong in ``elb``. The old fleet goes back to where it was, which need not be what
    settings say now.
    """
    if fleet == "old":
        return [one["id"] for one in wanted if elb["name"] in (one["elbs"] or ())]
    return [one["id"] for one in wanted if (one["role"], one["purpose"]) == ("edx", elb["purpose"])]


def _step(settings, elb, found, ids, leaving, names):
    if not ids:
        raise CommandExecutionError(
            f"No instance of the fleet belongs in {elb['name']}: it would serve nobody"
        )
    known = {*ids, *(one["id"] for one in leaving if one["purpose"] == elb["purpose"])}
    check, members = found["health_check"], found["members"]
    needed = check.get("Interval", 30) * check.get("HealthyThreshold", 10) + check.get("Timeout", 5)
    return {
        "members": members,
        "wanted": ids,
        "register": [id_ for id_ in ids if id_ not in members],
        "deregister": [id_ for id_ in members if id_ not in ids],
        "unknown": [id_ for id_ in members if id_ not in known],
        "names": {id_: names.get(id_) for id_ in {*members, *ids}},
        # Twice what it needs by its own numbers: its first probe may meet a process that is just
        # starting.
        "timeout": max(
            _LEAST_TIMEOUT, 2 * needed + settings["elb"]["polls"] * settings["elb"]["interval"]
        ),
    }


def _take_out_again(run, plan):
    """
    Undo :py:func:`attach`: what is registered now and was not, whether or not AWS had answered that
    it is.
    """
    mine = {name: step["register"] for name, step in plan.items() if step["register"]}
    if not mine:
        return "This call had registered nothing, so nothing was taken out"
    stuck = []
    for name, ids in mine.items():
        try:
            now = elb.members(run, [name])[name]
            out = [id_ for id_ in ids if id_ in now]
            if out:
                elb.deregister(run, name, out)
        except CommandExecutionError as err:
            stuck.append(f"{name} may still hold some of {', '.join(ids)} ({err})")
    if stuck:
        return (
            f"What it had registered could not all be taken out again: {'; '.join(stuck)}. See:"
            " salt-run mitx.status"
        )
    return (
        f"What this call had registered was taken out again of {', '.join(mine)}; nothing else was"
        " changed"
    )


def _refuse_surprises(plan, now):
    found = []
    for name, step in plan.items():
        expected = {*step["members"], *step["wanted"]}
        found += [f"{name} also holds {id_}" for id_ in now[name] if id_ not in expected]
        missing = [id_ for id_ in step["wanted"] if id_ not in now[name]]
        found += [f"{name} does not hold {step['names'][id_]} ({id_})" for id_ in missing]
    if found:
        raise CommandExecutionError(
            f"Not as planned, so nothing was taken out: {'; '.join(found)}. Run it again."
        )


def _named(plan, sides):
    found = {}
    for name, both in sides.items():
        known = plan[name]["names"]
        labels = {}
        for side, ids in both.items():
            if ids:
                labels[side] = sorted(_label(id_, known.get(id_)) for id_ in ids)
        if labels:
            found[name] = labels
    return found


def _label(id_, name):
    return id_ if name == id_ else f"{name or 'unnamed'} ({id_})"
