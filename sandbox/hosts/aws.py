"""The instances of the fake AWS, as the watcher wants them."""

import boto3
import botocore.config

from sandbox.hosts import record

ALIVE = ("running",)


def client(config):
    """
    An EC2 client of the sandbox's AWS that needs nothing from the environment, and is not in its
    log of calls.
    """
    return boto3.client(
        "ec2",
        endpoint_url=(
            f"http://{config.get('addresses', {}).get('aws', '127.0.0.1')}:{config['ports']['aws']}"
        ),
        region_name=config.get("region", "us-east-1"),
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        config=botocore.config.Config(
            user_agent_extra="sandbox-internal",
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 1},
        ),
    )


def instances(ec2, boot=None):
    """
    Running instances that carry a tag ``role``: ``[{id, image, private_ip, tags: {key: value}}]``.

    boot: the folder where Salt Cloud leaves the grains of what it launched, of a sandbox with
    MITx's own orchestrations. There grains say the role, and an instance counts once it has them.
    Raises what boto3 raises when AWS does not answer: that is not the same as no instances.
    """
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": list(ALIVE)}]
    )
    found = [
        _plain(one)
        for page in pages
        for group in page["Reservations"]
        for one in group["Instances"]
    ]
    if boot:
        found = [_with_grains(one, record.read(boot / f"{one['id']}.json")) for one in found]
    return [one for one in found if "role" in one["tags"]]


def _with_grains(instance, said):
    if said is None:
        return {**instance, "tags": {}}
    role = said["grains"]["roles"][0]
    return {**instance, "tags": {**instance["tags"], "role": role}, "grains": said["grains"]}


def _plain(instance):
    return {
        "id": instance["InstanceId"],
        "image": instance["ImageId"],
        "private_ip": instance.get("PrivateIpAddress"),
        "tags": {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())},
    }
