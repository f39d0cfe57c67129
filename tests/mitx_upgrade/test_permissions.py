"""
Permissions are known days before the night: every action that any phase or the rollback needs.
"""

import ast
import importlib
import json
import pathlib

import botocore.session
import pytest

from mitx_upgrade import permissions

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = ROOT / "_modules"
PREFIX = {"elb": "elasticloadbalancing"}
# HeadObject is allowed by s3:GetObject, ListObjectsV2 by s3:ListBucket.
ACTION = {"s3:HeadObject": "s3:GetObject", "s3:ListObjectsV2": "s3:ListBucket"}


def called(path):
    """The actions of the calls of AWS that a file makes, and the names of operations in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
        if len(texts) >= 2 and texts[0] in operations():
            found.add((texts[0], texts[1]))
        elif texts and texts[0] in operations()["elb"]:
            found.add(("elb", texts[0]))
    return {action(*one) for one in found}


def operations():
    session = botocore.session.get_session()
    if not hasattr(operations, "known"):
        operations.known = {
            service: {
                botocore.xform_name(name): name
                for name in session.get_service_model(service).operation_names
            }
            for service in ("route53", "elb", "ec2", "cloudfront", "s3", "sts", "iam")
        }
    return operations.known


def action(service, operation):
    name = f"{PREFIX.get(service, service)}:{operations()[service][operation]}"
    return ACTION.get(name, name)


@pytest.mark.parametrize(
    "path", sorted(MODULES.glob("*/*.py")), ids=lambda path: f"{path.parent.name}.{path.stem}"
)
def test_the_actions_stand_beside_the_calls_that_need_them(path):
    file = importlib.import_module(f"{path.parent.name}.{path.stem}".removesuffix(".__init__"))
    assert called(path) <= set(getattr(file, "ACTIONS", ()))
    if called(path):
        assert file in (*permissions._FILES, permissions)


def test_the_example_is_what_the_command_prints(mitx):
    policy = mitx().modules["mitx_upgrade.get_policy"]()
    assert policy == json.loads((ROOT / "pillar_examples" / "iam-policy.json").read_text())


def test_what_changes_something_is_allowed_on_this_environment_alone(mitx):
    policy = mitx().modules["mitx_upgrade.get_policy"]()
    reads = ("Describe", "List", "Get", "Simulate")
    for statement in policy["Statement"]:
        writes = [one for one in statement["Action"] if not one.split(":")[1].startswith(reads)]
        # EC2 knows no resource by which an AMI could be told beforehand.
        if not set(writes) <= {"ec2:DeleteSnapshot", "ec2:DeregisterImage"}:
            assert "*" not in statement["Resource"]


@pytest.mark.parametrize(
    ("service", "operation", "named"),
    [
        ("route53", "get_change", "route53:GetChange on arn:aws:route53:::change/*"),
        ("elb", "describe_instance_health", "elasticloadbalancing:DescribeInstanceHealth on *"),
        (
            "elb",
            "deregister_instances_from_load_balancer",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer on arn:aws:elasticload",
        ),
        ("cloudfront", "create_invalidation", "cloudfront:CreateInvalidation on arn:aws:cloudf"),
        ("s3", "put_object", "s3:PutObject on arn:aws:s3:::"),
        ("route53", "change_resource_record_sets", "route53:ChangeResourceRecordSets on arn:aws"),
    ],
)
def test_what_is_denied_is_named_without_a_change(mitx, aws, service, operation, named):
    modules = mitx().modules
    assert modules["mitx_upgrade.permissions.denied"]() == []
    aws.fault(service=service, operation=operation, error="AccessDenied", times=None)
    aws.clear_calls()
    found = mitx().modules["mitx_upgrade.permissions.denied"]()
    assert [one for one in found if one.startswith(named)], found
    assert not [call for call in aws.calls() if call["write"]]


def test_where_iam_may_not_be_asked_it_is_told_as_not_known(mitx, aws):
    aws.fault(
        service="iam", operation="simulate_principal_policy", error="AccessDenied", times=None
    )
    modules = mitx().modules
    assert modules["mitx_upgrade.permissions.denied"]() == []
    told = modules["mitx_upgrade.permissions.unknown"]()
    assert "not known beforehand" in told
    assert told.endswith("salt-run mitx.iam_policy")


@pytest.mark.parametrize(
    ("arn", "known"),
    [
        ("arn:aws:sts::1:assumed-role/upgrade/ann", "arn:aws:iam::1:role/upgrade"),
        ("arn:aws:iam::1:user/ann", "arn:aws:iam::1:user/ann"),
    ],
)
def test_an_assumed_role_is_asked_about_as_the_role(arn, known):
    assert permissions.principal(arn) == known
