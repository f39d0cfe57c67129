"""The fake AWS as a process, in this process, and for boto 2."""

import json
import pathlib
import urllib.request

import pytest
from aws_asking import LISTENERS, OURS, until

from sandbox.aws import FakeAWS
from sandbox.aws.settings import Settings, from_config


def test_times_come_from_config(tmp_path):
    assert from_config(tmp_path) == Settings()
    (tmp_path / "config.json").write_text(json.dumps({"times": {"dns_ttl": 2, "drain": 7}}))
    assert from_config(tmp_path) == Settings(drain=7)


def test_times_change_at_run_time(aws):
    with pytest.raises(
        ValueError, match="darin: unknown.*drain: expected a number of at least 0, not -1"
    ):
        aws.settings(darin=1, drain=-1)
    assert aws.settings(drain=2.5, health_interval=None)["drain"] == 2.5
    assert aws.settings()["health_interval"] is None


def test_boto_2_is_understood(aws, zone):
    def ask(path, body=None, **headers):
        request = urllib.request.Request(
            aws.url + path, body, {"User-Agent": "Boto/2.49.0", **headers}
        )
        return urllib.request.urlopen(request, timeout=10).read().decode()

    old = {
        "X-Amzn-Authorization": "AWS3-HTTPS AWSAccessKeyId=sandbox,Algorithm=HmacSHA256,Signature=0"
    }
    assert "mitx.mit.edu." in ask("/2013-04-01/hostedzone", **old)
    scope = (
        "AWS4-HMAC-SHA256"
        " Credential=sandbox/20201220/us-east-1/ec2/aws4_request,SignedHeaders=host,Signature=0"
    )
    vpcs = ask("/", b"Action=DescribeVpcs&Version=2016-11-15", Authorization=scope)
    assert "<vpcId>" in vpcs
    assert "cidrBlockAssociationSet" not in vpcs
    seen = [(call["service"], call["operation"]) for call in aws.calls(agent="boto")]
    assert seen == [("route53", "list_hosted_zones"), ("ec2", "describe_vpcs")]


def test_it_stays_small(process, aws, zone, distribution, balancer, launched):
    balancer.register(*launched(62))
    status = pathlib.Path(f"/proc/{process[2].pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 250 * 1024


def test_in_this_process_each_start_is_an_empty_aws(tmp_path):
    seen = []

    def healthy(instance, target, timeout):
        seen.append((instance, target))
        return True

    with FakeAWS(tmp_path, health=healthy) as aws:
        ec2, elb = aws.client("ec2"), aws.client("elb", OURS)
        image_id = ec2.register_image(Name="ubuntu")["ImageId"]
        instance = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0][
            "InstanceId"
        ]
        elb.create_load_balancer(
            LoadBalancerName="edx", Listeners=LISTENERS, AvailabilityZones=["us-east-1a"]
        )
        elb.register_instances_with_load_balancer(
            LoadBalancerName="edx", Instances=[{"InstanceId": instance}]
        )
        until(
            lambda: elb.describe_instance_health(LoadBalancerName="edx")["InstanceStates"][0][
                "State"
            ],
            "InService",
        )
        assert (instance, "TCP:443") in seen
        with pytest.raises(RuntimeError, match="runs in this process already"):
            FakeAWS(tmp_path).start()
    with FakeAWS(tmp_path) as aws:
        assert aws.calls() == []
        named = [{"Name": "image-id", "Values": [image_id]}]
        assert aws.client("ec2").describe_images(Filters=named)["Images"] == []
        assert aws.client("elb").describe_load_balancers()["LoadBalancerDescriptions"] == []
