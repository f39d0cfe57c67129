"""
The load balancers of a run: members, health, registration, draining
====================================================================

Classic load balancers. However many instances there are, a call is made once for each load balancer; what it takes
to go from one fleet to the other is in ``mitx_swap``.
"""

import time

from salt.exceptions import CommandExecutionError

_GONE = "not currently registered"
_TAGS_AT_ONCE = 20


def __virtual__():
    return True


def describe(settings=None, required=False):
    """
    Return the run's load balancers: ``{name: {members, dns_name, zone_id, vpc, health_check}}``, None for one that
    does not exist (``required``: an error); ``members`` is a sorted list of instance ids, ``health_check`` what AWS
    calls it.

    A load balancer of another environment is refused. Names are cut to 32 characters, so that two environments may
    mean the same one: its tag ``environment`` decides, else its VPC must be the environment's.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.describe with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    found = _describe([elb["name"] for elb in settings["elbs"]])
    if required:
        _refuse_missing(found)
    _refuse_foreign(settings, {name: elb for name, elb in found.items() if elb})
    return found


def members(names):
    """
    Return which instances are registered: ``{load balancer: sorted ids}``. One call for all ``names``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.members '[edx-next-residential-draft-mitx-qa]' with_pillar=True
    """
    found = _describe(list(names))
    _refuse_missing(found)
    return {name: elb["members"] for name, elb in found.items()}


def health(name, ids=None):
    """
    Return what the load balancer ``name`` says of its instances: ``{id: {state, reason, description}}``, ``state``
    being InService, OutOfService or Unknown. Every one of ``ids`` is in it: an answer without one of them is an
    error (``transient``), because no answer is not health.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.health edx-next-residential-draft-mitx-qa with_pillar=True
    """
    asked = {"Instances": [{"InstanceId": id_} for id_ in ids]} if ids else {}
    answer = __salt__["mitx_aws.call"]("elb", "describe_instance_health", LoadBalancerName=name, **asked)
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
        failure = CommandExecutionError(f"{name} does not say how {', '.join(silent)} is")
        failure.code, failure.status, failure.transient = "", None, True
        raise failure
    return found


def register(name, ids):
    """
    Register the instances ``ids`` with the load balancer ``name``, in one call. Returns the ids registered then.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.register edx-next-residential-draft-mitx-qa '[i-0123]' with_pillar=True
    """
    answer = _change("register_instances_with_load_balancer", name, ids)
    refused = sorted(set(ids) - set(answer))
    if refused:
        raise CommandExecutionError(f"{name} did not register {', '.join(refused)}")
    return answer


def deregister(name, ids):
    """
    Take the instances ``ids`` out of the load balancer ``name``, in one call. Returns the ids that remain. One id
    that left or was terminated meanwhile would make AWS refuse the call for all: it is made again for the others.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.deregister edx-next-residential-draft-mitx-qa '[i-0123]' with_pillar=True
    """
    try:
        return _change("deregister_instances_from_load_balancer", name, ids)
    except CommandExecutionError as err:
        if getattr(err, "code", None) != "InvalidInstance":
            raise
        now = members([name])[name]
        left = _existing([id_ for id_ in ids if id_ in now])
        if len(left) == len(ids):
            raise
        return _change("deregister_instances_from_load_balancer", name, left) if left else now


def drain_timeout(name, settings=None):
    """
    Return for how many seconds the load balancer lets open requests finish: ``elb.drain_timeout``, else what it is
    set to; 0 if it does not drain.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.drain_timeout edx-next-residential-draft-mitx-qa with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    if settings["elb"]["drain_timeout"] is not None:
        return settings["elb"]["drain_timeout"]
    answer = __salt__["mitx_aws.call"]("elb", "describe_load_balancer_attributes", LoadBalancerName=name)
    draining = answer["LoadBalancerAttributes"].get("ConnectionDraining") or {}
    return draining.get("Timeout", 300) if draining.get("Enabled") else 0


def wait_in_service(wanted, timeout, settings=None, polls=None, names=None):
    """
    Wait until every instance of ``wanted`` (``{load balancer: ids}``) was InService in ``polls`` polls in a row
    (default ``elb.polls``). One that falters, or of which nothing is said, begins again. After ``timeout`` seconds
    an error says of each that is not there yet what its load balancer last said.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.wait_in_service '{edx-next-residential-draft-mitx-qa: [i-0123]}' 90 with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    polls = polls or settings["elb"]["polls"]
    streaks = {(elb, id_): 0 for elb, ids in wanted.items() for id_ in ids}

    def check():
        behind = []
        for elb, ids in wanted.items():
            behind += _count_streaks(elb, ids, streaks, polls, names or {})
        return not behind, "; ".join(behind) or "all InService"

    what = f"{len(streaks)} registrations InService {polls} times in a row"
    return __salt__["mitx_run.wait_until"](check, timeout, settings["elb"]["interval"], what, waits_for="health")


def wait_drained(leaving, settings=None, timeouts=None):
    """
    Wait until the instances of ``leaving`` (``{load balancer: ids}``) are out: gone from DescribeLoadBalancers, and
    each no longer registered by its own health, or the drain timeout passed. (A stopped instance is not InService
    while it is still registered, so health alone proves nothing.) ``timeouts``: seconds for each load balancer.

    Returns ``{load balancer: ids}`` whose requests had not finished when the timeout cut them off.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_elb.wait_drained '{edx-next-residential-draft-mitx-qa: [i-0123]}' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    timeouts = timeouts or {elb: drain_timeout(elb, settings) for elb in leaving}
    began, overran = time.monotonic(), {}

    def check():
        busy = []
        for elb, ids in leaving.items():
            slow = _draining(elb, ids) if elb not in overran else []
            if slow and time.monotonic() - began >= timeouts[elb]:
                overran[elb] = slow
                __salt__["mitx_journal.write"]("drain_cut", elb=elb, instances=slow, seconds=timeouts[elb])
                slow = []
            busy += [f"{elb} is draining {id_}" for id_ in slow]
        busy = busy or _still_members(leaving)
        return not busy, "; ".join(busy) or "all out"

    # The membership may lag behind the answer to the deregistration by some polls.
    longest = max(timeouts.values(), default=0) + 10 * settings["elb"]["interval"]
    what = "Old instances out of the load balancers"
    __salt__["mitx_run.wait_until"](check, longest, settings["elb"]["interval"], what, waits_for="drain")
    return overran


def _describe(names):
    """{name: description or None}. One missing name makes AWS refuse to speak of the others: then all are listed."""
    call, absent = __salt__["mitx_aws.call"], ("LoadBalancerNotFound", "AccessPointNotFound")
    answer = call("elb", "describe_load_balancers", absent=absent, LoadBalancerNames=names)
    if answer is None:
        answer = call("elb", "describe_load_balancers")
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
            f"There is no load balancer {', '.join(missing)}. The existing orchestrate.aws.mitx_elb creates it, in "
            "the phase attach: salt-run state.orchestrate orchestrate.mitx.window"
        )


def _refuse_foreign(settings, elbs):
    environment, foreign = settings["environment"], []
    tags = _environment_tags(list(elbs))
    unsure = [name for name in elbs if name not in tags and not name.endswith(f"-{environment}")]
    vpcs = _vpcs(settings["vpc_name"]) if unsure else []
    for name, elb in elbs.items():
        if tags.get(name, environment) != environment:
            foreign.append(f"{name} is tagged environment: {tags[name]}")
        elif name in unsure and elb["vpc"] not in vpcs:
            found = ", ".join(vpcs) or "does not exist"
            foreign.append(f"{name} has no tag environment and lies in {elb['vpc']}; {settings['vpc_name']} is {found}")
    if foreign:
        raise CommandExecutionError(
            f"Not {environment}'s: {'; '.join(foreign)}. Names are cut to 32 characters, so another environment may "
            "own this one. Nothing was changed. If it is ours, tag it: aws elb add-tags --load-balancer-names … "
            f"--tags Key=environment,Value={environment}"
        )


def _environment_tags(names):
    found = {}
    for start in range(0, len(names), _TAGS_AT_ONCE):
        asked = names[start : start + _TAGS_AT_ONCE]
        answer = __salt__["mitx_aws.call"]("elb", "describe_tags", LoadBalancerNames=asked)
        for one in answer["TagDescriptions"]:
            for tag in one.get("Tags") or ():
                if tag["Key"].lower() == "environment":
                    found[one["LoadBalancerName"]] = tag.get("Value")
    return found


def _vpcs(name):
    answer = __salt__["mitx_aws.call"]("ec2", "describe_vpcs", Filters=[{"Name": "tag:Name", "Values": [name]}])
    return [vpc["VpcId"] for vpc in answer["Vpcs"]]


def _change(operation, name, ids):
    asked = [{"InstanceId": id_} for id_ in ids]
    answer = __salt__["mitx_aws.call"]("elb", operation, LoadBalancerName=name, Instances=asked)
    # No answer: a rehearsal.
    return [one["InstanceId"] for one in answer.get("Instances") or ()] if answer else ids


def _count_streaks(elb, ids, streaks, polls, names):
    """Poll one load balancer; return, in words, what is not there yet."""
    try:
        found = health(elb, ids)
    except CommandExecutionError as err:
        if not getattr(err, "transient", False):
            raise
        streaks.update({(elb, id_): 0 for id_ in ids})
        return [str(err)]
    behind = []
    for id_ in ids:
        one = found[id_]
        streaks[elb, id_] = streaks[elb, id_] + 1 if one["state"] == "InService" else 0
        if streaks[elb, id_] < polls:
            said = f"{one['state']}, {one['description']}" if not streaks[elb, id_] else f"InService {streaks[elb, id_]}×"
            behind.append(f"{names.get(id_) or id_} ({id_}) in {elb}: {said}")
    return behind


def _draining(elb, ids):
    """Those of ``ids`` that the load balancer does not yet call out; all of them where it says nothing of one."""
    try:
        found = health(elb, ids)
    except CommandExecutionError as err:
        if getattr(err, "code", None) == "InvalidInstance":
            # One of them exists no more: the answer without ids lists those that are still there.
            found = {**dict.fromkeys(ids, {"description": _GONE}), **health(elb)}
        elif getattr(err, "transient", False):
            return list(ids)
        else:
            raise
    return [id_ for id_ in ids if _GONE not in (found[id_]["description"] or "")]


def _still_members(leaving):
    now = members(leaving)
    still = [(elb, id_) for elb, ids in leaving.items() for id_ in ids if id_ in now[elb]]
    # A terminated instance cannot be deregistered; AWS drops it by itself, some time.
    existing = _existing({id_ for _, id_ in still})
    return [f"{elb} still holds {id_}" for elb, id_ in still if id_ in existing]


def _existing(ids):
    found = __salt__["mitx_fleet.find"](ids=sorted(ids)) if ids else []
    return [one["id"] for one in found]
