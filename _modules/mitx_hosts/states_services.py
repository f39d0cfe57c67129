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

from mitx_fleet import fleets
from mitx_hosts import migrations, queues, saving, services
from mitx_run import change, journal, phases


def stopped(run, name, fleet="old", parts=None):
    ret = change.result(name)
    try:
        alive, halted = fleets.alive(run, fleet)
        wrong, calls = _services(run, alive, "stopped", parts) if alive else ({}, [])
        _tell_services(
            run, ret, wrong, "stopped", f"The {fleet} fleet is stopped{_only(parts)}", calls
        )
        if halted:
            ret["comment"] += (
                f". Stopped or gone in EC2, so nothing runs there: {', '.join(halted)}"
            )
    except CommandExecutionError as err:
        change.failed(ret, err)
        if ret["result"] is False:
            ret["comment"] += (
                "\nA host that cannot be asked counts as stopped once EC2 has stopped it: aws ec2"
                " stop-instances."
            )
    return ret


def still_stopped(run, name, fleet="old"):
    ret = change.result(name)
    try:
        alive = fleets.alive(run, fleet)[0]
        if run.test:
            ret.update(
                result=None,
                comment=f"Would be looked at: {', '.join(one['name'] for one in alive)}",
            )
            return ret
        found = services.status(run, [one["name"] for one in alive]) if alive else {}
        wrong = services.problems(found, "stopped")
        if wrong:
            raise CommandExecutionError(
                f"The {fleet} fleet was stopped, and is no more, beside the one that serves:\n  - "
                + "\n  - ".join(wrong)
                + "\nFind out who started it. Run again, it is stopped first:"
                f" {phases.next_command(run)}"
            )
        ret["comment"] = f"The {fleet} fleet is still stopped"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def running(run, name, fleet="new", parts=None):
    ret = change.result(name)
    try:
        wrong, calls = _services(run, fleets.running(run, fleet, serving=True), "running", parts)
        _tell_services(run, ret, wrong, "running", f"The {fleet} fleet runs{_only(parts)}", calls)
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def restarted(run, name, fleet="current"):
    ret = change.result(name)
    try:
        minions = fleets.running(run, fleet, serving=True)
        if run.test:
            return change.would(
                ret, {one["name"]: "restarted" for one in minions}, "Would be restarted"
            )
        ret["changes"] = services.restart(run, [one["name"] for one in minions])
        quiet = sorted({one["name"] for one in minions} - set(ret["changes"]))
        ret["comment"] = f"Restarted: {', '.join(ret['changes']) or 'nothing'}"
        ret["comment"] += f". Was stopped and is left so: {', '.join(quiet)}" if quiet else ""
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def drained(run, name):
    ret = change.result(name)
    try:
        run.settings, fleet = run.settings, fleets.alive(run, "old", serving=True)[0]
        if "start" in phases.statuses(run):
            ret["comment"] = "The new fleet works the queues already"
            return ret
        if run.test and run.settings["drain"]["command"] and fleet:
            depths = queues.depths(run, fleet)
            return change.would(
                ret,
                {purpose: f"{depth} jobs" for purpose, depth in depths.items() if depth},
                "Would be waited for",
            )
        ret["comment"] = queues.drain(run, fleet)
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def migrated(run, name):
    ret = change.result(name)
    try:
        old, new = fleets.alive(run, "old")[0], fleets.running(run, "new")
        if run.test:
            found = migrations.pending(run, new)
            return change.would(ret, _some(found), "Would be applied")
        _refuse_others(run)
        migrations.back_up(run, old, new)
        ret["changes"] = _some(migrations.migrate(run, old, new))
        ret["comment"] = (
            f"Migrated: {', '.join(ret['changes'])}" if ret["changes"] else "Nothing was unapplied"
        )
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def not_migrating(run, name):
    ret = change.result(name)
    try:
        if "migrate" not in phases.touched(run):
            ret["comment"] = "No migration was ever begun"
            return ret
        web = [one for one in fleets.alive(run, "new")[0] if one["role"] == "edx"]
        if web and not run.test:
            migrations.await_earlier(run, web)
        ret["comment"] = (
            "No migration is at work" if not run.test else "Would be waited for, if one is"
        )
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def saved(run, name):
    ret = change.result(name)
    try:
        planned = saving.plan(run)
        if planned["waived"]:
            ret["comment"] = "There is nothing to save, as pillar says (retire:nothing_to_save)"
        if run.test:
            return (
                change.would(
                    ret,
                    planned["where"],
                    f"Would be saved by {planned['before']}, and looked for in S3",
                )
                if not planned["waived"]
                else ret
            )
        names = saving.apply(run, planned)
        ret["changes"] = planned["where"]
        ret["comment"] = ret["comment"] or (
            f"Saved, and proven: {', '.join(names)}" if names else "All of it is saved already"
        )
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def equipped(run, name, fleet="new"):
    ret = change.result(name)
    try:
        absent = services.absent(run, [one["name"] for one in fleets.running(run, fleet)])
        if absent:
            raise CommandExecutionError("\n".join(absent))
        ret["comment"] = "Every service is there"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


def listed(run, name, fleet="new"):
    ret = change.result(name)
    try:
        found = _some(migrations.pending(run, fleets.running(run, fleet)))
        counts = [
            f"{sum(map(len, lists.values()))} of {purpose}" for purpose, lists in found.items()
        ]
        ret["comment"] = f"Unapplied: {', '.join(counts) or 'nothing'}"
    except CommandExecutionError as err:
        change.failed(ret, err)
    return ret


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


def _services(run, instances, wanted, parts):
    """
    ``({minion: [what was not as wanted]}, calls)``; now it is, unless this is a dry run, which
    tells the calls.
    """
    minions = [one["name"] for one in instances]
    if not run.test:
        bring = {"stopped": services.stop, "running": services.start}[wanted]
        return bring(run, minions, parts), []
    found = services.status(run, minions)
    wrong = {
        minion: services.problems({minion: one}, wanted, parts) for minion, one in found.items()
    }
    wrong = {minion: lines for minion, lines in wrong.items() if lines}
    acted_on = {minion: found[minion] for minion in wrong}
    return wrong, journal.rehearse(run, [[services.act, wanted, acted_on, parts]] if wrong else [])


def _tell_services(run, ret, wrong, wanted, comment, calls):
    ret["changes"] = {
        minion: {"old": [line.removeprefix(f"{minion}: ") for line in lines], "new": wanted}
        for minion, lines in wrong.items()
    }
    ret["comment"] = comment
    if run.test and wrong:
        lines = [
            f"Would be {wanted}: {', '.join(wrong)}",
            *(f"Would call: {call}" for call in calls),
        ]
        ret.update(result=None, comment="\n".join(lines))


def _some(found):
    """Without the lists that are empty."""
    kept = {
        purpose: {name: some for name, some in lists.items() if some}
        for purpose, lists in found.items()
    }
    return {purpose: lists for purpose, lists in kept.items() if lists}
