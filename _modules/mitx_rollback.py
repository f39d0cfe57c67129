"""
Whether, and from where, the window can be taken back
=====================================================
"""


def __virtual__():
    return True


def needed():
    """
    Return whether anything of the window has begun. Before ``close`` the old fleet serves and nothing has to be taken back.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rollback.needed with_pillar=True
    """
    __salt__["mitx_run.use"](__salt__["mitx_run.identify"]())
    record = __salt__["mitx_phase.record"]()
    lines = __salt__["mitx_journal.entries"](event="phase")
    unfinished = [line["status"] for line in lines if line["phase"] == "rollback"][-1:] in (["started"], ["failed"])
    return unfinished or any(
        phase in record for phase in ("close", "stop", "migrate", "start", "attach", "detach", "verify", "open")
    )


def refusals(database_restored=False, accept_new_schema=False, stop_only=False):
    """
    Return why the old fleet cannot be brought back, as sentences; empty when it can. Once ``migrate`` has begun, the databases may
    have the new schema, on which the old release answers 500: someone has to say that they were restored, or that he knows.
    ``stop_only``: the old fleet is not to be brought back yet.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rollback.refusals with_pillar=True
    """
    record = __salt__["mitx_phase.record"]()
    found = []
    if "retire" in record:
        found.append("the old fleet is retired, or was begun to be: there is nothing to go back to")
    if "migrate" in record and not (database_restored or accept_new_schema or stop_only):
        found.append(
            f"migrate has {record['migrate']['status']}: the databases may have the new schema. To restore them: salt-run mitx.rollback "
            "stop_only=True puts up the page and stops the new fleet, and once they are restored, salt-run mitx.rollback "
            "database_restored=True goes on. Or say accept_new_schema=True, if the old release runs on the new schema"
        )
    return found
