"""
The AMIs that a release is deployed from
========================================

Known by name: right after CreateImage an id may not be found yet. There are two of each release, for web hosts and for workers.
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    return True


def find(settings=None, release=None):
    """
    Return the AMIs that ``release`` (int) is deployed from: ``{role: {id, name, state}}``, None for one that
    does not exist. By name, since right after CreateImage its id may not be found; two of a name are an error.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_images.find release=1 with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    names = {role: name.format(release=int(release)) for role, name in settings["amis"].items()}
    answer = __salt__["mitx_aws.call"](
        "ec2",
        "describe_images",
        Owners=["self"],
        Filters=[{"Name": "name", "Values": sorted(names.values())}],
    )
    found = {role: [raw for raw in answer["Images"] if raw["Name"] == name] for role, name in names.items()}
    for role, twins in found.items():
        if len(twins) > 1:
            ids = ", ".join(f"{raw['ImageId']} ({raw['State']})" for raw in twins)
            raise CommandExecutionError(f"{len(twins)} images bear the name {names[role]}: {ids}. Deregister the wrong one.")
    return {
        role: {"id": twins[0]["ImageId"], "name": names[role], "state": twins[0]["State"]} if twins else None
        for role, twins in found.items()
    }


def wait(settings=None, release=None):
    """
    Wait until both AMIs of ``release`` (int) are available, and return them as :py:func:`find` does. One that
    failed is final; one that is pending, or not listed yet, has ``images.timeout`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_images.wait release=1 with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    found = {}

    def check():
        found.update(find(settings, release))
        for role, image in found.items():
            if image and image["state"] not in ("pending", "available"):
                raise CommandExecutionError(
                    f"The image {image['name']} ({image['id']}, {role}) is {image['state']}: it will never be available. "
                    + __salt__["mitx_existing.build_again"](settings, int(release))
                )
        states = {role: image["state"] if image else "not listed" for role, image in found.items()}
        return set(states.values()) == {"available"}, ", ".join(f"{role} {state}" for role, state in states.items())

    names = ", ".join(name.format(release=int(release)) for name in settings["amis"].values())
    __salt__["mitx_run.wait_until"](
        check, settings["images"]["timeout"], settings["images"]["interval"], f"Images {names} available"
    )
    return found
