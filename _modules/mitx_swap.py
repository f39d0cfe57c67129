"""
The swap: from one fleet to the other, in all load balancers of a run as if they were one
=========================================================================================

Nothing is taken out of any load balancer before everything that is wanted is healthy in all of them.

A *plan* (:py:func:`plan`) is what :py:func:`attach` and :py:func:`detach` act on, for each load balancer::

    members       ids that are registered now
    wanted        ids that shall be registered in the end
    register      wanted, and not registered yet
    deregister    registered, and not wanted
    unknown       registered, but neither of the old nor of the new fleet
    names         {id: name} of all of them
    timeout       seconds in which, by its own health check, it must have found an instance healthy
"""

from salt.exceptions import CommandExecutionError

# A load balancer that probes each second would leave a slow first answer no time.
_LEAST_TIMEOUT = 60


def __virtual__():
    return True


def plan(settings=None, fleet="new", release=None, forecast=False):
    """
    Return what there is to do until the run's load balancers hold exactly the web instances of the ``fleet``,
    ``new`` or (going back) ``old``: ``{load balancer: …}`` as at the head of this module. Reads only: one
    DescribeInstances, one DescribeLoadBalancers, one DescribeTags.

    The fleets are those that the run recorded. Outside of a run the new one follows from settings and ``release``
    (default: what the Salt database says), and the old one is whatever else bears the same environment and purpose.

    Raises if the fleet is not there in full and running, or a load balancer is missing or another environment's.
    ``forecast``: a new fleet that is not deployed yet is taken as if it were, its names standing for its ids.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.plan with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    actual = __salt__["mitx_fleet.instances"](settings)
    wanted = _fleet(settings, fleet, release, actual, forecast)
    # A new fleet that is only planned cannot differ.
    if not forecast or fleet == "old":
        _refuse_drift(fleet, wanted, actual)
    leaving = _other_fleet(fleet, wanted, actual)
    elbs = __salt__["mitx_elb.describe"](settings, required=True)
    names = {one["id"]: one["name"] for one in [*leaving, *wanted, *actual]}
    return {
        elb["name"]: _step(settings, elb, elbs[elb["name"]], _goes_into(elb, wanted, fleet), leaving, names)
        for elb in settings["elbs"]
    }


def serves(which, settings=None):
    """
    Return whether any of the run's load balancers holds an instance of the recorded fleet ``old`` or ``new``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.serves new with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    ids = {one["id"] for one in __salt__["mitx_run.pinned"](f"{which}_fleet") or ()}
    return any(ids & set(elb["members"]) for elb in __salt__["mitx_elb.describe"](settings).values() if elb)


def attach(settings, plan):
    """
    Register what is missing, one call for each load balancer, and wait until all that is wanted is InService
    everywhere. If that does not come true, what this call registered is taken out again and the error says why.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.attach settings=null plan='{}' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    try:
        for name, step in plan.items():
            if step["register"]:
                __salt__["mitx_elb.register"](name, step["register"])
        return confirm(settings, plan)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}. {_take_out_again(plan)}") from err


def confirm(settings, plan):
    """
    Wait until every wanted instance is InService in all load balancers of the ``plan``: ``elb.polls`` polls in a
    row; where nothing is to change, one look is enough. Has ``elb.timeout`` seconds, by default what the load
    balancers' own health checks need.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.confirm settings=null plan='{}' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    quiet = not any(step["register"] or step["deregister"] for step in plan.values())
    return __salt__["mitx_elb.wait_in_service"](
        {name: step["wanted"] for name, step in plan.items()},
        settings["elb"]["timeout"] or max(step["timeout"] for step in plan.values()),
        settings,
        polls=1 if quiet else None,
        names={id_: name for step in plan.values() for id_, name in step["names"].items()},
    )


def detach(settings, plan):
    """
    Take out what is registered and not wanted, one call for each load balancer, and wait until it has drained.
    Membership is read again first: nothing is taken out when something is registered that the ``plan`` does not
    know, or something wanted is not.

    Returns ``{load balancer: ids}`` whose open requests were cut off at the end of the drain timeout.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.detach settings=null plan='{}' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    now = __salt__["mitx_elb.members"](list(plan))
    _refuse_surprises(plan, now)
    leaving = {name: [id_ for id_ in step["deregister"] if id_ in now[name]] for name, step in plan.items()}
    leaving = {name: ids for name, ids in leaving.items() if ids}
    # Asked before, so that no answer is missing once requests are being cut off.
    timeouts = {name: __salt__["mitx_elb.drain_timeout"](name, settings) for name in leaving}
    for name, ids in leaving.items():
        __salt__["mitx_elb.deregister"](name, ids)
    return __salt__["mitx_elb.wait_drained"](leaving, settings, timeouts) if leaving else {}


def intended(plan, register=True, deregister=True):
    """
    Return what acting on the ``plan`` would change: ``{load balancer: {registered: [names], deregistered: [names]}}``,
    without what is empty.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.intended '{}'
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


def done(plan):
    """
    Return what is different now from when the ``plan`` was made, in the form of :py:func:`intended`. After a failure
    this is what was done, whatever was meant to be. One DescribeLoadBalancers.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_swap.done '{}' with_pillar=True
    """
    now = __salt__["mitx_elb.members"](list(plan))
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


def _fleet(settings, fleet, release, actual, forecast):
    if fleet == "old" or __salt__["mitx_run.pinned"]("new_fleet") is not None:
        return __salt__["mitx_fleet.recorded"](fleet)
    release = release or _release(settings, forecast)
    found = __salt__["mitx_fleet.new"](settings, release, actual)
    if forecast:
        return found["instances"] + _imagined(settings, found["missing"], release)
    if found["missing"] or found["unexpected"]:
        problems = [*(f"{name} does not exist" for name in found["missing"]), *found["problems"]]
        raise CommandExecutionError(
            f"{settings['codename']} v{release} is not deployed as settings say: {'; '.join(problems)}. Nothing was "
            "changed. Deploy it first: salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    return found["instances"]


def _imagined(settings, names, release):
    plans = {one["name"].format(release=release): one for one in settings["instances"]}
    return [
        {"id": name, "name": name, "role": plans[name]["role"], "purpose": plans[name]["purpose"], "elbs": None} for name in names
    ]


def _release(settings, forecast):
    """The number of the run's release; outside of a run that of the last one built."""
    if forecast and (__pillar__.get("mitx") or {}).get("run"):
        return __salt__["mitx_existing.release_number"]()
    number = __salt__["mitx_run.pinned"]("release_number") or __salt__["mitx_existing.recorded_release"](settings)
    if not number:
        raise CommandExecutionError(
            f"No release of {settings['codename']} was built yet: {settings['sdb']['release']} is not set"
        )
    return number


def _other_fleet(fleet, wanted, actual):
    pins = {which: __salt__["mitx_run.pinned"](f"{which}_fleet") for which in ("old", "new")}
    if pins["old"] is not None:
        return pins["old" if fleet == "new" else "new"] or []
    ids = {one["id"] for one in wanted}
    return [one for one in actual if one["role"] == "edx" and one["id"] not in ids]


def _refuse_drift(fleet, wanted, actual):
    # A leftover is in no load balancer, and nobody minds what became of it.
    web = [one for one in wanted if one["role"] == "edx" and one.get("serves", True)]
    differs = __salt__["mitx_fleet.drift"](web, actual)
    if differs:
        raise CommandExecutionError(
            f"The {fleet} fleet is not as it was recorded: {'; '.join(differs)}. Nothing was changed. See what is "
            "true now: salt-run mitx.status"
        )


def _goes_into(elb, wanted, fleet):
    """
    The ids that belong in ``elb``. The old fleet goes back to where it was, which need not be what settings say now.
    """
    if fleet == "old":
        return [one["id"] for one in wanted if elb["name"] in (one["elbs"] or ())]
    return [one["id"] for one in wanted if (one["role"], one["purpose"]) == ("edx", elb["purpose"])]


def _step(settings, elb, found, ids, leaving, names):
    if not ids:
        raise CommandExecutionError(f"No instance of the fleet belongs in {elb['name']}: it would serve nobody")
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
        # Twice what it needs by its own numbers: its first probe may meet a process that is just starting.
        "timeout": max(_LEAST_TIMEOUT, 2 * needed + settings["elb"]["polls"] * settings["elb"]["interval"]),
    }


def _take_out_again(plan):
    """Undo :py:func:`attach`: what is registered now and was not, whether or not AWS had answered that it is."""
    mine = {name: step["register"] for name, step in plan.items() if step["register"]}
    if not mine:
        return "This call had registered nothing, so nothing was taken out"
    stuck = []
    for name, ids in mine.items():
        try:
            now = __salt__["mitx_elb.members"]([name])[name]
            out = [id_ for id_ in ids if id_ in now]
            if out:
                __salt__["mitx_elb.deregister"](name, out)
        except CommandExecutionError as err:
            stuck.append(f"{name} may still hold some of {', '.join(ids)} ({err})")
    if stuck:
        return f"What it had registered could not all be taken out again: {'; '.join(stuck)}. See: salt-run mitx.status"
    return f"What this call had registered was taken out again of {', '.join(mine)}; nothing else was changed"


def _refuse_surprises(plan, now):
    found = []
    for name, step in plan.items():
        expected = {*step["members"], *step["wanted"]}
        found += [f"{name} also holds {id_}" for id_ in now[name] if id_ not in expected]
        missing = [id_ for id_ in step["wanted"] if id_ not in now[name]]
        found += [f"{name} does not hold {step['names'][id_]} ({id_})" for id_ in missing]
    if found:
        raise CommandExecutionError(f"Not as planned, so nothing was taken out: {'; '.join(found)}. Run it again.")


def _named(plan, sides):
    found = {}
    for name, both in sides.items():
        known = plan[name]["names"]
        labels = {side: sorted(_label(id_, known.get(id_)) for id_ in ids) for side, ids in both.items() if ids}
        if labels:
            found[name] = labels
    return found


def _label(id_, name):
    return id_ if name == id_ else f"{name or 'unnamed'} ({id_})"
