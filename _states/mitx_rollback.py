"""
Taking the window back
======================
"""

from salt.exceptions import CommandExecutionError

_SLS = "orchestrate.mitx.phases.rollback"


def __virtual__():
    if "mitx_rollback.refusals" not in __salt__:
        return False, "The mitx_rollback execution module is not loaded"
    return True


def done(name, database_restored=False, accept_new_schema=False, stop_only=False):
    """
    Run ``orchestrate.mitx.phases.rollback`` unless nothing of the window has begun, and put into the record that it was taken back:
    its phases are to be done again.

    Refuses what would bring the old release back on a new schema without anybody having said so, or a fleet that is gone. With
    ``stop_only`` it ends before the old fleet is started, so that the databases can be restored while nothing runs on them.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Nothing of the window has begun, nothing is to be taken back"}
    try:
        if not __salt__["mitx_rollback.needed"]():
            return ret
        found = __salt__["mitx_rollback.refusals"](database_restored, accept_new_schema, stop_only)
        if found:
            raise CommandExecutionError("\n".join(["Not rolled back, nothing was changed:", *found]))
        said = {"database_restored": database_restored, "accept_new_schema": accept_new_schema, "stop_only": stop_only}
        # Looked at before it counts as begun: AWS may not answer.
        return _run(ret, {**said, "old_serves": __salt__["mitx_rollback.old_serves"]()})
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _run(ret, said):
    mark, test = __salt__["mitx_phase.mark"], __opts__["test"]
    if not test:
        mark("rollback", "started", **said)
    __salt__["mitx_world.forget"]()
    pillar = __salt__["mitx_orchestrate.inherited"](__pillar__["mitx"].get("run") or __salt__["mitx_run.identify"]())
    pillar["mitx"]["rollback"] = said
    try:
        answer = __salt__["mitx_orchestrate.run"](_SLS, pillar=pillar)
    except SystemExit:
        answer = {"data": {}, "failures": ["Interrupted: Ctrl-C, or a signal"]}
    ret["changes"] = {"out": "highstate", "ret": answer["data"]} if answer["data"] else {}
    if answer["failures"]:
        mark("rollback", "failed", error="; ".join(answer["failures"]))
        ret.update(result=False, comment=__salt__["mitx_world.failure"]("rollback", answer["failures"]))
    elif test:
        ret.update(result=None, comment="The window would be taken back")
    elif said["stop_only"]:
        mark("rollback", "halted")
        ret["comment"] = (
            "Nothing runs and visitors see the page: the databases can be restored. Next: salt-run mitx.rollback database_restored=True"
        )
    else:
        mark("rollback", "finished")
        ret["comment"] = "The old fleet serves; the window can be run again"
    return ret
