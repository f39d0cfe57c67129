"""
The databases before their migration: backed up, and restored on the way back
=============================================================================

Both are MITx's own orchestrations, ``migrate.before`` and ``rollback.restore``
(``orchestrate.edx.backup`` and ``orchestrate.edx.restore``), run like the four: with exactly the
environment variables that they read, and judged by what is true afterwards.

:source: https://github.com/mitodl/salt-ops/blob/main/salt/orchestrate/edx/restore.sls
"""

from salt.exceptions import CommandExecutionError

from mitx_hosts import migrations, services
from mitx_run import calls, events, nested, phases


def back_up(run, old, new):
    """
    Do what must have been done before the first migration of a window, if anything is unapplied:
    record the id of the databases' snapshot, and run the orchestration ``migrate.before``, once,
    while every service of both fleets is stopped. After a rollback the site was written to again:
    then what was saved before it does not count.

    Raises ``CommandExecutionError`` if a snapshot is required and none was given, and if that
    orchestration fails.
    """
    wanted = run.settings["migrate"]
    if not (wanted["snapshot_required"] or wanted["snapshot_id"] or wanted["before"]):
        return
    if not any(some for lists in migrations.pending(run, new).values() for some in lists.values()):
        return
    _require_snapshot(run, wanted)
    since = phases.rolled_back(run)
    if not wanted["before"] or events.read(run, "backed_up", since=since):
        return
    # A backup of databases that are still written to restores to nothing in particular.
    services.stop(run, [one["name"] for one in [*old, *new]])
    failures = _orchestrate(run, wanted["before"], {})
    if failures:
        raise CommandExecutionError(
            f"Nothing was migrated, {wanted['before']} failed:\n  - " + "\n  - ".join(failures)
        )
    events.write(run, "backed_up", sls=wanted["before"])


def restored(run):
    """
    Return when this run last restored the databases since a migration was last begun (UTC, ISO
    8601), ``None`` if it did not.
    """
    begun = phases.touched(run).get("migrate", {}).get("time", "")
    return events.when(run, "restored", since=begun) or None


def planned(run, new):
    """
    Return the :py:class:`calls.Call` of :py:func:`restore`, for a plan.
    """
    line = {"event": "existing", "sls": run.settings["rollback"]["restore"]}
    return calls.Call(line, restore, new)


def restore(run, new):
    """
    Run ``rollback.restore``, once for each migration, and prove that the databases are as they were
    before it: what was unapplied then is unapplied again. ``new`` are the instances of the new
    fleet, whose code knows what is unapplied. Nothing may run on the databases meanwhile.
    """
    sls = run.settings["rollback"]["restore"]
    wanted = _unapplied_before(run)
    if restored(run):
        return
    failures = _orchestrate(run, sls, run.settings["rollback"]["variables"])
    if failures:
        raise CommandExecutionError(
            f"The databases are not restored, {sls} failed; nothing runs on them:\n  - "
            + "\n  - ".join(failures)
            + "\nRun again when it is put right: salt-run mitx.rollback restore=True. Or restore"
            " them by hand, then: salt-run mitx.rollback database_restored=True"
        )
    found = migrations.count(migrations.pending(run, new))
    if found != wanted:
        raise CommandExecutionError(
            f"{sls} reported success, but the databases are not as they were before the migration:"
            f" unapplied were {_told(wanted)}, now {_told(found)}. Nothing runs on them. Restore"
            " them by hand, then: salt-run mitx.rollback database_restored=True"
        )
    events.write(run, "restored", sls=sls)


def _unapplied_before(run):
    """What was unapplied when this run first looked, since it was last rolled back."""
    since = phases.rolled_back(run)
    lines = events.read(run, "migrations", since=since)
    if not lines:
        raise CommandExecutionError(
            "This run has not recorded what was unapplied before its migration, so whether a"
            " restore succeeded could not be proven. Restore by hand, then: salt-run mitx.rollback"
            " database_restored=True"
        )
    return lines[0]["unapplied"]


def _require_snapshot(run, wanted):
    if wanted["snapshot_required"] and not wanted["snapshot_id"]:
        raise CommandExecutionError(
            "A snapshot of the databases is required before they are migrated. Nothing was"
            " migrated. Take it, then run again with pillar='{mitx: {migrate: {snapshot_id: …}}}'"
        )
    if not wanted["snapshot_id"]:
        return
    since = phases.rolled_back(run)
    taken = events.read(run, "snapshot", id=wanted["snapshot_id"])
    if any(line["time"] < since for line in taken):
        raise CommandExecutionError(
            f"The snapshot {wanted['snapshot_id']} was taken before the window was rolled back at"
            f" {since}, and the site was written to since. Nothing was migrated. Take another one,"
            " then run again with pillar='{mitx: {migrate: {snapshot_id: …}}}'"
        )
    events.write(run, "snapshot", id=wanted["snapshot_id"])


def _orchestrate(run, sls, variables):
    environ = {
        "ENVIRONMENT": run.settings["environment"],
        "VPC_NAME": run.settings["vpc_name"],
        "BUSINESS_UNIT": run.settings["business_unit"],
        "PURPOSES": ",".join(run.settings["purposes"]),
        **variables,
    }
    events.write(run, "existing", stage="before", sls=sls, environ=environ)
    answer = nested.orchestrate(run, sls, environ=environ, pillar=nested.inherited(run))
    stage = "failed" if answer["failures"] else "after"
    events.write(run, "existing", stage=stage, sls=sls)
    return answer["failures"]


def _told(counts):
    return "; ".join(
        f"{purpose} {name}: {number}"
        for purpose, lists in counts.items()
        for name, number in lists.items()
    )
