"""The log of calls tells who did what, and leaves out the sandbox itself."""

import json

from aws_asking import OURS, refused


def test_log_tells_who_did_what_and_how_it_ended(aws):
    aws.client("s3", OURS).create_bucket(Bucket="upgrading")
    aws.client("s3", "sandbox-cloud").put_object(
        Bucket="upgrading", Key="index.html", Body=b"x" * 1000
    )
    refused("404", 404, aws.client("s3", OURS).head_object, Bucket="upgrading", Key="none")
    create, put, head = aws.calls()
    assert put.pop("time").endswith("Z")
    assert (
        put.pop("parameters").items()
        >= {
            "Bucket": "upgrading",
            "Key": "index.html",
            "Body": "<1000 bytes>",
        }.items()
    )
    expected = {
        "service": "s3",
        "operation": "put_object",
        "status": 200,
        "code": None,
        "agent": "sandbox-cloud",
        "write": True,
    }
    assert put == expected
    assert (head["operation"], head["status"], head["code"], head["write"]) == (
        "head_object",
        404,
        "404",
        False,
    )
    assert aws.calls(agent=OURS, writes=True) == [create]
    assert aws.calls(writes=False) == [head]


def test_log_leaves_out_the_sandbox_itself(aws):
    aws.client("sts").get_caller_identity()
    aws.client("sts", "sandbox-dns").get_caller_identity()
    aws.client("sts", "sandbox-cloud").get_caller_identity()
    assert [call["agent"] for call in aws.calls()] == ["sandbox-cloud"]
    lines = (aws.folder / "aws" / "calls.jsonl").read_text().splitlines()
    assert [json.loads(line)["operation"] for line in lines] == ["get_caller_identity"]


def test_log_names_operations_as_boto3_does_in_every_protocol(aws, zone, launched):
    for service, operation, parameters in [
        ("ec2", "describe_instances", {}),
        ("elb", "describe_load_balancers", {}),
        ("route53", "list_resource_record_sets", {"HostedZoneId": zone[0]}),
        ("cloudfront", "list_distributions", {}),
        ("acm", "list_certificates", {}),
        ("sts", "get_caller_identity", {}),
    ]:
        aws.clear_calls()
        getattr(aws.client(service, OURS), operation)(**parameters)
        assert [
            (c["service"], c["operation"], c["parameters"], c["write"]) for c in aws.calls()
        ] == [(service, operation, parameters, False)]
