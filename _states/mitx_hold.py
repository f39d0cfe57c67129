"""
New workers have their queues back
==================================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_hold.release" not in __salt__:
        return False, "The mitx_hold execution module is not loaded"
    return True


def released(name):
    """
    Ensure that no worker of the new fleet is held any more (``mitx_hold``). They must be stopped by then.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Workers are not held here: there is no services:hold"}
    try:
        settings = __salt__["mitx_settings.get"]()
        if not __salt__["mitx_hold.configured"](settings):
            return ret
        fleet = __salt__["mitx_run.pinned"]("new_fleet")
        if fleet is None and __opts__["test"]:
            ret.update(result=None, comment="Not known before new_fleet is recorded by an earlier phase")
            return ret
        minions = [one["name"] for one in fleet or () if one["role"] == "edx-worker"]
        if not minions:
            raise CommandExecutionError("This run has recorded no worker of a new fleet")
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would have their queues back: {', '.join(minions)}")
            return ret
        missed = __salt__["mitx_hold.missed"](minions)
        __salt__["mitx_hold.release"](minions, settings)
        ret["comment"] = f"Have their queues back: {', '.join(minions)}"
        if missed:
            __salt__["mitx_journal.write"]("not_held", minions=missed)
            ret["comment"] += (
                f". Could not be cut off from them, and may have worked live jobs while they ran: {', '.join(missed)}"
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
