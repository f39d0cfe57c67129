"""
The run record: begun, and approved by a human
==============================================
"""

from salt.exceptions import CommandExecutionError

from mitx_run import change, events, folders, lock, nested, phases, record, settings
from mitx_site import dns
from mitx_upgrade import approval, go_ahead


def started(run, name, begin=True, exclusive=True):
    nested.tell_once()
    ret = _started(run, name, begin=begin, exclusive=exclusive)
    if ret["result"] is False:
        phases.block(run, "the beginning of the run")
    return ret


def resumed(run, name):
    try:
        begun = record.read(run, record.identify(run))
    except CommandExecutionError as err:
        return {**change.result(name), "result": False, "comment": str(err)}
    return started(run, name, begin=False) if begun else locked(run, name)


started.is_state = resumed.is_state = True


@change.state
def _started(run, ret, begin, exclusive):
    run_id = folders.use(run, record.identify(run))
    known = record.read(run, run_id)
    if not known and not begin:
        raise CommandExecutionError(
            f"The run {run_id} has not begun: nothing is recorded that this could work on."
            " Nothing was changed."
        )
    if not known:
        _refuse_while_closed(run, run_id)
    changes = {} if known else {"run": {"old": None, "new": run_id}}
    comment = (
        f"Continuing the run {run_id}, started by {known['by']} at {known['began']}"
        if known
        else f"The run {run_id} begins"
    )
    if run.test:
        # Perhaps the master's configuration says test: true, and nobody else.
        change.tell(ret, changes, f"A dry run (test=True), nothing is changed. {comment}")
        return
    if exclusive:
        lock.acquire(run, why=f"upgrade {run_id}")
    record.begin(run, run_id, why=run.settings["window"].get("reason") or "")
    settings.save_current(run)
    # That it is still the same is asked before each of the existing orchestrations: going back
    # must not depend on it.
    if record.pinned(run, "environments_digest") is None:
        record.pin(run, "environments_digest", run.settings["environments_digest"])
    ret.update(changes=changes, comment=comment)


@change.state
def locked(run, ret, force=False):
    nested.tell_once()
    if run.test:
        return
    found = lock.locked_by(run)
    if force and found and not found["mine"]:
        events.write(run, "forced", holder=found)
        ret["comment"] = (
            f"Locked by {found['by']}, process {found['pid']}; continuing anyway (force=True)"
        )
        return
    mine = lock.acquire(run, why=ret["name"])
    ret["comment"] = f"Locked by process {mine['pid']} since {mine['since']}"


@change.state
def approved(run, ret, gate="verify"):
    if not run.settings["gate"]["required"]:
        ret["comment"] = "Nobody is asked: gate:required is false"
        return
    found = approval.given(run, gate)
    if not found and run.test:
        ret.update(result=None, comment="Would wait for: salt-run mitx.approve")
        return
    found = found or approval.wait_for(run, gate)
    ret["comment"] = f"Approved by {found['by']} at {found['time']}" + (
        f": {found['note']}" if found["note"] else ""
    )


@change.state
def rehearsed(run, ret):
    sentence = go_ahead.unrehearsed(run)
    if sentence:
        raise CommandExecutionError(sentence)
    ret["comment"] = "Rehearsed, or need not be"


@change.state
def allowed(run, ret):
    unrehearsed, unapproved = go_ahead.unrehearsed(run), go_ahead.unapproved(run)
    if run.test and unapproved and not unrehearsed:
        change.unknown(ret, unapproved)
        return
    found = [sentence for sentence in (unrehearsed, unapproved) if sentence]
    if found:
        raise CommandExecutionError("\n".join(["Nothing was changed.", *found]))
    given = go_ahead.approved(run)
    asked = run.settings["gate"]["before_window"]
    ret["comment"] = f"Approved by {given['by']} at {given['time']}" if asked else "Nobody is asked"


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
