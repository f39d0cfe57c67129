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
            ret["changes"] = {"run": {"old": None, "new": run}}
            ret["comment"] = f"The run {run} begins"
        if __opts__["test"]:
            ret["result"] = None if ret["changes"] else True
            return ret
        if lock:
            __salt__["mitx_lock.hold"](why=f"upgrade {run}")
        __salt__["mitx_run.begin"](run, why=settings["window"].get("reason") or "")
        __salt__["mitx_run.pin"]("environments_digest", settings["environments_digest"])
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


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
    Wait until a human has said ``salt-run mitx.approve``, at most ``gate.timeout`` seconds. One that was given since the old fleet was
    taken out counts, an earlier one spoke of something else. Without ``gate.required`` nobody is asked.
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
    return __salt__["mitx_run.approved"](gate, since=__salt__["mitx_phase.record"]().get("detach", {}).get("time"))
