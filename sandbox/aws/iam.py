"""
IAM, as far as it is asked here: which actions these credentials may. What is denied is what a fault
denies, and, once a policy is enforced, what it does not allow.
"""

import fnmatch

from botocore import xform_name
from moto.iam.policy_validation import BaseIAMPolicyValidator

from sandbox.aws import answer

# AWS takes a policy of 2008 (boto 2's default), and one that names no version; moto takes neither.
BaseIAMPolicyValidator._validate_version = lambda policy: None

# Whose calls a policy is enforced for; the existing orchestrations have permissions of their own.
AGENT = "saltext-mitx"
SERVICES = {"elasticloadbalancing": "elb"}
PREFIXES = {service: prefix for prefix, service in SERVICES.items()}
DENIALS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
# Actions that allow more than the operation of their name.
ALSO = {"s3:GetObject": ["head_object"], "s3:ListBucket": ["list_objects_v2"]}
# What an operation is on, where IAM can say so: its parameter, and the ARN.
# source: https://docs.aws.amazon.com/service-authorization/latest/reference/
RESOURCES = {
    "register_instances_with_load_balancer": "LoadBalancerName",
    "deregister_instances_from_load_balancer": "LoadBalancerName",
    "change_resource_record_sets": "HostedZoneId",
    "list_resource_record_sets": "HostedZoneId",
    "get_change": "Id",
    "create_invalidation": "DistributionId",
    "get_invalidation": "DistributionId",
    "get_distribution": "Id",
    "put_object": "Key",
    "get_object": "Key",
    "head_object": "Key",
    "list_objects_v2": "Bucket",
}
ARNS = {
    "LoadBalancerName": "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/{value}",
    "HostedZoneId": "arn:aws:route53:::hostedzone/{value}",
    "DistributionId": "arn:aws:cloudfront::{account}:distribution/{value}",
    "Bucket": "arn:aws:s3:::{value}",
    "Key": "arn:aws:s3:::{bucket}/{value}",
}
# The same parameter means another thing in each service.
IDS = {"route53": "arn:aws:route53:::change/{value}", "cloudfront": ARNS["DistributionId"]}


class Permissions:
    """Answers SimulatePrincipalPolicy, and refuses what the enforced policy does not allow."""

    def __init__(self, faults):
        self.faults = faults
        self.policy = None

    def reset(self):
        """Enforce nothing."""
        self.policy = None

    def handle(self, call, forward):
        """Answer a call."""
        if call.operation != "simulate_principal_policy":
            return forward()
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": "*",
                "EvalDecision": self._judge(action, call.parameters.get("ResourceArns") or ["*"]),
            }
            for action in call.parameters["ActionNames"]
        ]
        return answer.result(call, {"EvaluationResults": results, "IsTruncated": False})

    def refusal(self, call):
        """Return why the enforced policy does not allow a call, or None."""
        if self.policy is None or call.agent != AGENT or call.model is None:
            return None
        action, resource = _action(call), _resource(call)
        if self._allows(action, resource):
            return None
        return f"User is not authorized to perform: {action} on resource: {resource}"

    def _judge(self, action, resources):
        prefix, _, name = action.partition(":")
        service = SERVICES.get(prefix, prefix)
        operations = [xform_name(name), *ALSO.get(action, ())]
        denied = any(
            fault.error in DENIALS
            and fault.service in (None, service)
            and fault.operation in operations
            for fault in self.faults.standing
        )
        if self.policy is not None:
            denied = denied or not all(self._allows(action, resource) for resource in resources)
        return "implicitDeny" if denied else "allowed"

    def _allows(self, action, resource):
        for statement in self.policy["Statement"]:
            on_it = any(fnmatch.fnmatchcase(resource, one) for one in statement["Resource"])
            if statement["Effect"] == "Allow" and action in statement["Action"] and on_it:
                return True
        return False


def _action(call):
    by_another_name = [action for action, names in ALSO.items() if call.operation in names]
    if by_another_name:
        return by_another_name[0]
    return f"{PREFIXES.get(call.service, call.service)}:{call.model.name}"


def _resource(call):
    name = RESOURCES.get(call.operation)
    if name is None or not call.parameters.get(name):
        return "*"
    value = (
        str(call.parameters[name]).rpartition("/")[2] if name != "Key" else call.parameters[name]
    )
    pattern = IDS[call.service] if name == "Id" else ARNS[name]
    facts = {"region": call.region, "account": call.account}
    return pattern.format(value=value, bucket=call.parameters.get("Bucket"), **facts)
