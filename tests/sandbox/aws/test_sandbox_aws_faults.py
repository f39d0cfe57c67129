"""Faults on demand: the right calls go wrong, in the right way, as often as asked."""

import functools

import botocore.exceptions
import pytest
from aws_asking import ONCE, OURS, refused, until


def test_error_hits_only_the_calls_that_it_is_meant_for(aws):
    fault = {
        "service": "sts",
        "agent": OURS,
        "error": "Throttling",
        "status": 400,
        "after": 1,
        "times": 2,
    }
    fault_id = aws.fault(**fault)["id"]
    ours, other = (aws.client("sts", agent, retries=ONCE) for agent in (OURS, "sandbox-cloud"))
    ours.get_caller_identity()
    other.get_caller_identity()
    refused("Throttling", 400, ours.get_caller_identity)
    refused("Throttling", 400, ours.get_caller_identity)
    assert ours.get_caller_identity()["Account"] == "123456789012"
    standing = aws.faults()[0]
    assert (standing["id"], standing["seen"], standing["hit"]) == (fault_id, 4, 2)
    assert [call.get("fault") for call in aws.calls()] == [None, None, fault_id, fault_id, None]


def test_error_matches_parameters_and_means_that_nothing_was_done(aws, balancer, launched):
    first, second = launched(2)
    aws.fault(
        operation="register_instances_with_load_balancer",
        parameters={"Instances": f"*{second}*"},
        error="Throttling",
    )
    balancer.register(first)
    aws_elb = aws.client("elb", OURS, retries=ONCE)
    call = functools.partial(aws_elb.register_instances_with_load_balancer, LoadBalancerName="edx")
    refused("Throttling", 400, call, Instances=[{"InstanceId": second}])
    assert balancer.members() == [first]


def test_the_sandbox_itself_is_spared_unless_it_is_named(aws):
    internal = aws.client("sts", retries=ONCE)
    aws.fault(error="Throttling", times=None)
    assert internal.get_caller_identity()["Account"] == "123456789012"
    aws.fault(agent="sandbox-internal", error="Throttling")
    refused("Throttling", 400, internal.get_caller_identity)


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "status"),
    [
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "SlowDown", 503),
        ("ec2", "describe_instances", {}, "RequestLimitExceeded", 503),
        ("route53", "get_change", {"Id": "C1"}, "PriorRequestNotComplete", 400),
        ("cloudfront", "get_distribution", {"Id": "E1"}, "AccessDenied", 403),
        ("acm", "list_certificates", {}, "ThrottlingException", 400),
    ],
)
def test_error_reads_as_aws_words_it_in_every_protocol(
    aws, service, operation, parameters, code, status
):
    aws.fault(service=service, error=code, message="slow down")
    client = aws.client(service, OURS, retries=ONCE)
    assert refused(code, status, getattr(client, operation), **parameters) == "slow down"
    assert aws.calls()[-1]["code"] == code


def test_error_without_a_code_has_only_its_status(aws, zone):
    aws.fault(service="route53", error="", status=403)
    refused("", 403, aws.client("route53", OURS).list_resource_record_sets, HostedZoneId=zone[0])
    assert aws.calls()[-1]["code"] == ""


@pytest.mark.parametrize(("applied", "buckets"), [(True, ["upgrading"]), (False, [])])
def test_late_answer_is_a_read_timeout_whatever_was_applied(aws, applied, buckets):
    aws.fault(operation="create_bucket", delay=0.6, applied=applied)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        aws.client("s3", OURS, retries=ONCE, read_timeout=0.2).create_bucket(Bucket="upgrading")
    until(lambda: len(aws.calls(operation="create_bucket")), 1)
    assert [b["Name"] for b in aws.client("s3").list_buckets()["Buckets"]] == buckets


@pytest.mark.parametrize(("when", "buckets"), [("after", ["upgrading"]), ("before", [])])
def test_dropped_connection_before_or_after_the_call_was_applied(aws, when, buckets):
    aws.fault(write=True, reset=when)
    with pytest.raises(
        (botocore.exceptions.ConnectionClosedError, botocore.exceptions.EndpointConnectionError)
    ):
        aws.client("s3", OURS, retries=ONCE).create_bucket(Bucket="upgrading")
    assert [b["Name"] for b in aws.client("s3").list_buckets()["Buckets"]] == buckets
    assert (aws.calls()[0]["status"], aws.calls()[0]["code"]) == (None, "ConnectionReset")
    aws.client("s3", OURS).create_bucket(Bucket="another")  # once only


def test_rewritten_answer(aws):
    aws.fault(operation="get_caller_identity", rewrite={"123456789012": "999999999999"}, times=None)
    assert aws.client("sts", OURS).get_caller_identity()["Account"] == "999999999999"
    aws.clear_faults()
    assert aws.client("sts", OURS).get_caller_identity()["Account"] == "123456789012"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"service": "s3"}, "a fault needs one of"),
        ({"eror": "Throttling"}, "unknown: eror"),
        ({"reset": "during"}, "expected one of before, after"),
        ({"outcome": "lost"}, "expected one of pending, failed"),
    ],
)
def test_fault_that_would_do_nothing_is_refused(aws, fault, said):
    with pytest.raises(ValueError, match=said):
        aws.fault(**fault)
    assert aws.faults() == []
