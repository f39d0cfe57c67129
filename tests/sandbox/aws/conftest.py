"""The sandbox's AWS in a process of its own, and what tests put into it."""

import json
import signal
import subprocess
import sys

import pytest
from aws_asking import LISTENERS, OURS, TIMES, cname, ids

from sandbox.aws import AWS


@pytest.fixture(scope="session")
def process(tmp_path_factory):
    """``python -m sandbox.aws`` as the sandbox starts it: (AWS, its folder, its Popen)."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "config.json").write_text(json.dumps({"times": {"dns_ttl": 2, "drain": 7}}))
    command = [sys.executable, "-m", "sandbox.aws", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        yield AWS(running.stdout.readline().split()[-1]), folder, running
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0


@pytest.fixture
def aws(process):
    """An empty AWS, quick, where nobody is healthy unless a test says so."""
    aws, folder, _ = process
    aws.settings(**TIMES)
    aws.health(dict.fromkeys(aws.health()))
    aws.reset()
    aws.folder = folder
    return aws


@pytest.fixture
def zone(aws):
    """A hosted zone with lms on the ELB; returns its id and a function that changes it."""
    route53 = aws.client("route53", OURS)
    zone_id = route53.create_hosted_zone(Name="mitx.mit.edu", CallerReference="1")["HostedZone"][
        "Id"
    ].split("/")[-1]

    def change(*changes):
        return route53.change_resource_record_sets(
            HostedZoneId=zone_id, ChangeBatch={"Changes": list(changes)}
        )

    change(cname("UPSERT", "lms.mitx.mit.edu.", "elb.amazonaws.com"))
    return zone_id, change


@pytest.fixture
def launched(aws):
    """``launched(n)``: ids of n new instances."""
    ec2 = aws.client("ec2")

    def launch(count=1, **more):
        if not aws.images:
            aws.images = [ec2.register_image(Name="ubuntu")["ImageId"]]
        request = {"ImageId": aws.images[0], "MinCount": count, "MaxCount": count}
        return [i["InstanceId"] for i in ec2.run_instances(**request | more)["Instances"]]

    aws.images = []
    return launch


@pytest.fixture
def balancer(aws):
    """A classic load balancer that drains; returns functions of its API with its name filled in."""
    elb = aws.client("elb", OURS)
    elb.create_load_balancer(
        LoadBalancerName="edx", Listeners=LISTENERS, AvailabilityZones=["us-east-1a"]
    )
    attributes = {"ConnectionDraining": {"Enabled": True, "Timeout": 120}}
    elb.modify_load_balancer_attributes(LoadBalancerName="edx", LoadBalancerAttributes=attributes)
    assert (
        elb.describe_load_balancer_attributes(LoadBalancerName="edx")[
            "LoadBalancerAttributes"
        ].items()
        >= attributes.items()
    )

    class Balancer:
        def ask(self, operation, *instances):
            wanted = {"Instances": [{"InstanceId": i} for i in instances]} if instances else {}
            return getattr(elb, operation)(LoadBalancerName="edx", **wanted)

        def register(self, *instances):
            return ids(self.ask("register_instances_with_load_balancer", *instances))

        def deregister(self, *instances):
            return ids(self.ask("deregister_instances_from_load_balancer", *instances))

        def states(self, *instances):
            states = self.ask("describe_instance_health", *instances)["InstanceStates"]
            return {
                s["InstanceId"]: (s["State"], s["ReasonCode"], s["Description"]) for s in states
            }

        def members(self):
            return ids(
                elb.describe_load_balancers(LoadBalancerNames=["edx"])["LoadBalancerDescriptions"][
                    0
                ]
            )

    return Balancer()


@pytest.fixture
def distribution(aws):
    """
    A maintenance distribution as the package wants it: (its client, its configuration, its id).
    """
    client = aws.client("cloudfront", OURS)
    config = {
        "CallerReference": "1",
        "Comment": "maintenance",
        "Enabled": True,
        "Aliases": {"Quantity": 1, "Items": ["lms.mitx.mit.edu"]},
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "s3",
                    "DomainName": "upgrading.s3.us-east-1.amazonaws.com",
                    "OriginAccessControlId": "E123",
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                }
            ],
        },
        "CustomErrorResponses": {
            "Quantity": 1,
            "Items": [
                {
                    "ErrorCode": 403,
                    "ResponsePagePath": "/index.html",
                    "ResponseCode": "503",
                    "ErrorCachingMinTTL": 5,
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "s3",
            "ViewerProtocolPolicy": "redirect-to-https",
        },
    }
    return (
        client,
        config,
        client.create_distribution(DistributionConfig=config)["Distribution"]["Id"],
    )
