"""
The AMIs that a release is deployed from
========================================

Known by name: right after CreateImage an id may not be found yet. There are two of each release,
for web hosts and for workers.
"""

from salt.exceptions import CommandExecutionError

from mitx_run import aws, events, record, wait
from mitx_run.dunders import __salt__

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("ec2:DescribeImages",)


def find(run, release=None):
    """
    Return the AMIs that ``release`` (int) is deployed from: ``{role: {id, name, state}}``, None for
    one that does not exist. By name, since right after CreateImage its id may not be found; two of
    a name are an error.
    """
    names = {role: name.format(release=int(release)) for role, name in run.settings["amis"].items()}
    answer = aws.call(
        run,
        "ec2",
        "describe_images",
        Owners=["self"],
        Filters=[{"Name": "name", "Values": sorted(names.values())}],
    )
    found = {}
    for role, name in names.items():
        found[role] = [raw for raw in answer["Images"] if raw["Name"] == name]
    for role, twins in found.items():
        if len(twins) > 1:
            ids = ", ".join(f"{raw['ImageId']} ({raw['State']})" for raw in twins)
            raise CommandExecutionError(
                f"{len(twins)} images bear the name {names[role]}: {ids}. Deregister the wrong one."
            )
    return {
        role: (
            {"id": twins[0]["ImageId"], "name": names[role], "state": twins[0]["State"]}
            if twins
            else None
        )
        for role, twins in found.items()
    }


def wait_available(run, release=None):
    """
    Wait until both AMIs of ``release`` (int) are available, and return them as :py:func:`find`
    does. One that failed is final; one that is pending, or not listed yet, has ``images.timeout``
    seconds.
    """
    found = {}

    def check():
        found.update(find(run, release))
        for role, image in found.items():
            if image and image["state"] not in ("pending", "available"):
                raise CommandExecutionError(
                    f"The image {image['name']} ({image['id']}, {role}) is {image['state']}: it"
                    " will never be available. " + build_again(run.settings, int(release))
                )
        states = {role: image["state"] if image else "not listed" for role, image in found.items()}
        return set(states.values()) == {"available"}, ", ".join(
            f"{role} {state}" for role, state in states.items()
        )

    names = ", ".join(name.format(release=int(release)) for name in run.settings["amis"].values())
    wait.until(
        run,
        check,
        run.settings["images"]["timeout"],
        run.settings["images"]["interval"],
        f"Images {names} available",
    )
    return found


def release_number(run):
    """
    Return the release number this run builds (int): pinned at the first call, one more than SDB
    holds then. ``build_ami`` raises it each time it runs, so a run that did not remember it would
    build again.
    """
    pinned = record.pinned(run, "release_number")
    if pinned is not None:
        return pinned
    number = recorded_release(run.settings) + 1
    return number if run.test else record.pin(run, "release_number", number)


def recorded_release(settings):
    """
    Return the release number in SDB (int), 0 if there is none yet.
    """
    value = __salt__["sdb.get"](settings["sdb"]["release"])
    try:
        return int(value) if value not in (None, "", settings["sdb"]["release"]) else 0
    except ValueError as err:
        raise CommandExecutionError(
            f"{settings['sdb']['release']} holds no number: {value!r}"
        ) from err


def build_again(settings, number):
    """
    Return how a build is made again, as sentences: by hand, since what is thrown away may have cost
    hours.
    """
    amis = " and ".join(name.format(release=number) for name in settings["amis"].values())
    bases = ",".join(settings["base_instances"].values())
    return (
        f"To build release {number} again, throw away what is left of it: deregister the AMIs"
        f" {amis} (aws ec2 deregister-image), destroy the bases (salt <the master's minion>"
        f" cloud.destroy {bases}), put the number back (salt-run sdb.set"
        f" {settings['sdb']['release']} {number - 1}), then run: salt-run state.orchestrate"
        " orchestrate.mitx.prepare"
    )


def since_build(run, event):
    """
    Return whether the run's journal holds an ``event`` since ``build_ami`` last ran.
    """
    built = events.when(run, "existing", sls="orchestrate.edx.build_ami")
    return bool(events.read(run, event, since=built))
