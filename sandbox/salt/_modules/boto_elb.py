"""
Stand-in for Salt's ``boto_elb`` and the part of ``boto_route53`` behind its ``cnames``
=======================================================================================

As far as MITx's existing orchestrations use them, on boto3. Absent is ``None``.
"""

import boto3
import botocore.config
import botocore.exceptions
from salt.exceptions import CommandExecutionError


def get(name):
    """
    Return EC2's description of the load balancer ``name`` (dict), or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.get edx-next-residential-live-mitx-q
    """
    try:
        return _client("elb").describe_load_balancers(LoadBalancerNames=[name])[
            "LoadBalancerDescriptions"
        ][0]
    except botocore.exceptions.ClientError as err:
        if err.response["Error"]["Code"] in ("LoadBalancerNotFound", "AccessPointNotFound"):
            return None
        raise CommandExecutionError(f"load balancer {name}: {err}") from err


def create(name, listeners, subnets, tags=None):
    """
    Create a load balancer. listeners: boto3's shape.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.create <name> listeners='[…]' subnets='[subnet-1]'
    """
    tags = [{"Key": key, "Value": str(value)} for key, value in sorted((tags or {}).items())]
    _client("elb").create_load_balancer(
        LoadBalancerName=name, Listeners=listeners, Subnets=subnets, Tags=tags
    )


def set_health_check(name, health_check):
    """
    Set the health check. health_check: ``{target, interval, timeout, unhealthy_threshold,
    healthy_threshold}``, seconds.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.set_health_check <name> '{target: HTTPS:443/heartbeat, …}'
    """
    _client("elb").configure_health_check(
        LoadBalancerName=name, HealthCheck=wanted_health_check(health_check)
    )


def wanted_health_check(health_check):
    """
    Return ``health_check`` as AWS spells it.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.wanted_health_check '{target: HTTPS:443/heartbeat, …}'
    """
    return {
        "Target": health_check["target"],
        "Interval": health_check["interval"],
        "Timeout": health_check["timeout"],
        "UnhealthyThreshold": health_check["unhealthy_threshold"],
        "HealthyThreshold": health_check["healthy_threshold"],
    }


def get_draining(name):
    """
    Return ``{Enabled: bool, Timeout: seconds}`` of the load balancer's connection draining.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.get_draining <name>
    """
    found = _client("elb").describe_load_balancer_attributes(LoadBalancerName=name)
    return found["LoadBalancerAttributes"].get("ConnectionDraining", {"Enabled": False})


def set_draining(name, timeout):
    """
    Switch connection draining on, with ``timeout`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.set_draining <name> 300
    """
    attributes = {"ConnectionDraining": {"Enabled": True, "Timeout": timeout}}
    _client("elb").modify_load_balancer_attributes(
        LoadBalancerName=name, LoadBalancerAttributes=attributes
    )


def register_instances(name, instances):
    """
    Register instance ids with the load balancer; those that are there stay.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.register_instances <name> '[i-1, i-2]'
    """
    wanted = [{"InstanceId": instance} for instance in instances]
    _client("elb").register_instances_with_load_balancer(LoadBalancerName=name, Instances=wanted)


def get_cname(zone, name):
    """
    Return ``{target, ttl}`` of a CNAME record, or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.get_cname mitx.mit.edu. lms.mitx.mit.edu
    """
    name = name.rstrip(".") + "."
    sets = _client("route53").list_resource_record_sets(
        HostedZoneId=_zone_id(zone), StartRecordName=name, StartRecordType="CNAME", MaxItems="1"
    )["ResourceRecordSets"]
    if not sets or sets[0]["Name"] != name or sets[0]["Type"] != "CNAME":
        return None
    return {"target": sets[0]["ResourceRecords"][0]["Value"], "ttl": sets[0]["TTL"]}


def set_cname(zone, name, target, ttl):
    """
    Point a CNAME record at ``target``, in a change of its own, as the original does.

    CLI Example:

    .. code-block:: bash

        salt-call boto_elb.set_cname mitx.mit.edu. lms.mitx.mit.edu <name>.elb.amazonaws.com 60
    """
    record = {"Name": name, "Type": "CNAME", "TTL": ttl, "ResourceRecords": [{"Value": target}]}
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    _client("route53").change_resource_record_sets(HostedZoneId=_zone_id(zone), ChangeBatch=change)


def _zone_id(zone):
    name = zone.rstrip(".") + "."
    for found in _client("route53").list_hosted_zones_by_name(DNSName=name, MaxItems="1")[
        "HostedZones"
    ]:
        if found["Name"] == name:
            return found["Id"].rpartition("/")[2]
    raise CommandExecutionError(f"there is no hosted zone {name}")


def _client(service):
    return boto3.client(service, config=botocore.config.Config(user_agent_extra="sandbox-cloud"))
