"""
What must be true of the hosts of a fleet beside their services: who they are, their code, their
configuration
==============================================================================================================

.. code-block:: yaml

    every new host is at the commit of the release:
      mitx_hosts.at_commit:
        - fleet: new

``fleet`` as in ``fleets``: ``old``, ``new``, ``current`` or ``bases``.
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets, images, instances
from mitx_hosts import ansible, fence, hosts
from mitx_run import change, journal, phases, record
from mitx_run.dunders import __salt__


def answering(run, name, fleet="new"):
    ret = change.result(name)
    try:
        if fleet == "old":
            running, halted = fleets.alive(run, fleet)
        else:
            running, halted = fleets.running(run, fleet), []
        if not running:
            ret["comment"] = f"EC2 has stopped all {len(halted)} instances"
            return ret
        impostors = hosts.identity_mismatches(run, running)
        if impostors:
            raise CommandExecutionError(
                "Not the hosts that they should be:\n  - " + "\n  - ".join(impostors)
            )
        ret["comment"] = f"All {len(running)} minions answer"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def configured(run, name, fleet="new", since=None):
    ret = change.result(name)
    try:
        minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
        since = since or hosts.last_configured(run)
        problems = hosts.unconfigured(run, minions, since)
        if problems:
            # Then the existing deploy has not done what it reported, and is run again.
            journal.write(run, "unconfigured", hosts=problems)
            raise CommandExecutionError(
                "Ansible has not configured these hosts:\n  - "
                + "\n  - ".join(problems)
                + "\nLook at the log named there, on the host; when it is put right, the same"
                " command configures them again."
            )
        ret["comment"] = f"Ansible's recap is clean on {len(minions)} hosts"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def configured_only(run, name, fleet="current"):
    return _act(run, name, fleet, hosts.configure, "configured")


def highstate(run, name, fleet="bases"):
    ret = _act(run, name, fleet, hosts.highstate, "configured")
    return (
        ret
        if ret["result"] is not True
        else {**configured(run, name, fleet), "changes": ret["changes"]}
    )


def redeployed(run, name, fleet="current"):
    ret = change.result(name)
    try:
        minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
        before = hosts.heads(run, minions)
        if run.test:
            return change.would(ret, before, "Would be reset to the tip of origin's release branch")
        after = hosts.redeploy(run, minions)
        ret["changes"] = {
            m: {"old": before[m], "new": sha} for m, sha in after.items() if sha != before[m]
        }
        ret["comment"] = f"{len(after)} hosts are at {next(iter(after.values()))}"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def at_commit(run, name, fleet="new", sha=None):
    ret = change.result(name)
    try:
        sha = sha or record.pinned(run, "release_sha")
        if not sha and run.test:
            ret.update(
                result=None, comment="Not known before release_sha is recorded by an earlier phase"
            )
            return ret
        if not sha:
            raise CommandExecutionError(
                "This run has not recorded the commit of its release (release_sha)"
            )
        heads = hosts.heads(run, [one["name"] for one in fleets.running(run, fleet)])
        wrong = [f"{minion} is at {head}" for minion, head in heads.items() if head != sha]
        if wrong:
            raise CommandExecutionError(f"Not at the release, {sha}:\n  - " + "\n  - ".join(wrong))
        ret["comment"] = f"{len(heads)} hosts are at {sha}"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def launch_date_set(run, name):
    ret = change.result(name)
    try:
        there = [one["name"] for one in _launched(run)]
        if not there:
            ret["comment"] = "Nothing of the new fleet is there yet"
            return ret
        today = __salt__["status.time"]("%Y-%m-%d")
        dates = hosts.launch_dates(run, there)
        ret["changes"] = {
            minion: {"old": date, "new": today}
            for minion, date in dates.items()
            if str(date) != today
        }
        ret["comment"] = f"launch-date of {len(there)} minions is {today}"
        if run.test:
            ret["result"] = None if ret["changes"] else True
        elif ret["changes"]:
            hosts.set_launch_date(run, list(ret["changes"]), today)
    except CommandExecutionError as err:
        change.failed(ret, err)
        ret["comment"] += (
            "\nAn instance whose minion never came up is best destroyed (cloud.destroy, by its"
            " name): the existing deploy launches it anew."
        )
    return ret


def _act(run, name, fleet, function, done):
    ret = change.result(name)
    try:
        minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
        ret["changes"] = dict.fromkeys(minions, done)
        ret["comment"] = f"{len(minions)} hosts"
        if run.test:
            return change.would(ret, ret["changes"], f"Would be {done}")
        function(run, minions)
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def _launched(run):
    pinned = record.pinned(run, "new_fleet")
    if pinned is not None:
        # What is gone is going to be launched anew.
        there = {one["id"] for one in instances.find(run, ids=[one["id"] for one in pinned])}
        return [one for one in pinned if one["id"] in there]
    release = record.pinned(run, "release_number")
    return fleets.new(run, release)["instances"] if release is not None else []


def unfenced(run, name):
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": "Workers are not held here: there is no services:hold",
    }
    try:
        if not fence.configured(run):
            return ret
        fleet = record.pinned(run, "new_fleet")
        if fleet is None and run.test:
            ret.update(
                result=None, comment="Not known before new_fleet is recorded by an earlier phase"
            )
            return ret
        minions = [one["name"] for one in fleet or () if one["role"] == "edx-worker"]
        if not minions:
            raise CommandExecutionError("This run has recorded no worker of a new fleet")
        if run.test:
            ret.update(result=None, comment=f"Would have their queues back: {', '.join(minions)}")
            return ret
        missed = fence.missed(run, minions)
        fence.unfence(run, minions)
        ret["comment"] = f"Have their queues back: {', '.join(minions)}"
        if missed:
            journal.write(run, "not_held", minions=missed)
            ret["comment"] += (
                ". Could not be cut off from them, and may have worked live jobs while they ran:"
                f" {', '.join(missed)}"
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def bases_configured(run, name):
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": "Both recaps are clean: failed=0 unreachable=0",
    }
    try:
        if run.test and phases.statuses(run).get("build", {}).get("status") != "finished":
            ret.update(result=None, comment="Nothing is built yet")
            return ret
        # The job cache forgets within a day, and the images may take longer.
        if images.since_build(run, "bases_configured"):
            return ret
        found = {name: wrong for name, wrong in ansible.of_bases(run).items() if wrong}
        if not found:
            journal.write(run, "bases_configured")
        if found:
            lines = [f"{base}: {line}" for base, wrong in found.items() for line in wrong]
            raise CommandExecutionError(
                "\n".join(
                    [
                        (
                            "The base instances were not configured, and the AMIs were made of them"
                            " all the same:"
                        ),
                        *lines,
                        images.build_again(run.settings, images.release_number(run)),
                    ]
                )
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
