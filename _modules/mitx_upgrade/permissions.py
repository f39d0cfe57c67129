"""
What the credentials must be allowed to do
==========================================

Each file that calls AWS lists its actions, ``ACTIONS``, beside the code that needs them (a test
holds the list against the calls). From these come the policy of ``salt-run mitx.iam_policy``, and
what ``preflight`` asks of IAM days before: whether every action that any later phase, or the
rollback, needs is allowed.

The existing orchestrations and Salt Cloud have permissions of their own, which are not asked here.

:source: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_fleet import discard, elb, images, instances, retire
from mitx_hosts import saving
from mitx_release import release
from mitx_run import aws
from mitx_site import distribution, dns, page

ACTIONS = ("iam:SimulatePrincipalPolicy",)

_FILES = (aws, discard, distribution, dns, elb, images, instances, page, release, retire, saving)


def needed():
    """
    Return every action that this package calls for, ``service:Action``, sorted.
    """
    return sorted({action for file in _FILES for action in file.ACTIONS} | {*ACTIONS})


def policy(run):
    """
    Return the smallest policy for the environment as IAM takes it: a dict ``{Version, Statement}``.
    What changes something is allowed on the zone, the distribution, the object and the load
    balancers of this environment alone, as far as AWS can say so.
    """
    account = run.settings["aws"]["account"] or identity(run)["account"]
    by_resource = {}
    for action in needed():
        resources = tuple(_resources(run.settings, account, action))
        by_resource.setdefault(resources, []).append(action)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": list(resources)}
            for resources, actions in sorted(by_resource.items())
        ],
    }


def denied(run):
    """
    Return what IAM says that these credentials may not, as sentences; empty where it cannot be
    asked (:py:func:`unknown`). One call for each set of resources.
    """
    return _asked(run)["denied"]


def unknown(run):
    """
    Return why permissions are not known, as a sentence; the empty string if IAM can be asked.
    """
    return _asked(run)["unknown"]


def identity(run):
    """
    Return ``aws.account``, asked once.
    """
    if "identity" not in run.seen:
        run.seen["identity"] = aws.account(run)
    return run.seen["identity"]


def principal(arn):
    """
    Return the ARN by which IAM knows whoever STS calls ``arn``: of an assumed role, the role.
    """
    match = re.fullmatch(r"arn:(aws[\w-]*):sts::(\d+):assumed-role/([^/]+)/.*", arn)
    return f"arn:{match[1]}:iam::{match[2]}:role/{match[3]}" if match else arn


def _asked(run):
    if "permissions" not in run.seen:
        run.seen["permissions"] = _ask(run)
    return run.seen["permissions"]


def _ask(run):
    try:
        wrong = [one for statement in policy(run)["Statement"] for one in _denied(run, statement)]
    except CommandExecutionError as err:
        unknown_ = (
            f"permissions are not known beforehand, IAM could not be asked ({err}). Compare:"
            " salt-run mitx.iam_policy"
        )
        return {"denied": [], "unknown": unknown_}
    return {"denied": wrong, "unknown": ""}


def _denied(run, statement):
    """Actions of the same resources only: IAM decides on an action for all of them together."""
    answer = aws.call(
        run,
        "iam",
        "simulate_principal_policy",
        PolicySourceArn=principal(identity(run)["arn"]),
        ActionNames=statement["Action"],
        ResourceArns=statement["Resource"],
    )
    decisions = {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]}
    where = ", ".join(statement["Resource"])
    return [
        f"{action} on {where}"
        for action in statement["Action"]
        if decisions.get(action) != "allowed"
    ]


def _resources(settings, account, action):
    region, maintenance = settings["aws"]["region"], settings["maintenance"]
    balancers = [
        f"arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/{elb['name']}"
        for elb in settings["elbs"]
    ]
    distribution = f"arn:aws:cloudfront::{account}:distribution/{maintenance['distribution']['id']}"
    zone = f"arn:aws:route53:::hostedzone/{settings['dns']['zone_id']}"
    return {
        "elasticloadbalancing:RegisterInstancesWithLoadBalancer": balancers,
        "elasticloadbalancing:DeregisterInstancesFromLoadBalancer": balancers,
        "cloudfront:CreateInvalidation": [distribution],
        "cloudfront:GetInvalidation": [distribution],
        "cloudfront:GetDistribution": [distribution],
        "route53:ChangeResourceRecordSets": [zone],
        "route53:ListResourceRecordSets": [zone],
        "route53:GetChange": ["arn:aws:route53:::change/*"],
        "s3:PutObject": [f"arn:aws:s3:::{maintenance['bucket']}/{maintenance['key']}"],
        "s3:GetObject": [f"arn:aws:s3:::{maintenance['bucket']}/{maintenance['key']}"],
        "s3:ListBucket": [f"arn:aws:s3:::{bucket}" for bucket in _buckets(settings)],
    }.get(action, ["*"])


def _buckets(settings):
    """HeadObject of what is not there is a 403 without it, not a 404."""
    found = [settings["maintenance"]["bucket"], settings["retire"]["proof"]["bucket"]]
    return [bucket for bucket in found if bucket]
