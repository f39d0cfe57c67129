"""
The load balancers of a run: members, health, registration, draining
====================================================================

Classic load balancers. However many instances there are, a call is made once for each load
balancer; what it takes to go from one fleet to the other is in ``swap``.
"""

import time

from salt.exceptions import CommandExecutionError

from mitx_fleet import instances
from mitx_run import aws, calls, errors, events, wait

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = (
    "ec2:DescribeVpcs",
    "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
    "elasticloadbalancing:DescribeInstanceHealth",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
)

_GONE = "not currently registered"

_TAGS_AT_ONCE = 20


def describe(run, required=False):
    """
    Return the run's load balancers: ``{name: {members, dns_name, zone_id, vpc, health_check}}``,
    None for one that does not exist (``required``: an error); ``members`` is a sorted list of
    instance ids, ``health_check`` what AWS calls it.

    A load balancer of another environment is refused. Names are cut to 32 characters, so that two
    environments may mean the same one: its tag ``environment`` decides, else its VPC must be the
    environment's.
    """
    found = _describe(run, [elb["name"] for elb in run.settings["elbs"]])
    if required:
        _refuse_missing(found)
    _refuse_foreign(run, {name: elb for name, elb in found.items() if elb})
    return found


def holding(run):
    """
    Return which instances are registered with the run's load balancers, as far as these exist:
    ``{load balancer: sorted ids}``. One call.
    """
    found = _describe(run, [elb["name"] for elb in run.settings["elbs"]])
    return {name: elb["members"] for name, elb in found.items() if elb}


def members(run, names):
    """
    Return which instances are registered: ``{load balancer: sorted ids}``. One call for all
    ``names``.
    """
    found = _describe(run, list(names))
    _refuse_missing(found)
    return {name: elb["members"] for name, elb in found.items()}


def health(run, name, ids=None):
    """
    Return what the load balancer ``name`` says of its instances: ``{id: {state, reason,
    description}}``, ``state`` being InService, OutOfService or Unknown. Every one of ``ids`` is in
    it: an answer without one of them is a transient error, because no answer is not health.
    """
    asked = {"Instances": [{"InstanceId": id_} for id_ in ids]} if ids else {}
    answer = aws.call(run, "elb", "describe_instance_health", LoadBalancerName=name, **asked)
    found = {
        one["InstanceId"]: {
            "state": one.get("State"),
            "reason": one.get("ReasonCode"),
            "description": one.get("Description"),
        }
        for one in answer.get("InstanceStates") or ()
    }
    silent = [id_ for id_ in ids or () if id_ not in found]
    if silent:
        raise errors.Transient(f"{name} does not say how {', '.join(silent)} is")
    return found


def register(run, name, ids):
    """
    Register the instances ``ids`` with the load balancer ``name``, in one call. Returns the ids
    registered then.
    """
    answer = _change(run, "register_instances_with_load_balancer", name, ids)
    refused = sorted(set(ids) - set(answer))
    if refused:
        raise CommandExecutionError(f"{name} did not register {', '.join(refused)}")
    return answer


def registration(name, ids):
    """
    Return the :py:class:`calls.Call` of :py:func:`register`, for a plan.
    """
    return _planned("register_instances_with_load_balancer", register, name, ids)


def deregistration(name, ids):
    """
    Return the :py:class:`calls.Call` of :py:func:`deregister`, for a plan.
    """
    return _planned("deregister_instances_from_load_balancer", deregister, name, ids)


def deregister(run, name, ids):
    """
    Take the instances ``ids`` out of the load balancer ``name``, in one call. Returns the ids that
    remain. One id that left or was terminated meanwhile would make AWS refuse the call for all: it
    is made again for the others.
    """
    try:
        return _change(run, "deregister_instances_from_load_balancer", name, ids)
    except errors.AWSError as err:
        if err.code != "InvalidInstance":
            raise
        now = members(run, [name])[name]
        left = _existing(run, [id_ for id_ in ids if id_ in now])
        if len(left) == len(ids):
            raise
        return _change(run, "deregister_instances_from_load_balancer", name, left) if left else now


def drain_timeout(run, name):
    """
    Return for how many seconds the load balancer lets open requests finish: ``elb.drain_timeout``,
    else what it is set to; 0 if it does not drain.
    """
    if run.settings["elb"]["drain_timeout"] is not None:
        return run.settings["elb"]["drain_timeout"]
    answer = aws.call(run, "elb", "describe_load_balancer_attributes", LoadBalancerName=name)
    draining = answer["LoadBalancerAttributes"].get("ConnectionDraining") or {}
    return draining.get("Timeout", 300) if draining.get("Enabled") else 0


def wait_in_service(run, wanted, timeout, polls=None, names=None):
    """
    Wait until every instance of ``wanted`` (``{load balancer: ids}``) was InService in ``polls``
    polls in a row (default ``elb.polls``). One that falters, or of which nothing is said, begins
    again. After ``timeout`` seconds an error says of each that is not there yet what its load
    balancer last said.
    """
    polls = polls or run.settings["elb"]["polls"]
    streaks = {(elb, id_): 0 for elb, ids in wanted.items() for id_ in ids}

    def check():
        behind = []
        for elb, ids in wanted.items():
            behind += _count_streaks(run, elb, ids, streaks, polls, names or {})
        return not behind, "; ".join(behind) or "all InService"

    what = f"{len(streaks)} registrations InService {polls} times in a row"
    return wait.until(
        run, check, timeout, run.settings["elb"]["interval"], what, waits_for="health"
    )


def wait_drained(run, leaving, timeouts=None):
    """
    Wait until the instances of ``leaving`` (``{load balancer: ids}``) are out: gone from
    DescribeLoadBalancers, and each no longer registered by its own health, or the drain timeout
    passed. (A stopped instance is not InService while it is still registered, so health alone
    proves nothing.) ``timeouts``: seconds for each load balancer.

    Returns ``{load balancer: ids}`` whose requests had not finished when the timeout cut them off.
    """
    timeouts = timeouts or {elb: drain_timeout(run, elb) for elb in leaving}
    began, overran = time.monotonic(), {}

    def check():
        busy = []
        for elb, ids in leaving.items():
            slow = _draining(run, elb, ids) if elb not in overran else []
            if slow and time.monotonic() - began >= timeouts[elb]:
                overran[elb] = slow
                events.write(run, "drain_cut", elb=elb, instances=slow, seconds=timeouts[elb])
                slow = []
            busy += [f"{elb} is draining {id_}" for id_ in slow]
        busy = busy or _still_members(run, leaving)
        return not busy, "; ".join(busy) or "all out"

    # The membership may lag behind the answer to the deregistration by some polls.
    longest = max(timeouts.values(), default=0) + 10 * run.settings["elb"]["interval"]
    what = "Old instances out of the load balancers"
    wait.until(run, check, longest, run.settings["elb"]["interval"], what, waits_for="drain")
    return overran


def _describe(run, names):
    """
    {name: description or None}. One missing name makes AWS refuse to speak of the others: then all
    are listed.
    """
    absent = ("LoadBalancerNotFound", "AccessPointNotFound")
    answer = aws.call(run, "elb", "describe_load_balancers", absent=absent, LoadBalancerNames=names)
    if answer is None:
        answer = aws.call(run, "elb", "describe_load_balancers")
    found = {raw["LoadBalancerName"]: raw for raw in answer["LoadBalancerDescriptions"]}
    return {name: _description(found[name]) if name in found else None for name in names}


def _description(raw):
    return {
        "members": sorted({one["InstanceId"] for one in raw.get("Instances") or ()}),
        "dns_name": raw.get("DNSName"),
        "zone_id": raw.get("CanonicalHostedZoneNameID"),
        "vpc": raw.get("VPCId"),
        "health_check": raw.get("HealthCheck") or {},
    }


def _refuse_missing(found):
    missing = sorted(name for name, elb in found.items() if elb is None)
    if missing:
        raise CommandExecutionError(
            f"There is no load balancer {', '.join(missing)}. The existing orchestrate.aws.mitx_elb"
            " creates it, in the phase attach: salt-run state.orchestrate orchestrate.mitx.window"
        )


def _refuse_foreign(run, elbs):
    environment, foreign = run.settings["environment"], []
    tags = _environment_tags(run, list(elbs))
    unsure = [name for name in elbs if name not in tags and not name.endswith(f"-{environment}")]
    vpcs = _vpcs(run, run.settings["vpc_name"]) if unsure else []
    for name, elb in elbs.items():
        if tags.get(name, environment) != environment:
            foreign.append(f"{name} is tagged environment: {tags[name]}")
        elif name in unsure and elb["vpc"] not in vpcs:
            found = ", ".join(vpcs) or "does not exist"
            foreign.append(
                f"{name} has no tag environment and lies in {elb['vpc']};"
                f" {run.settings['vpc_name']} is {found}"
            )
    if foreign:
        raise CommandExecutionError(
            f"Not {environment}'s: {'; '.join(foreign)}. Names are cut to 32 characters, so another"
            " environment may own this one. Nothing was changed. If it is ours, tag it: aws elb"
            f" add-tags --load-balancer-names … --tags Key=environment,Value={environment}"
        )


def _environment_tags(run, names):
    found = {}
    for start in range(0, len(names), _TAGS_AT_ONCE):
        asked = names[start : start + _TAGS_AT_ONCE]
        answer = aws.call(run, "elb", "describe_tags", LoadBalancerNames=asked)
        for one in answer["TagDescriptions"]:
            for tag in one.get("Tags") or ():
                if tag["Key"].lower() == "environment":
                    found[one["LoadBalancerName"]] = tag.get("Value")
    return found


def _vpcs(run, name):
    answer = aws.call(run, "ec2", "describe_vpcs", Filters=[{"Name": "tag:Name", "Values": [name]}])
    return [vpc["VpcId"] for vpc in answer["Vpcs"]]


def _planned(operation, function, name, ids):
    parameters = {"LoadBalancerName": name, "Instances": _as_asked(ids)}
    line = {"event": "aws", "service": "elb", "operation": operation, "parameters": parameters}
    return calls.Call(line, function, name, ids)


def _as_asked(ids):
    return [{"InstanceId": id_} for id_ in ids]


def _change(run, operation, name, ids):
    asked = _as_asked(ids)
    answer = aws.call(run, "elb", operation, LoadBalancerName=name, Instances=asked)
    return [one["InstanceId"] for one in answer.get("Instances") or ()]


def _count_streaks(run, elb, ids, streaks, polls, names):
    """Poll one load balancer; return, in words, what is not there yet."""
    try:
        found = health(run, elb, ids)
    except errors.Transient as err:
        streaks.update({(elb, id_): 0 for id_ in ids})
        return [str(err)]
    behind = []
    for id_ in ids:
        one = found[id_]
        streaks[elb, id_] = streaks[elb, id_] + 1 if one["state"] == "InService" else 0
        if streaks[elb, id_] < polls:
            said = (
                f"{one['state']}, {one['description']}"
                if not streaks[elb, id_]
                else f"InService {streaks[elb, id_]}×"
            )
            behind.append(f"{names.get(id_) or id_} ({id_}) in {elb}: {said}")
    return behind


def _draining(run, elb, ids):
    """
    Those of ``ids`` that the load balancer does not yet call out; all of them where it says nothing
    of one.
    """
    try:
        found = health(run, elb, ids)
    except errors.Transient:
        return list(ids)
    except errors.AWSError as err:
        if err.code != "InvalidInstance":
            raise
        # One of them exists no more: the answer without ids lists those that are still there.
        found = {**dict.fromkeys(ids, {"description": _GONE}), **health(run, elb)}
    return [id_ for id_ in ids if _GONE not in (found[id_]["description"] or "")]


def _still_members(run, leaving):
    now = members(run, leaving)
    still = [(elb, id_) for elb, ids in leaving.items() for id_ in ids if id_ in now[elb]]
    # A terminated instance cannot be deregistered; AWS drops it by itself, some time.
    existing = _existing(run, {id_ for _, id_ in still})
    return [f"{elb} still holds {id_}" for elb, id_ in still if id_ in existing]


def _existing(run, ids):
    found = instances.find(run, ids=sorted(ids)) if ids else []
    return [one["id"] for one in found]
