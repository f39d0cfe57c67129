"""
Which instances are the current fleet, and which are the new one
================================================================

An instance is known by its id, its codename and its release number, never by its name alone:
release numbers count per codename, names do not carry the codename (Koa v3 and Juniper v3 are
called the same), terminated instances keep their name for an hour, and ``-v3`` is a prefix of
``-v33``. So names are compared whole, only instances that still exist count, and what a run works
on is recorded in the run.

An instance, everywhere in this package::

    id            i-0123…                                          the identity
    name          edx-mitx-qa-next-residential-draft-0-v1          also the id of its minion
    role          edx | edx-worker
    purpose       next-residential-draft
    codename      koa
    release       1                                                int, None if the tag is missing
                  or no number
    environment   mitx-qa
    address       private address
    state         pending | running | stopping | stopped
    elbs          names of the run's load balancers that hold it; None where nobody looked
    image, vpc    ids

In :py:func:`current`, ``serves`` (bool) too.
"""

from mitx_run import aws

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("ec2:DescribeInstances",)

# shutting-down and terminated are left out: their names live on for about an hour.
LIVE = ("pending", "running", "stopping", "stopped")

WEB, WORKER = "edx", "edx-worker"

_COMPARED = ("name", "role", "purpose", "codename", "release", "environment")

# DescribeInstances takes at most 200 values in a filter, and answers at most 1000 instances a page.
_FILTER_VALUES = 200

_PAGE = 1000


def instances(run):
    """
    Return every instance that bears the environment's tag and still exists, of whatever purpose, as
    a list sorted by name: one DescribeInstances.
    """
    return _describe(
        run, {"tag:environment": [run.settings["environment"]], "instance-state-name": LIVE}
    )


def find(run, names=None, ids=None, states=LIVE):
    """
    Return the instances of the account that bear one of the ``names``, or have one of the ``ids``,
    in any environment. An id that EC2 does not know is simply not in the answer. ``states=None``:
    terminated ones too.
    """
    key, values = ("tag:Name", list(names or ())) if ids is None else ("instance-id", list(ids))
    found = []
    for start in range(0, len(values), _FILTER_VALUES):
        wanted = {key: values[start : start + _FILTER_VALUES]}
        found += _describe(run, {**wanted, "instance-state-name": states} if states else wanted)
    return found


def compare(recorded, actual):
    """
    Return how ``actual`` differs from ``recorded``, by id: ``{missing: [recorded instances that are
    no more], changed: [{id, key, recorded, actual}], stopped: [actual instances that do not
    run]}``. All empty: it is the same fleet.
    """
    there = {one["id"]: one for one in actual}
    changed = [
        {"id": one["id"], "key": key, "recorded": one[key], "actual": there[one["id"]][key]}
        for one in recorded
        for key in _COMPARED
        if one["id"] in there and there[one["id"]][key] != one[key]
    ]
    kept = [there[one["id"]] for one in recorded if one["id"] in there]
    return {
        "missing": [one for one in recorded if one["id"] not in there],
        "changed": changed,
        "stopped": [one for one in kept if one["state"] != "running"],
    }


def drift(recorded, actual):
    """
    Return :py:func:`compare` as a list of sentences, one for each instance that is not as it was
    recorded.
    """
    differs = compare(recorded, actual)
    return [
        *(f"{label(one)} was terminated" for one in differs["missing"]),
        *(
            f"{one['id']}: its {one['key']} was {one['recorded']}, is {one['actual']}"
            for one in differs["changed"]
        ),
        *(f"{label(one)} is {one['state']}" for one in differs["stopped"]),
    ]


def label(instance):
    """
    Return what to call an instance in a message: ``name (id)``.
    """
    return f"{instance['name'] or 'an unnamed instance'} ({instance['id']})"


def _describe(run, filters):
    asked = [{"Name": key, "Values": list(values)} for key, values in filters.items()]
    answer = aws.call(run, "ec2", "describe_instances", Filters=asked, MaxResults=_PAGE)
    found = [instance(raw) for group in answer["Reservations"] for raw in group["Instances"]]
    return sorted(found, key=lambda one: (one["name"] or "", one["id"]))


def instance(raw):
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags") or ()}
    return {
        "id": raw["InstanceId"],
        "name": tags.get("Name"),
        "role": tags.get("role"),
        "purpose": tags.get("purpose"),
        "codename": tags.get("edx_codename"),
        "release": _number(tags.get("release-version")),
        "environment": tags.get("environment"),
        "address": raw.get("PrivateIpAddress"),
        "state": raw["State"]["Name"],
        "elbs": None,
        "image": raw.get("ImageId"),
        "vpc": raw.get("VpcId"),
    }


def _number(tag):
    digits = str(tag or "").removeprefix("v")
    return int(digits) if digits.isdecimal() else None
