"""
What must be true of the services of a fleet, its queues and its databases
==========================================================================

.. code-block:: yaml

    web processes of the current fleet:
      mitx_hosts.stopped:
        - fleet: old
        - parts: [web, systemd]

    databases:
      mitx_hosts.migrated: []

``fleet`` as in ``fleets``: ``old``, ``new`` or ``current``. Code and configuration of the hosts:
``mitx_hosts``.
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets, swap
from mitx_hosts import backups, migrations, queues, saving, schedules, services
from mitx_run import change, phases

_HALT = (
    "A host that does not answer counts as stopped once EC2 has stopped it: aws ec2 stop-instances."
)


@change.state
def stopped(run, ret, fleet="old", parts=None, serving=None):
    if serving is not None and swap.serves(run, fleet) is not serving:
        holds = "A load balancer holds" if serving is False else "No load balancer holds"
        ret["comment"] = f"{holds} an instance of the {fleet} fleet: it is left as it is, here"
        return
    alive, halted = fleets.alive(run, fleet)
    if alive:
        with change.advice(_HALT):
            _bring(run, ret, alive, "stopped", parts)
    ret["comment"] = ret["comment"] or f"The {fleet} fleet is stopped{_only(parts)}"
    if halted:
        ret["comment"] += f". Stopped or gone in EC2, so nothing runs there: {', '.join(halted)}"


@change.state
def still_stopped(run, ret, fleet="old"):
    alive = fleets.alive(run, fleet)[0]
    if run.test:
        ret.update(
            result=None,
            comment=f"Would be looked at: {', '.join(one['name'] for one in alive)}",
        )
        return
    found = services.status(run, [one["name"] for one in alive]) if alive else {}
    wrong = services.problems(found, "stopped")
    if wrong:
        raise CommandExecutionError(
            f"The {fleet} fleet was stopped, and its services are running again beside the one that"
            " serves:\n  - "
            + "\n  - ".join(wrong)
            + "\nFind out who started it. Run again, it is stopped first:"
            f" {phases.next_command(run)}"
        )
    ret["comment"] = f"The {fleet} fleet is still stopped"


@change.state
def running(run, ret, fleet="new", parts=None):
    _bring(run, ret, fleets.running(run, fleet, serving=True), "running", parts)
    ret["comment"] = ret["comment"] or f"The {fleet} fleet runs{_only(parts)}"


@change.state
def restarted(run, ret, fleet="current"):
    minions = fleets.running(run, fleet, serving=True)
    if run.test:
        change.would(ret, {one["name"]: "restarted" for one in minions}, "Would be restarted")
        return
    ret["changes"] = services.restart(run, [one["name"] for one in minions])
    quiet = sorted({one["name"] for one in minions} - set(ret["changes"]))
    ret["comment"] = f"Restarted: {', '.join(ret['changes']) or 'nothing'}"
    ret["comment"] += f". Was stopped and is left so: {', '.join(quiet)}" if quiet else ""


@change.state
def drained(run, ret):
    fleet = fleets.alive(run, "old", serving=True)[0]
    if "start" in phases.statuses(run):
        ret["comment"] = "The new fleet works the queues already"
        return
    if run.test and run.settings["drain"]["command"] and fleet:
        depths = queues.depths(run, fleet)
        change.would(
            ret,
            {purpose: f"{depth} jobs" for purpose, depth in depths.items() if depth},
            "Would be waited for",
        )
        return
    ret["comment"] = queues.drain(run, fleet)


@change.state
def migrated(run, ret):
    old, new = fleets.alive(run, "old")[0], fleets.running(run, "new")
    if run.test:
        found = migrations.pending(run, new)
        change.would(ret, _some(found), "Would be applied")
        return
    _refuse_others(run)
    backups.back_up(run, old, new)
    ret["changes"] = _some(migrations.migrate(run, old, new))
    ret["comment"] = (
        f"Migrated: {', '.join(ret['changes'])}" if ret["changes"] else "Nothing was unapplied"
    )


@change.state
def databases_restored(run, ret):
    sls = run.settings["rollback"]["restore"]
    new = fleets.running(run, "new")
    before = backups.restored(run)
    if before:
        ret["comment"] = f"{sls} has restored the databases at {before}"
        return
    changes, call = {"databases": {"old": "migrated", "new": "restored"}}, backups.planned(run, new)
    if run.test:
        change.tell(ret, changes, f"Would be restored by {sls}", [call])
        return
    call.make(run)
    ret["changes"] = changes
    ret["comment"] = f"{sls} has restored the databases: what was unapplied is so again"


@change.state
def not_migrating(run, ret):
    if "migrate" not in phases.touched(run):
        ret["comment"] = "No migration was ever begun"
        return
    web = [one for one in fleets.alive(run, "new")[0] if one["role"] == "edx"]
    if web and not run.test:
        migrations.await_earlier(run, web)
    ret["comment"] = "No migration is at work" if not run.test else "Would be waited for, if one is"


@change.state
def schedule_held(run, ret):
    _hold(run, ret, schedules.HELD)


@change.state
def schedule_given_back(run, ret):
    back = schedules.by_hand(run)
    with change.advice(
        f"It comes back by itself a day after `close`; one of pillar by hand:\n{back}"
    ):
        _hold(run, ret, schedules.GIVEN_BACK)


@change.state
def saved(run, ret):
    planned = saving.plan(run)
    hosts = [one["name"] for one in planned["hosts"]]
    # What was started there since would write on after it was saved.
    stopping = services.plan(run, hosts, "stopped") if hosts else {"wrong": {}, "calls": []}
    if planned["waived"]:
        ret["comment"] = "There is nothing to save, as pillar says (retire:nothing_to_save)"
    elif run.test:
        how = f"Would be saved by {planned['before']}, and looked for in S3: {', '.join(hosts)}"
        change.tell(ret, planned["where"], how if hosts else "Nothing to do", stopping["calls"])
    if run.test:
        return
    services.apply(run, stopping, "stopped")
    names = saving.apply(run, planned)
    ret["changes"] = planned["where"]
    ret["comment"] = ret["comment"] or (
        f"Saved, and proven: {', '.join(names)}" if names else "All of it is saved already"
    )


@change.state
def equipped(run, ret, fleet="new"):
    absent = services.absent(run, [one["name"] for one in fleets.running(run, fleet)])
    if absent:
        raise CommandExecutionError("\n".join(absent))
    ret["comment"] = "Every service is there"


@change.state
def listed(run, ret, fleet="new"):
    found = _some(migrations.pending(run, fleets.running(run, fleet)))
    counts = [f"{sum(map(len, lists.values()))} of {purpose}" for purpose, lists in found.items()]
    ret["comment"] = f"Unapplied: {', '.join(counts) or 'nothing'}"


def _only(parts):
    return f" ({', '.join(parts)})" if parts else ""


def _refuse_others(run):
    others = [
        f"{one['name']} ({one['id']}) is {one['state']}" for one in fleets.unexpected_members(run)
    ]
    if others:
        raise CommandExecutionError(
            "Of these purposes, and of neither the old nor the new fleet, so that nothing is known"
            " of what runs there:\n  - "
            + "\n  - ".join(others)
            + "\nNothing was migrated. Stop or terminate it in EC2, then run again: "
            + phases.next_command(run)
        )


def _bring(run, ret, hosts, wanted, parts):
    """Plan; in a dry run tell, else apply."""
    planned = services.plan(run, [one["name"] for one in hosts], wanted, parts)
    changes = {minion: {"old": lines, "new": wanted} for minion, lines in planned["wrong"].items()}
    if run.test and changes:
        change.tell(ret, changes, f"Would be {wanted}: {', '.join(changes)}", planned["calls"])
        return
    services.apply(run, planned, wanted, parts)
    ret["changes"] = changes


def _hold(run, ret, wanted):
    """Plan; in a dry run tell, else apply."""
    planned = schedules.plan(run, wanted)
    if run.test and planned["changes"]:
        comment = f"Would be {wanted}: {', '.join(planned['changes'])}"
        change.tell(ret, planned["changes"], comment, planned["calls"])
        return
    schedules.apply(run, planned, wanted)
    ret["changes"] = planned["changes"]
    named = ", ".join(run.settings["window"]["pause_schedule"])
    ret["comment"] = f"Of the master's schedule {wanted}: {named or 'nothing'}"


def _some(found):
    """Without the lists that are empty."""
    filled = {}
    for purpose, lists in found.items():
        some = {name: listed for name, listed in lists.items() if listed}
        if some:
            filled[purpose] = some
    return filled
