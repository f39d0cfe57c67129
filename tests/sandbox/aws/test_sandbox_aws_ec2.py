"""EC2: images that take time and hold a disk, terminations that are all or nothing."""

import json
import os
import time

from aws_asking import FOR_EVER, ONCE, OURS, refused, until


def image(aws, image_id):
    return aws.client("ec2", OURS).describe_images(ImageIds=[image_id])["Images"][0]


def test_image_has_the_disk_of_its_instance_and_is_pending_for_a_while(aws, launched):
    instance = launched()[0]
    disk = aws.folder / "hosts" / instance / "root"
    (disk / "edx" / "app").mkdir(parents=True)
    (disk / "edx" / "app" / "release").write_text("koa")
    (disk / "edx" / "current").symlink_to("app")
    os.mkfifo(disk / "supervisor.fifo")
    ec2 = aws.client("ec2", OURS)
    aws.settings(ami_pending=FOR_EVER)
    image_id = ec2.create_image(InstanceId=instance, Name="edxapp_v1")["ImageId"]
    copy = aws.folder / "images" / image_id / "root"
    assert (copy / "edx" / "current" / "release").read_text() == "koa"
    assert sorted(path.name for path in copy.iterdir()) == ["edx"]
    assert image(aws, image_id)["State"] == "pending"
    said = refused(
        "InvalidAMIID.Unavailable", 400, ec2.run_instances, ImageId=image_id, MinCount=1, MaxCount=1
    )
    assert image_id in said
    available = [
        {"Name": "name", "Values": ["edxapp_v1"]},
        {"Name": "state", "Values": ["available"]},
    ]
    assert ec2.describe_images(Filters=available)["Images"] == []
    aws.settings(ami_pending=0)
    assert len(ec2.describe_images(Filters=available)["Images"]) == 1
    assert (
        ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0]["ImageId"]
        == image_id
    )


def test_image_takes_its_time(aws, launched):
    aws.settings(ami_pending=0.3)
    begun = time.monotonic()
    image_id = aws.client("ec2", OURS).create_image(InstanceId=launched()[0], Name="edxapp_v1")[
        "ImageId"
    ]
    until(lambda: image(aws, image_id)["State"], "available")
    assert time.monotonic() - begun >= 0.3


def test_image_that_fails_stays_failed(aws, launched):
    aws.fault(operation="create_image", outcome="failed")
    image_id = aws.client("ec2", OURS).create_image(InstanceId=launched()[0], Name="edxapp_v1")[
        "ImageId"
    ]
    assert image(aws, image_id)["State"] == "failed"
    aws.clear_faults()
    assert image(aws, image_id)["State"] == "failed"
    assert image(aws, image_id)["StateReason"]["Code"] == "Client.InternalError"


def test_image_names_are_unique_and_unknown_images_cannot_be_launched(aws, launched):
    ec2, instance = aws.client("ec2", OURS), launched()[0]
    ec2.create_image(InstanceId=instance, Name="edxapp_v1")
    refused(
        "InvalidAMIName.Duplicate", 400, ec2.create_image, InstanceId=instance, Name="edxapp_v1"
    )
    refused(
        "InvalidAMIID.NotFound", 400, ec2.run_instances, ImageId="ami-none", MinCount=1, MaxCount=1
    )


def state(aws, instance):
    held = aws.client("ec2", OURS).describe_instances(InstanceIds=[instance])["Reservations"]
    return held[0]["Instances"][0]["State"]["Name"]


def test_instance_is_pending_where_it_is_asked_to(aws, launched):
    aws.settings(instance_pending=FOR_EVER)
    instance = launched()[0]
    assert state(aws, instance) == "pending"
    aws.settings(instance_pending=0)
    assert state(aws, instance) == "running"


def test_address_is_where_the_host_listens(aws, launched):
    instance, without_host = launched(2)
    folder = aws.folder / "hosts" / instance
    folder.mkdir(parents=True)
    (folder / "host.json").write_text(json.dumps({"address": "127.9.8.7", "port": 8443}))
    ec2 = aws.client("ec2", OURS)

    def listening(address):
        found = ec2.describe_instances(
            Filters=[{"Name": "private-ip-address", "Values": [address]}]
        )["Reservations"]
        return [
            i["InstanceId"]
            for held in found
            for i in held["Instances"]
            if i["PrivateIpAddress"] == address
        ]

    assert listening("127.9.8.7") == [instance]
    ec2.terminate_instances(InstanceIds=[instance, without_host])
    assert state(aws, instance) == "terminated"


def test_image_whose_disk_cannot_be_copied_is_not_there(aws, launched):
    instance = launched()[0]
    (aws.folder / "hosts" / instance / "root").mkdir(parents=True)
    images, aside = aws.folder / "images", aws.folder / "images.aside"
    images.mkdir(exist_ok=True)
    images.rename(aside)
    images.write_text("in the way")
    ec2 = aws.client("ec2", OURS, retries=ONCE)
    try:
        refused("InternalFailure", 500, ec2.create_image, InstanceId=instance, Name="edxapp_v1")
    finally:
        images.unlink()
        aside.rename(images)
    assert ec2.describe_images(Filters=[{"Name": "name", "Values": ["edxapp_v1"]}])["Images"] == []


def test_termination_is_all_or_nothing_and_leaves_them_listed(aws, launched):
    ec2 = aws.client("ec2", OURS)
    free, protected = launched()[0], launched(DisableApiTermination=True)[0]
    said = refused(
        "OperationNotPermitted", 400, ec2.terminate_instances, InstanceIds=[free, protected]
    )
    assert protected in said
    assert state(aws, free) == "running"
    refused(
        "InvalidInstanceID.NotFound",
        400,
        ec2.terminate_instances,
        InstanceIds=[free, "i-0123456789abcdef0"],
    )
    assert state(aws, free) == "running"
    ec2.terminate_instances(InstanceIds=[free])
    assert state(aws, free) == "terminated"
