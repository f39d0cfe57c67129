"""
What is left of a build that broke off
======================================

``orchestrate.edx.build_ami`` finds its base instances by grains, which it deletes before it makes
the AMIs. Whatever ends it in between leaves bases that no later build finds, and perhaps one of two
AMIs, whose name the next build would need. Neither holds anything: the release branch, the
settings and Ansible make them again.
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import destruction, images, instances
from mitx_run import aws, events

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = (
    "ec2:DeleteSnapshot",
    "ec2:DeregisterImage",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeSnapshots",
)

_AGAIN = "salt-run mitx.discard_build"


def plan(run):
    """
    Return what is left of a build of this run's release, in the form of ``destruction``, with
    ``images: [{id, name, state, snapshots}]``, ``snapshots`` (of images that an earlier call
    deregistered) and ``refusals`` (in words) beside it. Reads only.

    Refused: AMIs that SDB says are built, both of which there are, or of which instances run.
    """
    number = images.release_number(run)
    names = list(run.settings["base_instances"].values())
    bases = instances.find(run, names=names)
    found = [image for image in images.find(run, number).values() if image]
    keys = destruction.flat(destruction.keys())
    return {
        "destroy": bases,
        "keys": sorted(set(names) & set(keys)),
        "all_keys": keys,
        "images": _with_snapshots(run, found),
        "snapshots": _left_snapshots(run, found),
        "refusals": _refusals(run, number, names, bases, found),
    }


def apply(run, planned):
    """
    Destroy the bases, then deregister the AMI, with its snapshots. Returns the changes.
    """
    done = destruction.destroy(run, planned, "What is left of the build", _AGAIN)
    amis, snapshots = planned["images"], list(planned["snapshots"])
    if amis:
        # Once it is deregistered, nothing else leads from an AMI to its snapshots.
        disks = {image["id"]: image["snapshots"] for image in amis}
        events.write(run, "build_discarding", images=disks)
    for image in amis:
        aws.call(run, "ec2", "deregister_image", ImageId=image["id"])
        snapshots += image["snapshots"]
    for snapshot in snapshots:
        aws.call(run, "ec2", "delete_snapshot", SnapshotId=snapshot)
    events.write(run, "build_discarded", images=[image["id"] for image in amis])
    return changes(planned) | {what: names for what, names in done.items() if names}


def changes(planned):
    """
    Return what applying the plan changes.
    """
    found = {
        "destroyed": [instances.label(one) for one in planned["destroy"]],
        "keys": planned["keys"],
        "deregistered": [f"{image['name']} ({image['id']})" for image in planned["images"]],
        "snapshots": planned["snapshots"],
    }
    return {what: names for what, names in found.items() if names}


def _refusals(run, number, names, bases, found):
    refusals = []
    recorded = images.recorded_release(run.settings)
    # One that is pending is being made, and is good once it is available.
    good = [image for image in found if image["state"] in ("pending", "available")]
    if recorded >= number and good:
        amis = ", ".join(image["name"] for image in found)
        refusals.append(
            f"{run.settings['sdb']['release']} says that release {number} is built; its AMIs are"
            f" {amis}. {images.build_again(run.settings, number)}"
        )
    elif len(good) == 2:
        refusals.append(
            "both AMIs are there or are being made, nothing is left to discard: salt-run"
            " state.orchestrate orchestrate.mitx.prepare"
        )
    for image in found:
        users = _users(run, image["id"])
        if users:
            refusals.append(f"{image['name']} ({image['id']}) is the AMI of {', '.join(users)}")
    for name in names:
        twins = [one["id"] for one in bases if one["name"] == name]
        if len(twins) > 1:
            refusals.append(f"{name} is the name of {' and '.join(twins)}: terminate the wrong one")
    return refusals


def _users(run, image):
    answer = aws.call(
        run, "ec2", "describe_instances", Filters=[{"Name": "image-id", "Values": [image]}]
    )
    return [
        one["InstanceId"]
        for reservation in answer["Reservations"]
        for one in reservation["Instances"]
        if one["State"]["Name"] not in ("shutting-down", "terminated")
    ]


def _with_snapshots(run, found):
    if not found:
        return []
    ids = [image["id"] for image in found]
    answer = aws.call(run, "ec2", "describe_images", ImageIds=ids)
    disks = {raw["ImageId"]: raw.get("BlockDeviceMappings") or () for raw in answer["Images"]}
    return [{**image, "snapshots": _snapshots(disks.get(image["id"], ()))} for image in found]


def _snapshots(disks):
    ids = [(disk.get("Ebs") or {}).get("SnapshotId") for disk in disks]
    return [id_ for id_ in ids if id_]


def _left_snapshots(run, found):
    there = {image["id"] for image in found}
    ids = []
    for line in events.read(run, "build_discarding"):
        for image, snapshots in line["images"].items():
            ids += snapshots if image not in there else []
    if not ids:
        return []
    filters = [{"Name": "snapshot-id", "Values": ids}]
    answer = aws.call(run, "ec2", "describe_snapshots", Filters=filters)
    return [raw["SnapshotId"] for raw in answer["Snapshots"]]


def require_findable(run, grains):
    """
    Raise unless the existing ``build_ami`` finds every base instance that there is by its grains.
    ``grains`` are what the minions of the bases answer: ``{minion: {roles, environment}}``.
    """
    names = list(run.settings["base_instances"].values())
    lost = [
        instances.label(one)
        for one in instances.find(run, names=names)
        if not _findable(grains.get(one["name"]), run.settings["environment"])
    ]
    if lost:
        raise CommandExecutionError(
            f"A build that broke off has left {', '.join(lost)}, whose grains are deleted or whose"
            " minion does not answer: no build finds them again. They hold nothing. Throw away what"
            f" is left of it: {_AGAIN} (first with test=True), then run again: salt-run"
            " state.orchestrate orchestrate.mitx.prepare"
        )


def _findable(grains, environment):
    return bool(grains and grains.get("roles") and grains.get("environment") == environment)
