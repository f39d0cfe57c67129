"""
The run record: begun, and approved by a human
==============================================
"""

from salt.exceptions import CommandExecutionError

from mitx_run import folders, journal, lock, phases, record, settings, wait
from mitx_site import dns


def started(run, name, begin=True, exclusive=True):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        run_id = folders.use(run, record.identify(run))
        known = record.read(run, run_id)
        if known:
            ret["comment"] = (
                f"Going on with the run {run_id}, begun by {known['by']} at {known['began']}"
            )
        elif not begin:
            raise CommandExecutionError(
                f"The run {run_id} has not begun: nothing is recorded that this could work on."
                " Nothing was changed."
            )
        else:
            _refuse_while_closed(run, run_id)
            ret["changes"] = {"run": {"old": None, "new": run_id}}
            ret["comment"] = f"The run {run_id} begins"
        if run.test:
            ret["result"] = None if ret["changes"] else True
            return ret
        if exclusive:
            lock.acquire(run, why=f"upgrade {run_id}")
        record.begin(run, run_id, why=run.settings["window"].get("reason") or "")
        settings.save_current(run)
        # That it is still the same is asked before each of the existing orchestrations: going back
        # must not depend on it.
        if record.pinned(run, "environments_digest") is None:
            record.pin(run, "environments_digest", run.settings["environments_digest"])
    except CommandExecutionError as err:
        phases.block(run, "the beginning of the run")
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def resumed(run, name):
    try:
        begun = record.read(run, record.identify(run))
    except CommandExecutionError as err:
        return {"name": name, "result": False, "changes": {}, "comment": str(err)}
    return started(run, name, begin=False) if begun else locked(run, name)


def locked(run, name, force=False):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if run.test:
        return ret
    try:
        holder = lock.locked_by(run)
        if force and holder and not holder["mine"]:
            journal.write(run, "forced", holder=holder)
            ret["comment"] = (
                f"Held by {holder['by']}, process {holder['pid']}; going on all the same, as was"
                " said"
            )
            return ret
        held_by = lock.acquire(run, why=name)
        ret["comment"] = f"Held by process {held_by['pid']} since {held_by['since']}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def approved(run, name, gate="verify"):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        if not run.settings["gate"]["required"]:
            ret["comment"] = "Nobody is asked: gate:required is false"
            return ret
        found = _approval(run, gate)
        if not found and run.test:
            ret.update(result=None, comment="Would wait for: salt-run mitx.approve")
            return ret
        found = found or _wait(run, gate)
        ret["comment"] = f"Approved by {found['by']} at {found['time']}" + (
            f": {found['note']}" if found["note"] else ""
        )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _refuse_while_closed(run, run_id):
    """
    A window that was edited while it is open would be another run, which knows nothing of what this
    one has begun.
    """
    for other in record.runs(run):
        known = phases.statuses(run, other["id"])
        unopened = "close" in known and known.get("open", {}).get("status") != "finished"
        unopened = other["id"] != run_id and (unopened or phases.rolling_back(run, other["id"]))
        # A close that was refused has closed nothing.
        if unopened and any(known["shows"] == "maintenance" for known in dns.records(run).values()):
            raise CommandExecutionError(
                f"The run {other['id']} has closed the site and not opened it, {run_id} would be"
                " another one. Nothing was changed. Put back what names a run (window:start,"
                " purposes, codename, release:onto), and finish it or take it back: salt-run"
                " state.orchestrate orchestrate.mitx.window, or salt-run mitx.rollback"
            )


def _wait(run, gate):
    phases.mark(run, gate, "waiting", command="salt-run mitx.approve")
    timeout = run.settings["gate"]["timeout"]
    try:
        look = lambda: (bool(_approval(run, gate)), "nobody has")  # noqa: E731
        wait.until(run, look, timeout, 1, "Approved", waits_for="approval")
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"Nobody has approved within {timeout} s. Visitors still see the maintenance page, the"
            " new fleet is in the load balancers. Look at the site, say `salt-run mitx.approve`,"
            " then run the same command again."
        ) from err
    return _approval(run, gate)


def _approval(run, gate):
    known = phases.statuses(run)
    looked_at = [
        known[phase]["time"] for phase in ("start", "attach", "detach", "open") if phase in known
    ]
    return record.approved(run, gate, since=max(looked_at, default=""))
