"""
The run record: begun, and approved by a human
==============================================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_run.begin" not in __salt__:
        return False, "The mitx_run execution module is not loaded"
    return True


def opened(name, begin=True, lock=True):
    """
    Begin the run that the settings name, or go on with it, and hold its environment until this process ends. With ``begin: False``
    it must have begun. With ``lock: False`` somebody else may hold it, the window that this is said about.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        settings = __salt__["mitx_settings.get"]()
        run = __salt__["mitx_run.use"](__salt__["mitx_run.identify"](settings))
        record = __salt__["mitx_run.read"](run)
        if record:
            ret["comment"] = f"Going on with the run {run}, begun by {record['by']} at {record['began']}"
        elif not begin:
            raise CommandExecutionError(
                f"The run {run} has not begun: nothing is recorded that this could work on. Nothing was changed."
            )
        else:
            _refuse_while_closed(settings, run)
            ret["changes"] = {"run": {"old": None, "new": run}}
            ret["comment"] = f"The run {run} begins"
        if __opts__["test"]:
            ret["result"] = None if ret["changes"] else True
            return ret
        if lock:
            __salt__["mitx_lock.hold"](why=f"upgrade {run}")
        __salt__["mitx_run.begin"](run, why=settings["window"].get("reason") or "")
        __salt__["mitx_settings.keep"]()
        # That it is still the same is asked before each of the existing orchestrations: going back must not depend on it.
        if __salt__["mitx_run.pinned"]("environments_digest") is None:
            __salt__["mitx_run.pin"]("environments_digest", settings["environments_digest"])
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def joined(name):
    """
    Go on with the run that the settings name if it has begun; else hold the environment for a command outside of any run.
    """
    try:
        begun = __salt__["mitx_run.read"](__salt__["mitx_run.identify"](__salt__["mitx_settings.get"]()))
    except CommandExecutionError as err:
        return {"name": name, "result": False, "changes": {}, "comment": str(err)}
    return opened(name, begin=False) if begun else held(name)


def held(name, force=False):
    """
    Hold the environment for a command of its own, outside of any run, until this process ends. With ``force`` go on although
    somebody else holds it.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if __opts__["test"]:
        return ret
    try:
        holder = __salt__["mitx_lock.holder"]()
        if force and holder and not holder["mine"]:
            __salt__["mitx_journal.write"]("forced", holder=holder)
            ret["comment"] = f"Held by {holder['by']}, process {holder['pid']}; going on all the same, as was said"
            return ret
        held_by = __salt__["mitx_lock.hold"](why=name)
        ret["comment"] = f"Held by process {held_by['pid']} since {held_by['since']}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def approved(name, gate="verify"):
    """
    Wait until a human has said ``salt-run mitx.approve``, at most ``gate.timeout`` seconds. One that was given since the fleets were
    last swapped, or the site last opened, counts: an earlier one spoke of something else. Without ``gate.required`` nobody is asked.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        settings = __salt__["mitx_settings.get"]()
        if not settings["gate"]["required"]:
            ret["comment"] = "Nobody is asked: gate:required is false"
            return ret
        found = _approval(gate)
        if not found and __opts__["test"]:
            ret.update(result=None, comment="Would wait for: salt-run mitx.approve")
            return ret
        found = found or _wait(settings, gate)
        ret["comment"] = f"Approved by {found['by']} at {found['time']}" + (f": {found['note']}" if found["note"] else "")
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _refuse_while_closed(settings, run):
    """A window that was edited while it is open would be another run, which knows nothing of what this one has begun."""
    for other in __salt__["mitx_run.runs"]():
        record = __salt__["mitx_phase.record"](other["id"])
        unopened = "close" in record and record.get("open", {}).get("status") != "finished"
        unopened = other["id"] != run and (unopened or __salt__["mitx_phase.rolling_back"](other["id"]))
        # A close that was refused has closed nothing.
        if unopened and any(record["shows"] == "maintenance" for record in __salt__["mitx_dns.records"](settings).values()):
            raise CommandExecutionError(
                f"The run {other['id']} has closed the site and not opened it, {run} would be another one. Nothing was changed. Put back what "
                "names a run (window:start, purposes, codename, release:onto), and finish it or take it back: "
                "salt-run state.orchestrate orchestrate.mitx.window, or salt-run mitx.rollback"
            )


def _wait(settings, gate):
    __salt__["mitx_phase.mark"](gate, "waiting", command="salt-run mitx.approve")
    timeout = settings["gate"]["timeout"]
    try:
        look = lambda: (bool(_approval(gate)), "nobody has")  # noqa: E731
        __salt__["mitx_run.wait_until"](look, timeout, 1, "Approved", waits_for="approval")
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"Nobody has approved within {timeout} s. Visitors still see the maintenance page, the new fleet is in the load balancers. "
            "Look at the site, say `salt-run mitx.approve`, then run the same command again."
        ) from err
    return _approval(gate)


def _approval(gate):
    record = __salt__["mitx_phase.record"]()
    looked_at = [record[phase]["time"] for phase in ("start", "attach", "detach", "open") if phase in record]
    return __salt__["mitx_run.approved"](gate, since=max(looked_at, default=""))
