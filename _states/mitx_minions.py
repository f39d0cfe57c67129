"""
What must be true of the services of a fleet, its queues and its databases
==========================================================================

.. code-block:: yaml

    web processes of the current fleet:
      mitx_minions.stopped:
        - fleet: old
        - parts: [web, systemd]

    databases:
      mitx_minions.migrated: []

``fleet`` as in ``mitx_targets``: ``old``, ``new`` or ``current``. Code and configuration of the hosts: ``mitx_hosts``.
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_minions.run" not in __salt__:
        return False, "The mitx_minions execution module is not loaded"
    return True


def stopped(name, fleet="old", parts=None):
    """
    Ensure that the services of a fleet are stopped, its Salt schedules held, and nothing is under way that would start
    them.

    parts
        Of ``web``, ``workers``, ``systemd``; default all three. With the first two goes the schedule of their hosts.
    """
    ret = _result(name)
    try:
        alive, halted = __salt__["mitx_targets.alive"](fleet)
        wrong, calls = _services(alive, "stopped", parts) if alive else ({}, [])
        _tell_services(ret, wrong, "stopped", f"The {fleet} fleet is stopped{_only(parts)}", calls)
        if halted:
            ret["comment"] += f". Stopped or gone in EC2, so nothing runs there: {', '.join(halted)}"
    except CommandExecutionError as err:
        _failed(ret, err)
        if ret["result"] is False:
            ret["comment"] += "\nA host that cannot be asked counts as stopped once EC2 has stopped it: aws ec2 stop-instances."
    return ret


def still_stopped(name, fleet="old"):
    """
    Require that the services of a fleet are stopped, as they were left. Changes nothing: whoever started one has a reason
    that somebody must know.
    """
    ret = _result(name)
    try:
        alive = __salt__["mitx_targets.alive"](fleet)[0]
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would be looked at: {', '.join(one['name'] for one in alive)}")
            return ret
        found = __salt__["mitx_services.status"]([one["name"] for one in alive]) if alive else {}
        wrong = __salt__["mitx_services.problems"](found, "stopped")
        if wrong:
            raise CommandExecutionError(
                f"The {fleet} fleet was stopped, and is no more, beside the one that serves:\n  - "
                + "\n  - ".join(wrong)
                + f"\nFind out who started it. Run again, it is stopped first: {__salt__['mitx_phase.next_command']()}"
            )
        ret["comment"] = f"The {fleet} fleet is still stopped"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def running(name, fleet="new", parts=None):
    """
    Ensure that the services of a fleet run: every program of supervisord, every systemd service of the role, the Salt
    schedule. Leftovers of an earlier upgrade, which are in the old fleet so that they are stopped with it, are never
    started.

    parts
        Of ``web``, ``workers``, ``systemd``; default all three.
    """
    ret = _result(name)
    try:
        wrong, calls = _services(__salt__["mitx_targets.running"](fleet, serving=True), "running", parts)
        _tell_services(ret, wrong, "running", f"The {fleet} fleet runs{_only(parts)}", calls)
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def restarted(name, fleet="current"):
    """
    Restart every program of a fleet that is not stopped, and ensure that it runs again. What is stopped stays stopped.
    """
    ret = _result(name)
    try:
        minions = __salt__["mitx_targets.running"](fleet, serving=True)
        if __opts__["test"]:
            return _would(ret, {one["name"]: "restarted" for one in minions}, "Would be restarted")
        ret["changes"] = __salt__["mitx_services.restart"]([one["name"] for one in minions])
        quiet = sorted({one["name"] for one in minions} - set(ret["changes"]))
        ret["comment"] = f"Restarted: {', '.join(ret['changes']) or 'nothing'}"
        ret["comment"] += f". Was stopped and is left so: {', '.join(quiet)}" if quiet else ""
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def drained(name):
    """
    Wait until the queue of each purpose is empty (``drain.command`` prints its depth, asked of one worker of the old
    fleet).

    With ``drain.waive`` the wait ends after ``drain.timeout`` too, and the depths are recorded in the run.
    """
    ret = _result(name)
    try:
        settings, fleet = __salt__["mitx_settings.get"](), __salt__["mitx_targets.alive"]("old", serving=True)[0]
        if "start" in __salt__["mitx_phase.record"]():
            ret["comment"] = "The new fleet works the queues already"
            return ret
        if __opts__["test"] and settings["drain"]["command"] and fleet:
            depths = __salt__["mitx_queues.depths"](fleet, settings)
            return _would(ret, {purpose: f"{depth} jobs" for purpose, depth in depths.items() if depth}, "Would be waited for")
        ret["comment"] = __salt__["mitx_queues.drain"](fleet, settings)
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def migrated(name):
    """
    Ensure that nothing is unapplied in the databases of any purpose, while every service of both fleets is stopped and no
    other host of these purposes is alive.

    Where something is: a snapshot id is recorded first (``migrate.snapshot_required``) and the orchestration
    ``migrate.before`` run, once in a window.
    """
    ret = _result(name)
    try:
        settings = __salt__["mitx_settings.get"]()
        old, new = __salt__["mitx_targets.alive"]("old")[0], __salt__["mitx_targets.running"]("new")
        if __opts__["test"]:
            found = __salt__["mitx_migrations.pending"](new, settings)
            return _would(ret, _some(found), "Would be applied")
        _refuse_others(settings)
        __salt__["mitx_migrations.back_up"](old, new, settings)
        ret["changes"] = _some(__salt__["mitx_migrations.migrate"](old, new, settings))
        ret["comment"] = f"Migrated: {', '.join(ret['changes'])}" if ret["changes"] else "Nothing was unapplied"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def not_migrating(name):
    """
    Wait until no migration is at work that an interrupted command has left running on the new fleet.
    """
    ret = _result(name)
    try:
        if "migrate" not in __salt__["mitx_phase.attempted"]():
            ret["comment"] = "No migration was ever begun"
            return ret
        web = [one for one in __salt__["mitx_targets.alive"]("new")[0] if one["role"] == "edx"]
        if web and not __opts__["test"]:
            __salt__["mitx_migrations.await_earlier"](web)
        ret["comment"] = "No migration is at work" if not __opts__["test"] else "Would be waited for, if one is"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def equipped(name, fleet="new"):
    """
    Require that the systemd services of ``services.systemd`` exist on every host of the fleet: one that does not passes for
    stopped, and would fail to start in the night.
    """
    ret = _result(name)
    try:
        absent = __salt__["mitx_services.absent"]([one["name"] for one in __salt__["mitx_targets.running"](fleet)])
        if absent:
            raise CommandExecutionError("\n".join(absent))
        ret["comment"] = "Every service is there"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def listed(name, fleet="new"):
    """
    Require that the commands of ``migrate.pending`` work on the hosts that will migrate: in the window that would be late. Says
    what is unapplied.
    """
    ret = _result(name)
    try:
        found = _some(__salt__["mitx_migrations.pending"](__salt__["mitx_targets.running"](fleet)))
        counts = [f"{sum(map(len, lists.values()))} of {purpose}" for purpose, lists in found.items()]
        ret["comment"] = f"Unapplied: {', '.join(counts) or 'nothing'}"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def _result(name):
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def _failed(ret, err):
    ret.update(result=None if getattr(err, "not_yet", False) else False, changes={}, comment=str(err))


def _would(ret, changes, comment):
    ret.update(changes=changes, result=None if changes else True)
    ret["comment"] = f"{comment}: {', '.join(changes)}" if changes else "Nothing to do"
    return ret


def _only(parts):
    return f" ({', '.join(parts)})" if parts else ""


def _refuse_others(settings):
    others = [f"{one['name']} ({one['id']}) is {one['state']}" for one in __salt__["mitx_fleet.others"](settings)]
    if others:
        raise CommandExecutionError(
            "Of these purposes, and of neither the old nor the new fleet, so that nothing is known of what runs there:\n  - "
            + "\n  - ".join(others)
            + "\nNothing was migrated. Stop or terminate it in EC2, then run again: "
            + __salt__["mitx_phase.next_command"]()
        )


def _services(instances, wanted, parts):
    """``({minion: [what was not as wanted]}, calls)``; now it is, unless this is a dry run, which tells the calls."""
    minions = [one["name"] for one in instances]
    if not __opts__["test"]:
        return __salt__[{"stopped": "mitx_services.stop", "running": "mitx_services.start"}[wanted]](minions, parts), []
    found = __salt__["mitx_services.status"](minions)
    wrong = {minion: __salt__["mitx_services.problems"]({minion: one}, wanted, parts) for minion, one in found.items()}
    wrong = {minion: lines for minion, lines in wrong.items() if lines}
    acted_on = {minion: found[minion] for minion in wrong}
    return wrong, __salt__["mitx_journal.rehearse"]([["mitx_services.act", wanted, acted_on, parts]] if wrong else [])


def _tell_services(ret, wrong, wanted, comment, calls):
    ret["changes"] = {
        minion: {"old": [line.removeprefix(f"{minion}: ") for line in lines], "new": wanted} for minion, lines in wrong.items()
    }
    ret["comment"] = comment
    if __opts__["test"] and wrong:
        lines = [f"Would be {wanted}: {', '.join(wrong)}", *(f"Would call: {call}" for call in calls)]
        ret.update(result=None, comment="\n".join(lines))


def _some(found):
    """Without the lists that are empty."""
    kept = {purpose: {name: some for name, some in lists.items() if some} for purpose, lists in found.items()}
    return {purpose: lists for purpose, lists in kept.items() if lists}
