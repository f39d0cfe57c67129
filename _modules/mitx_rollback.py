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
    attempted = __salt__["mitx_phase.attempted"]()
    return bool(__salt__["mitx_phase.rolling_back"]()) or any(
        phase in attempted for phase in __salt__["mitx_phase.names"]("window")
    )


def old_serves():
    """
    Return whether visitors are on the old fleet now: every public name leads to the load balancers, and these hold it and nothing
    of the new one. Then a rollback only tidies up, and visitors need not see the page for that.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rollback.old_serves with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    if any(record["shows"] != "site" for record in __salt__["mitx_dns.records"](settings).values()):
        return False
    held = {name: set(elb["members"]) for name, elb in __salt__["mitx_elb.describe"](settings, required=True).items()}
    new = {one["id"] for one in __salt__["mitx_run.pinned"]("new_fleet") or ()}
    old = __salt__["mitx_fleet.recorded"]("old")
    return all(
        ids and not ids & new and ids >= {one["id"] for one in old if elb in (one["elbs"] or ())} for elb, ids in held.items()
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
    record = __salt__["mitx_phase.attempted"]()
    found = [] if stop_only else _gone()
    if "migrate" in record and not (database_restored or accept_new_schema or stop_only):
        found.append(
            f"migrate has {record['migrate']['status']}: the databases may have the new schema. To restore them: salt-run mitx.rollback "
            "stop_only=True puts up the page and stops the new fleet, and once they are restored, salt-run mitx.rollback "
            "database_restored=True goes on. Or say accept_new_schema=True, if the old release runs on the new schema"
        )
    return found


def _gone():
    """The old fleet's instances that exist no more: without them there is no way back, and better no step on it."""
    serving = [one for one in __salt__["mitx_fleet.recorded"]("old") if one.get("serves", True)]
    there = {one["id"] for one in __salt__["mitx_fleet.find"](ids=[one["id"] for one in serving])}
    gone = [__salt__["mitx_fleet.label"](one) for one in serving if one["id"] not in there]
    return [f"of the old fleet there is no more: {', '.join(gone)}"] if gone else []
