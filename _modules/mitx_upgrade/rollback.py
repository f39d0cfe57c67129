"""
Whether, and from where, the window can be taken back
=====================================================
"""

from mitx_fleet import elb, fleets, instances
from mitx_hosts import backups
from mitx_run import folders, phases, record
from mitx_site import dns


def needed(run):
    """
    Return whether anything of the window has begun. Before ``close`` the old fleet serves and
    nothing has to be taken back.
    """
    folders.use(run, record.identify(run))
    attempted = phases.touched(run)
    return bool(phases.rolling_back(run)) or any(
        phase in attempted for phase in phases.names("window")
    )


def old_serves(run):
    """
    Return whether visitors are on the old fleet now: every public name leads to the load balancers,
    and these hold it and nothing of the new one. Then a rollback only tidies up, and visitors need
    not see the page for that.
    """
    if any(known["shows"] != "site" for known in dns.records(run).values()):
        return False
    held = {
        name: set(balancer["members"])
        for name, balancer in elb.describe(run, required=True).items()
    }
    new = {one["id"] for one in record.pinned(run, "new_fleet") or ()}
    old = fleets.recorded(run, "old")
    for balancer, ids in held.items():
        wanted = {one["id"] for one in old if balancer in (one["elbs"] or ())}
        if not ids or ids & new or not ids >= wanted:
            return False
    return True


def refusals(run, database_restored=False, accept_new_schema=False, stop_only=False, restore=False):
    """
    Return why the old fleet cannot be brought back, as sentences; empty when it can. Once
    ``migrate`` has begun, the databases may have the new schema, on which the old release answers
    500: they are restored (``restore``), or someone has to say that they were, or that
    it does not matter.
    ``stop_only``: the old fleet is not to be brought back yet.
    """
    touched = phases.touched(run)
    found = [] if stop_only else _gone(run)
    if restore:
        return [*found, *_unrestorable(run, touched)]
    decided = database_restored or accept_new_schema or stop_only
    if "migrate" in touched and not (decided or backups.restored(run)):
        found.append(
            f"migrate has {touched['migrate']['status']}: the databases may have the new schema."
            f" {_ways(run.settings['rollback']['restore'])}"
        )
    return found


def _ways(restore):
    by_itself = f"To have {restore} restore them: salt-run mitx.rollback restore=True. " * bool(
        restore
    )
    return (
        f"{by_itself}To restore them by hand: salt-run mitx.rollback stop_only=True puts up the"
        " page and stops the new fleet, and once they are restored, salt-run mitx.rollback"
        " database_restored=True goes on. Or say accept_new_schema=True, if the old release runs on"
        " the new schema"
    )


def _unrestorable(run, touched):
    """Why ``rollback.restore`` cannot be run, or would lose what students have done."""
    found = []
    if not run.settings["rollback"]["restore"]:
        found.append(
            "mitx:…:rollback:restore names no orchestration. Set it (MITx's is"
            " orchestrate.edx.restore), or restore by hand: salt-run mitx.rollback stop_only=True"
        )
    if "migrate" not in touched:
        found.append("nothing was migrated, so nothing is to be restored: salt-run mitx.rollback")
    if touched.get("open", {}).get("status") == "finished":
        found.append(
            f"the site was opened at {touched['open']['time']}: restoring the databases would lose"
            " what students have done since. Decide by hand: salt-run mitx.rollback stop_only=True"
        )
    return found


def _gone(run):
    """
    The old fleet's instances that exist no more: without them there is no way back, and better no
    step on it.
    """
    serving = [one for one in fleets.recorded(run, "old") if one.get("serves", True)]
    found = instances.find(run, ids=[one["id"] for one in serving])
    there = {instance["id"] for instance in found}
    gone = [instances.label(one) for one in serving if one["id"] not in there]
    return [f"these of the old fleet were terminated: {', '.join(gone)}"] if gone else []
