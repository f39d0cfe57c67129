"""
The hosts that a state means by the name of a fleet
===================================================

``fleet`` is ``old`` or ``new`` (as the run recorded them), ``current`` (what serves now) or ``bases`` (the base
instances). Instances are as in ``mitx_fleet``, their state asked of EC2 now: one that EC2 has stopped runs nothing, so it counts as
stopped, and cannot count as running.
"""

from salt.exceptions import CommandExecutionError


class NotYet(CommandExecutionError):
    """What a dry run cannot know: a phase before this one would have recorded it."""

    not_yet = True


def __virtual__():
    return True


def alive(fleet, serving=False):
    """
    Return ``(instances of the fleet that run, names of those that EC2 has stopped or terminated)``.

    serving
        True: without the leftovers of an earlier upgrade, which are stopped with the old fleet and never started.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_targets.alive old with_pillar=True
    """
    return _alive(_members(fleet, serving))


def running(fleet, serving=False):
    """
    Return the instances of the fleet, every one of which must run. ``serving`` as in :py:func:`alive`.

    Raises ``CommandExecutionError`` if the fleet is empty, or one is stopped or gone in EC2.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_targets.running new with_pillar=True
    """
    instances = _members(fleet, serving)
    if not instances:
        raise CommandExecutionError("There is no such instance: the fleet is empty")
    there, halted = _alive(instances)
    if halted:
        raise CommandExecutionError(
            f"Stopped or gone in EC2: {', '.join(halted)}. Start what is stopped (aws ec2 start-instances), then run again. What is gone "
            "of the new fleet, orchestrate.mitx.prepare launches anew, before the window or after salt-run mitx.rollback."
        )
    return there


def _members(fleet, serving):
    return [one for one in _instances(fleet) if not serving or one.get("serves", True)]


def _instances(fleet):
    settings = __salt__["mitx_settings.get"]()
    if fleet == "current":
        return __salt__["mitx_fleet.current"](settings)
    if fleet == "bases":
        names = list(settings["base_instances"].values())
        there = __salt__["mitx_fleet.find"](names=names)
        missing = sorted(set(names) - {one["name"] for one in there})
        if missing:
            raise CommandExecutionError(f"The base instances {', '.join(missing)} do not exist: there is no build to resume")
        return there
    fact = f"{fleet}_fleet"
    if __opts__.get("test") and __salt__["mitx_run.pinned"](fact) is None:
        raise NotYet(f"Not known before {fact} is recorded by an earlier phase")
    return __salt__["mitx_fleet.recorded"](fleet)


def _alive(instances):
    there = {one["id"]: one["state"] for one in __salt__["mitx_fleet.find"](ids=[one["id"] for one in instances])}
    halted = [one["name"] for one in instances if there.get(one["id"], "terminated") in ("stopped", "terminated")]
    return [one for one in instances if one["name"] not in halted], halted
