"""
What must be true of the hosts of a fleet beside their services: who they are, their code, their configuration
==============================================================================================================

.. code-block:: yaml

    every new host is at the commit of the release:
      mitx_hosts.at_commit:
        - fleet: new

``fleet`` as in ``mitx_targets``: ``old``, ``new``, ``current`` or ``bases``.
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_hosts.heads" not in __salt__:
        return False, "The mitx_hosts execution module is not loaded"
    return True


def answering(name, fleet="new"):
    """
    Require that the minion of every instance of the fleet answers, and is what the instance is tagged. Of the old fleet those
    that EC2 has stopped have no say.
    """
    ret = _result(name)
    try:
        if fleet == "old":
            running, halted = __salt__["mitx_targets.alive"](fleet)
        else:
            running, halted = __salt__["mitx_targets.running"](fleet), []
        if not running:
            ret["comment"] = f"EC2 has stopped all {len(halted)} instances"
            return ret
        impostors = __salt__["mitx_hosts.impostors"](running)
        if impostors:
            raise CommandExecutionError("Not the hosts that they should be:\n  - " + "\n  - ".join(impostors))
        ret["comment"] = f"All {len(running)} minions answer"
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
        minions = [one["name"] for one in __salt__["mitx_targets.running"](fleet, serving=True)]
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
        minions = [one["name"] for one in __salt__["mitx_targets.running"](fleet, serving=True)]
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
        if not sha and __opts__["test"]:
            ret.update(result=None, comment="Not known before release_sha is recorded by an earlier phase")
            return ret
        if not sha:
            raise CommandExecutionError("This run has not recorded the commit of its release (release_sha)")
        heads = __salt__["mitx_hosts.heads"]([one["name"] for one in __salt__["mitx_targets.running"](fleet)])
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
    ret.update(result=None if getattr(err, "not_yet", False) else False, changes={}, comment=str(err))


def _would(ret, changes, comment):
    ret.update(changes=changes, result=None if changes else True)
    ret["comment"] = f"{comment}: {', '.join(changes)}" if changes else "Nothing to do"
    return ret


def _act(name, fleet, function, done):
    ret = _result(name)
    try:
        minions = [one["name"] for one in __salt__["mitx_targets.running"](fleet, serving=True)]
        ret["changes"] = dict.fromkeys(minions, done)
        ret["comment"] = f"{len(minions)} hosts"
        if __opts__["test"]:
            return _would(ret, ret["changes"], f"Would be {done}")
        __salt__[function](minions)
    except CommandExecutionError as err:
        _failed(ret, err)
    return ret


def _launched():
    pinned = __salt__["mitx_run.pinned"]("new_fleet")
    if pinned is not None:
        # What is gone is going to be launched anew.
        there = {one["id"] for one in __salt__["mitx_fleet.find"](ids=[one["id"] for one in pinned])}
        return [one for one in pinned if one["id"] in there]
    release = __salt__["mitx_run.pinned"]("release_number")
    return __salt__["mitx_fleet.new"](None, release)["instances"] if release is not None else []
