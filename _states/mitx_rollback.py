"""
Taking the window back
======================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_rollback.refusals" not in __salt__:
        return False, "The mitx_rollback execution module is not loaded"
    return True


def allowed(name, database_restored=False, accept_new_schema=False):
    """
    Refuse what would bring the old release back on a new schema without anybody having said so, or a fleet that is gone. Then the
    rollback has begun, and is in the record with what was said.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The old fleet can be brought back"}
    try:
        found = __salt__["mitx_rollback.refusals"](database_restored, accept_new_schema)
        if found:
            raise CommandExecutionError("\n".join(["Not rolled back, nothing was changed:", *found]))
        if not __opts__["test"]:
            __salt__["mitx_phase.mark"](
                "rollback", "started", database_restored=database_restored, accept_new_schema=accept_new_schema
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


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
