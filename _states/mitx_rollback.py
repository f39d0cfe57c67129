"""
Taking the window back
======================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_rollback.refusals" not in __salt__:
        return False, "The mitx_rollback execution module is not loaded"
    return True


def allowed(name, database_restored=False, accept_new_schema=False, stop_only=False):
    """
    Refuse what would bring the old release back on a new schema without anybody having said so, or a fleet that is gone. Then the
    rollback has begun, and is in the record with what was said. ``stop_only``: it ends before the old fleet is started.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The old fleet can be brought back"}
    try:
        found = __salt__["mitx_rollback.refusals"](database_restored, accept_new_schema, stop_only)
        if found:
            raise CommandExecutionError("\n".join(["Not rolled back, nothing was changed:", *found]))
        if not __opts__["test"]:
            said = {"database_restored": database_restored, "accept_new_schema": accept_new_schema, "stop_only": stop_only}
            __salt__["mitx_phase.mark"]("rollback", "started", **said)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def halted(name):
    """
    Say where a rollback with ``stop_only`` leaves the world, and how it goes on. The window's phases stay as they are in the record.
    """
    said = "Nothing runs and visitors see the page: the databases can be restored. Next: salt-run mitx.rollback database_restored=True"
    return {"name": name, "result": None if __opts__["test"] else True, "changes": {}, "comment": said}


def finished(name):
    """
    Put into the record that the window was taken back: its phases are to be done again.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The old fleet serves; the window can be run again"}
    if __opts__["test"]:
        ret["result"] = None
        return ret
    try:
        __salt__["mitx_phase.mark"]("rollback", "finished")
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
