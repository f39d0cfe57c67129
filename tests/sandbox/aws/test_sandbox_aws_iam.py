"""A policy that is enforced: what it does not allow is refused, to the package alone."""

import botocore.exceptions
import pytest

from sandbox.aws import FakeAWS

BUCKET, KEY = "upgrading.mitx.mit.edu", "index.html"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/{KEY}"],
        },
        {"Effect": "Allow", "Action": ["ec2:DescribeInstances"], "Resource": ["*"]},
    ],
}


@pytest.fixture
def aws(tmp_path):
    with FakeAWS(tmp_path) as fake:
        fake.client("s3").create_bucket(Bucket=BUCKET)
        fake.enforce(POLICY)
        yield fake


def put(client, key=KEY):
    client.put_object(Bucket=BUCKET, Key=key, Body=b"x")


def test_what_the_policy_allows_passes_and_nothing_else(aws):
    mine = {service: aws.client(service, agent="saltext-mitx") for service in ("s3", "ec2")}
    put(mine["s3"])
    mine["s3"].head_object(Bucket=BUCKET, Key=KEY)
    mine["ec2"].describe_instances()
    refused = [
        lambda: put(mine["s3"], "other.html"),
        lambda: mine["s3"].list_objects_v2(Bucket=BUCKET),
        lambda: mine["ec2"].describe_images(),
    ]
    for call in refused:
        with pytest.raises(botocore.exceptions.ClientError, match="not authorized to perform"):
            call()
    keys = [one["Key"] for one in aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == [KEY]


def test_the_simulation_answers_as_the_policy_does(aws):
    answered = aws.client("iam").simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::123456789012:user/x",
        ActionNames=["s3:PutObject", "ec2:DescribeImages"],
        ResourceArns=[f"arn:aws:s3:::{BUCKET}/{KEY}"],
    )["EvaluationResults"]
    assert [one["EvalDecision"] for one in answered] == ["allowed", "implicitDeny"]


def test_without_a_policy_everything_is_allowed_again(aws):
    aws.enforce(None)
    put(aws.client("s3", agent="saltext-mitx"), "other.html")
