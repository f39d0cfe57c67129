"""
Stand-in for the states ``boto_elb.present`` and ``boto_elb.register_instances``
================================================================================

As the originals: ``present`` rewrites every name in ``cnames`` to the load balancer, one change a
name, and ``register_instances`` only ever adds, and waits for no health check.
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "boto_elb.get" in __salt__:
        return True
    return False, "the boto_elb execution module is not there"


def present(
    name,
    listeners,
    subnets=None,
    health_check=None,
    attributes=None,
    cnames=None,
    tags=None,
    security_groups=None,
):
    """
    Ensure a load balancer with its health check, connection draining and DNS names.

    name: of the load balancer. cnames: ``[{name, zone, ttl}]``. attributes: ``{connection_draining:
    {enabled, timeout}}``.
    """
    ret = {
        "name": name,
        "result": True,
        "comment": f"ELB {name} is as it should be.",
        "changes": {},
    }
    try:
        steps = _steps(
            name, listeners, subnets or [], health_check, attributes or {}, cnames or [], tags or {}
        )
        for what, change in steps:
            ret["changes"][what] = "changed"
            if not __opts__["test"]:
                change()
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    if ret["changes"] and __opts__["test"]:
        return {
            **ret,
            "result": None,
            "comment": f"ELB {name} would be changed: {', '.join(ret['changes'])}.",
        }
    return ret


def register_instances(name, instances, skip_instances=None):
    """
    Register instances with the load balancer ``name``.

    instances: ids. As in the original, none is taken away and no health is waited for.
    """
    ret = {
        "name": name,
        "result": True,
        "comment": f"Instances are registered with {name}.",
        "changes": {},
    }
    load_balancer = __salt__["boto_elb.get"](name)
    if load_balancer is None:
        return {**ret, "result": False, "comment": f"Could not find lb {name}"}
    there = {one["InstanceId"] for one in load_balancer["Instances"]}
    missing = [one for one in instances if one not in there and one not in (skip_instances or ())]
    if not missing:
        return ret
    ret["changes"] = {
        "old": "\n".join(sorted(there)),
        "new": "\n".join(sorted(there | set(missing))),
    }
    if __opts__["test"]:
        return {
            **ret,
            "result": None,
            "comment": f"Instances would be registered with {name}: {missing}",
        }
    __salt__["boto_elb.register_instances"](name, missing)
    return ret


def _steps(name, listeners, subnets, health_check, attributes, cnames, tags):
    """Yield (what, function that changes it) for whatever differs."""
    load_balancer = __salt__["boto_elb.get"](name)
    if load_balancer is None:
        yield "elb", lambda: __salt__["boto_elb.create"](name, _listeners(listeners), subnets, tags)
        if __opts__["test"]:
            return
        load_balancer = __salt__["boto_elb.get"](name)
    if health_check and load_balancer.get("HealthCheck") != __salt__[
        "boto_elb.wanted_health_check"
    ](health_check):
        yield "health_check", lambda: __salt__["boto_elb.set_health_check"](name, health_check)
    draining = attributes.get("connection_draining") or {}
    wanted = {"Enabled": True, "Timeout": draining.get("timeout", 300)}
    if draining.get("enabled") and __salt__["boto_elb.get_draining"](name) != wanted:
        yield (
            "connection_draining",
            lambda: __salt__["boto_elb.set_draining"](name, wanted["Timeout"]),
        )
    yield from _cnames(load_balancer["DNSName"], cnames)


def _cnames(target, cnames):
    for cname in cnames:
        found = __salt__["boto_elb.get_cname"](cname["zone"], cname["name"])
        if found != {"target": target, "ttl": cname["ttl"]}:
            yield (
                f"cname {cname['name']}",
                lambda cname=cname: __salt__["boto_elb.set_cname"](
                    cname["zone"], cname["name"], target, cname["ttl"]
                ),
            )


def _listeners(listeners):
    """
    ``elb_port: 443, instance_port: 443, elb_protocol: HTTPS, certificate: arn`` as AWS spells it.
    """
    return [
        {
            "LoadBalancerPort": one["elb_port"],
            "InstancePort": one["instance_port"],
            "Protocol": one["elb_protocol"],
            "InstanceProtocol": one.get("instance_protocol", one["elb_protocol"]),
            **({"SSLCertificateId": one["certificate"]} if one.get("certificate") else {}),
        }
        for one in listeners
    ]
