"""
What must be true on the hosts of a fleet
=========================================

.. code-block:: yaml

    web processes of the current fleet:
      mitx_minions.stopped:
        - fleet: old
        - parts: [web, systemd]

    databases:
      mitx_minions.migrated: []

``fleet`` is ``old`` or ``new`` (as the run recorded them), ``current`` (what serves now) or ``bases`` (the base
instances). An instance that EC2 has stopped runs nothing: it counts as stopped, and cannot count as running.
"""

from salt.exceptions import CommandExecutionError


class _NotYet(CommandExecutionError):
    """What a dry run cannot know: a phase before this one would have recorded it."""


def __virtual__():
    if "mitx_minions.run" not in __salt__:
        return False, "The mitx_minions execution module is not loaded"
    return True


def answering(name, fleet="new"):
    """
    Require that the minion of every instance of the fleet answers, and is what the instance is tagged. Of the old fleet those
    that EC2 has stopped have no say.
    """
    ret = _result(name)
    try:
        instances = _instances(fleet)
        running = _alive(instances)[0] if fleet == "old" else _running(instances)
        if not running:
            ret["comment"] = f"EC2 has stopped all {len(instances)} instances"
            return ret
        impostors = __salt__["mitx_minions.impostors"](running)
        if impostors:
            raise CommandExecutionError("Not the hosts that they should be:\n  - " + "\n  - ".join(impostors))
        ret["comment"] = f"All {len(running)} minions answer"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def stopped(name, fleet="old", parts=None):
    """
    Ensure that the services of a fleet are stopped, its Salt schedules held, and nothing is under way that would start
    them.

    parts
        Of ``web``, ``workers``, ``systemd``; default all three. With the first two goes the schedule of their hosts.
    """
    ret = _result(name)
    try:
        alive, halted = _alive(_instances(fleet))
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
        alive = _alive(_instances(fleet))[0]
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
        wrong, calls = _services(_running(_serving(_instances(fleet))), "running", parts)
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
        minions = _running(_serving(_instances(fleet)))
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
        settings, fleet = __salt__["mitx_settings.get"](), _alive(_serving(_instances("old")))[0]
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
        old, new = _alive(_instances("old"))[0], _running(_instances("new"))
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
        web = [one for one in _alive(_instances("new"))[0] if one["role"] == "edx"]
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
        absent = __salt__["mitx_services.absent"]([one["name"] for one in _running(_instances(fleet))])
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
        found = _some(__salt__["mitx_migrations.pending"](_running(_instances(fleet))))
        counts = [f"{sum(map(len, lists.values()))} of {purpose}" for purpose, lists in found.items()]
        ret["comment"] = f"Unapplied: {', '.join(counts) or 'nothing'}"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def configured(name, fleet="new", since=None):
    """
    Ensure that Ansible's last PLAY RECAP is clean on every host of a fleet.

    since
        UTC, ISO 8601: an older log does not count. Default: when these hosts were last begun to be configured.
    """
    ret = _result(name)
    try:
        minions = [one["name"] for one in _running(_serving(_instances(fleet)))]
        since = since or __salt__["mitx_hosts.last_configured"]()
        problems = __salt__["mitx_hosts.unconfigured"](minions, since)
        if problems:
            # Then the existing deploy has not done what it reported, and is run again.
            __salt__["mitx_journal.write"]("unconfigured", hosts=problems)
            raise CommandExecutionError(
                "Ansible has not configured these hosts:\n  - "
                + "\n  - ".join(problems)
                + "\nLook at the log named there, on the host; when it is put right, the same command configures them again."
            )
        ret["comment"] = f"Ansible's recap is clean on {len(minions)} hosts"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def configured_only(name, fleet="current"):
    """
    Update the configuration of a fleet by Ansible, without code. What Ansible said is the business of ``configured``.
    """
    return _act(name, fleet, "mitx_hosts.configure", "configured")


def highstate(name, fleet="bases"):
    """
    Apply the highstate to a fleet, the base instances for one, with the pillar of a build, and require that Ansible's
    recap is clean.
    """
    ret = _act(name, fleet, "mitx_hosts.highstate", "configured")
    return ret if ret["result"] is not True else {**configured(name, fleet), "changes": ret["changes"]}


def redeployed(name, fleet="current"):
    """
    Ensure that the code of a fleet is the tip of origin's release branch. Processes notice after a restart only.
    """
    ret = _result(name)
    try:
        minions = [one["name"] for one in _running(_serving(_instances(fleet)))]
        before = __salt__["mitx_hosts.heads"](minions)
        if __opts__["test"]:
            return _would(ret, before, "Would be reset to the tip of origin's release branch")
        after = __salt__["mitx_hosts.redeploy"](minions)
        ret["changes"] = {m: {"old": before[m], "new": sha} for m, sha in after.items() if sha != before[m]}
        ret["comment"] = f"{len(after)} hosts are at {next(iter(after.values()))}"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def at_commit(name, fleet="new", sha=None):
    """
    Ensure that a commit is checked out on every host of a fleet; default: the one that the run recorded as its release.
    """
    ret = _result(name)
    try:
        sha = sha or __salt__["mitx_run.pinned"]("release_sha")
        if not sha:
            _require_recorded("release_sha")
            raise CommandExecutionError("This run has not recorded the commit of its release (release_sha)")
        heads = __salt__["mitx_hosts.heads"]([one["name"] for one in _running(_instances(fleet))])
        wrong = [f"{minion} is at {head}" for minion, head in heads.items() if head != sha]
        if wrong:
            raise CommandExecutionError(f"Not at the release, {sha}:\n  - " + "\n  - ".join(wrong))
        ret["comment"] = f"{len(heads)} hosts are at {sha}"
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def launch_date_set(name):
    """
    Ensure that what there is of the new fleet bears today as its grain ``launch-date``: the existing deploy, run again
    on another day, would launch nothing, configure nothing, and succeed.
    """
    ret = _result(name)
    try:
        there = [one["name"] for one in _launched()]
        if not there:
            ret["comment"] = "Nothing of the new fleet is there yet"
            return ret
        today = __salt__["status.time"]("%Y-%m-%d")
        dates = __salt__["mitx_hosts.launch_dates"](there)
        ret["changes"] = {minion: {"old": date, "new": today} for minion, date in dates.items() if str(date) != today}
        ret["comment"] = f"launch-date of {len(there)} minions is {today}"
        if __opts__["test"]:
            ret["result"] = None if ret["changes"] else True
        elif ret["changes"]:
            __salt__["mitx_hosts.set_launch_date"](list(ret["changes"]), today)
    except CommandExecutionError as err:
        _failed(ret, err)
        ret["comment"] += (
            "\nAn instance whose minion never came up is best destroyed (cloud.destroy, by its name): the existing deploy launches it anew."
        )
    return ret


def _result(name):
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def _failed(ret, err):
    ret.update(result=None if isinstance(err, _NotYet) else False, changes={}, comment=str(err))


def _would(ret, changes, comment):
    ret.update(changes=changes, result=None if changes else True)
    ret["comment"] = f"{comment}: {', '.join(changes)}" if changes else "Nothing to do"
    return ret


def _only(parts):
    return f" ({', '.join(parts)})" if parts else ""


def _act(name, fleet, function, done):
    ret = _result(name)
    try:
        minions = [one["name"] for one in _running(_serving(_instances(fleet)))]
        ret["changes"] = dict.fromkeys(minions, done)
        ret["comment"] = f"{len(minions)} hosts"
        if __opts__["test"]:
            return _would(ret, ret["changes"], f"Would be {done}")
        __salt__[function](minions)
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def _instances(fleet):
    settings = __salt__["mitx_settings.get"]()
    if fleet == "current":
        return __salt__["mitx_fleet.current"](settings)
    if fleet == "bases":
        names = list(settings["base_instances"].values())
        there = __salt__["mitx_fleet.find"](names=names)
        missing = sorted(set(names) - {one["name"] for one in there})
        if missing:
            raise CommandExecutionError(f"The base instances {', '.join(missing)} do not exist: there is no build to resume")
        return there
    _require_recorded(f"{fleet}_fleet")
    return __salt__["mitx_fleet.recorded"](fleet)


def _refuse_others(settings):
    others = [f"{one['name']} ({one['id']}) is {one['state']}" for one in __salt__["mitx_fleet.others"](settings)]
    if others:
        raise CommandExecutionError(
            "Of these purposes, and of neither the old nor the new fleet, so that nothing is known of what runs there:\n  - "
            + "\n  - ".join(others)
            + "\nNothing was migrated. Stop or terminate it in EC2, then run again: "
            + __salt__["mitx_phase.next_command"]()
        )


def _require_recorded(fact):
    if __opts__["test"] and __salt__["mitx_run.pinned"](fact) is None:
        raise _NotYet(f"Not known before {fact} is recorded by an earlier phase")


def _serving(instances):
    return [one for one in instances if one.get("serves", True)]


def _launched():
    pinned = __salt__["mitx_run.pinned"]("new_fleet")
    if pinned is not None:
        # What is gone is going to be launched anew.
        there = {one["id"] for one in __salt__["mitx_fleet.find"](ids=[one["id"] for one in pinned])}
        return [one for one in pinned if one["id"] in there]
    release = __salt__["mitx_run.pinned"]("release_number")
    return __salt__["mitx_fleet.new"](None, release)["instances"] if release is not None else []


def _alive(instances):
    """``(instances that run, names of those that EC2 has stopped or terminated)``."""
    there = {one["id"]: one["state"] for one in __salt__["mitx_fleet.find"](ids=[one["id"] for one in instances])}
    halted = [one["name"] for one in instances if there.get(one["id"], "terminated") in ("stopped", "terminated")]
    return [one for one in instances if one["name"] not in halted], halted


def _running(instances):
    if not instances:
        raise CommandExecutionError("There is no such instance: the fleet is empty")
    alive, halted = _alive(instances)
    if halted:
        raise CommandExecutionError(
            f"Stopped or gone in EC2: {', '.join(halted)}. Start what is stopped (aws ec2 start-instances), then run again. What is gone "
            "of the new fleet, orchestrate.mitx.prepare launches anew, before the window or after salt-run mitx.rollback."
        )
    return alive


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
