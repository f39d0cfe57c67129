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
from mitx_hosts import ansible, fence, hosts, jobs
from mitx_run import change, events, phases, record
from mitx_run.dunders import __salt__

_NEVER_UP = (
    "An instance whose minion never came up is best destroyed (cloud.destroy, by its name): the"
    " existing deploy launches it anew."
)


@change.state
def answering(run, ret, fleet="new"):
    if fleet == "old":
        running, halted = fleets.alive(run, fleet)
    else:
        running, halted = fleets.running(run, fleet), []
    if not running:
        ret["comment"] = f"EC2 has stopped all {len(halted)} instances"
        return
    impostors = hosts.identity_mismatches(run, running)
    if impostors:
        raise CommandExecutionError(
            "Not the hosts that they should be:\n  - " + "\n  - ".join(impostors)
        )
    ret["comment"] = f"All {len(running)} minions answer"


@change.state
def cloud_idle(run, ret):
    if not jobs.of_master(run, "test.ping"):
        raise CommandExecutionError(
            "The master's own minion (grain roles: master) does not answer, so nobody can tell what"
            " Salt Cloud does. Nothing was changed. Start it, then run the same command again"
        )
    if not run.test:
        jobs.await_cloud(run)
    ret["comment"] = "Salt Cloud is idle" if not run.test else "Would be waited for, if it works"


@change.state
def configured(run, ret, fleet="new", since=None):
    _require_configured(run, ret, fleet, since)


@change.state
def configured_only(run, ret, fleet="current"):
    _act(run, ret, fleet, hosts.configure)


@change.state
def highstate(run, ret, fleet="bases"):
    _act(run, ret, fleet, hosts.highstate)
    if not run.test:
        _require_configured(run, ret, fleet)


@change.state
def smoke_tested(run, ret, fleet="new"):
    names = ", ".join(run.settings["smoke"]["states"])
    if not names:
        ret["comment"] = "No states test the hosts: smoke.states is empty"
        return
    if run.test:
        change.unknown(ret, f"Would be applied to the {fleet} fleet: {names}")
        return
    answers = hosts.smoke_test(run, [one["name"] for one in fleets.running(run, fleet)])
    count = sum(map(len, answers.values()))
    ret["comment"] = f"{names}: all {count} states of {len(answers)} hosts succeeded"


@change.state
def redeployed(run, ret, fleet="current"):
    minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
    before = hosts.heads(run, minions)
    if run.test:
        change.would(ret, before, "Would be reset to the tip of origin's release branch")
        return
    after = hosts.redeploy(run, minions)
    ret["changes"] = {
        m: {"old": before[m], "new": sha} for m, sha in after.items() if sha != before[m]
    }
    ret["comment"] = f"{len(after)} hosts are at {next(iter(after.values()))}"


@change.state
def at_commit(run, ret, fleet="new", sha=None):
    sha = sha or record.pinned(run, "release_sha")
    if not sha and run.test:
        ret.update(
            result=None, comment="Not known before release_sha is recorded by an earlier phase"
        )
        return
    if not sha:
        raise CommandExecutionError(
            "This run has not recorded the commit of its release (release_sha)"
        )
    heads = hosts.heads(run, [one["name"] for one in fleets.running(run, fleet)])
    wrong = [f"{minion} is at {head}" for minion, head in heads.items() if head != sha]
    if wrong:
        raise CommandExecutionError(f"Not at the release, {sha}:\n  - " + "\n  - ".join(wrong))
    ret["comment"] = f"{len(heads)} hosts are at {sha}"


@change.state
def launch_date_set(run, ret):
    there = [one["name"] for one in _launched(run)]
    if not there:
        ret["comment"] = "Nothing of the new fleet is there yet"
        return
    with change.advice(_NEVER_UP):
        today = __salt__["status.time"]("%Y-%m-%d")
        changes = {
            minion: {"old": date, "new": today}
            for minion, date in hosts.launch_dates(run, there).items()
            if str(date) != today
        }
        if run.test:
            change.tell(ret, changes, f"launch-date of {len(there)} minions would be {today}")
            return
        if changes:
            hosts.set_launch_date(run, list(changes), today)
    ret["changes"] = changes
    ret["comment"] = f"launch-date of {len(there)} minions is {today}"


def _act(run, ret, fleet, function):
    minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
    changes = dict.fromkeys(minions, "configured")
    if run.test:
        change.would(ret, changes, "Would be configured")
        return
    function(run, minions)
    ret["changes"] = changes
    ret["comment"] = f"{len(minions)} hosts"


def _require_configured(run, ret, fleet, since=None):
    minions = [one["name"] for one in fleets.running(run, fleet, serving=True)]
    problems = hosts.unconfigured(run, minions, since or hosts.last_configured(run))
    if problems:
        # Then the existing deploy has not done what it reported, and is run again.
        events.write(run, "unconfigured", hosts=problems)
        raise CommandExecutionError(
            "Ansible has not configured these hosts:\n  - "
            + "\n  - ".join(problems)
            + "\nLook at the log named there, on the host; when it is put right, the same command"
            " configures them again."
        )
    ret["comment"] = f"Ansible's recap is clean on {len(minions)} hosts"


def _launched(run):
    pinned = record.pinned(run, "new_fleet")
    if pinned is not None:
        # What is gone is going to be launched anew.
        found = instances.find(run, ids=[one["id"] for one in pinned])
        there = {instance["id"] for instance in found}
        return [one for one in pinned if one["id"] in there]
    release = record.pinned(run, "release_number")
    return fleets.new(run, release)["instances"] if release is not None else []


@change.state
def unfenced(run, ret):
    ret["comment"] = "Workers are not held here: there is no services:hold"
    if not fence.configured(run):
        return
    fleet = record.pinned(run, "new_fleet")
    if fleet is None and run.test:
        ret.update(
            result=None, comment="Not known before new_fleet is recorded by an earlier phase"
        )
        return
    minions = [one["name"] for one in fleet or () if one["role"] == "edx-worker"]
    if not minions:
        raise CommandExecutionError("This run has recorded no worker of a new fleet")
    if run.test:
        ret.update(result=None, comment=f"Would have their queues back: {', '.join(minions)}")
        return
    missed = fence.missed(run, minions)
    fence.unfence(run, minions)
    ret["comment"] = f"Have their queues back: {', '.join(minions)}"
    if missed:
        events.write(run, "not_held", minions=missed)
        ret["comment"] += (
            ". Could not be cut off from them, and may have worked live jobs while they ran:"
            f" {', '.join(missed)}"
        )


@change.state
def bases_configured(run, ret):
    ret["comment"] = "Both recaps are clean: failed=0 unreachable=0"
    if run.test and phases.statuses(run).get("build", {}).get("status") != "finished":
        ret.update(result=None, comment="Nothing is built yet")
        return
    # The job cache forgets within a day, and the images may take longer.
    if images.since_build(run, "bases_configured"):
        return
    found = {name: wrong for name, wrong in ansible.of_bases(run).items() if wrong}
    if not found:
        events.write(run, "bases_configured")
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
