"""
What exists only on hosts that are about to be destroyed
========================================================

Old web hosts hold students' tracking logs. Before any of them is destroyed, what MITx saves them
with (``retire:before``, a state such as ``backups.backup_tracking``, or an orchestration) is run on
exactly these hosts, and what it made is looked for in S3 (``retire:proof``): an object for each
host, not empty, and newer than the end of the host's work.
"""

import string

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets, retire
from mitx_hosts import jobs
from mitx_run import aws, events, nested, phases

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("s3:ListBucket",)

_FIELDS = ("name", "id", "role", "purpose", "codename", "environment")


def plan(run):
    """
    Return ``{hosts: [instances to be asked], waived: bool, before, where: {name: s3 address}}``.

    Raises ``CommandExecutionError`` where nothing says how the logs are saved, or one that has to
    be asked is stopped in EC2.
    """
    settings = run.settings["retire"]
    if settings["nothing_to_save"]:
        return {"hosts": [], "waived": True, "before": None, "where": {}}
    proof = settings["proof"]
    if not settings["before"] or not proof["bucket"] or not proof["key"]:
        raise CommandExecutionError(
            "The old hosts hold students' tracking logs, and pillar does not say how they are"
            " saved. Nothing was destroyed. Set mitx:…:retire:before (MITx's is the state"
            " backups.backup_tracking) and retire:proof: {bucket, key} (where what it makes lies,"
            " such as tracking/{name}/); or, if there is nothing to save, retire:nothing_to_save:"
            " true"
        )
    running, halted = fleets.alive(run, "old", serving=True)
    there = {one["id"] for one in fleets.existing(run, "old")}
    asleep = [
        one
        for one in fleets.recorded(run, "old")
        if one["name"] in halted and one["id"] in there and one.get("serves", True)
    ]
    unsaved = [one for one in asleep if one["id"] not in retire.saved(run)]
    if unsaved:
        names, ids = (" ".join(one[key] for one in unsaved) for key in ("name", "id"))
        raise CommandExecutionError(
            f"Stopped in EC2, so that nobody can ask for their logs: {names}. Nothing was"
            f" destroyed. Start them:\naws ec2 start-instances --instance-ids {ids}\nTheir programs"
            " start with them, a worker's on the live queues. So as soon as their minions answer,"
            " let this stop them, save what they hold and destroy them: salt-run mitx.retire"
        )
    hosts = [one for one in running if one["id"] not in retire.saved(run)]
    return {
        "hosts": hosts,
        "waived": False,
        "before": settings["before"],
        "where": {
            one["name"]: f"s3://{proof['bucket']}/{_key(proof['key'], one)}" for one in hosts
        },
    }


def apply(run, plan):
    """
    Save what :py:func:`plan` says, prove it, and record it. Returns the names of the hosts.
    """
    if plan["waived"]:
        events.write(run, "nothing_to_save")
        return []
    names = [one["name"] for one in plan["hosts"]]
    if not names:
        return []
    if plan["before"].startswith("orchestrate."):
        pillar = nested.inherited(run)
        pillar["mitx"]["retire_hosts"] = names
        answer = nested.orchestrate(
            run, plan["before"], environ={"ENVIRONMENT": run.environment}, pillar=pillar
        )
        if answer["failures"]:
            raise CommandExecutionError(
                "\n".join(
                    [f"{plan['before']} failed, and nothing was destroyed:", *answer["failures"]]
                )
            )
    else:
        timeout = run.settings["timeouts"]["highstate"]
        jobs.execute(
            run, names, "state.sls", [plan["before"]], timeout=timeout, label=plan["before"]
        )
    missing = [line for one in plan["hosts"] for line in _unproven(run, one)]
    if missing:
        listed = "\n  - ".join(missing)
        raise CommandExecutionError(
            f"{plan['before']} reported success, but what it should have saved is not there."
            f" Nothing was destroyed:\n  - {listed}"
        )
    events.write(
        run, "saved", hosts=[{"id": one["id"], "name": one["name"]} for one in plan["hosts"]]
    )
    return names


def _unproven(run, one):
    proof = run.settings["retire"]["proof"]
    prefix = _key(proof["key"], one)
    found = (
        aws.call(run, "s3", "list_objects_v2", Bucket=proof["bucket"], Prefix=prefix).get(
            "Contents"
        )
        or []
    )
    since = phases.statuses(run).get("stop", {}).get("time") or ""
    good = [
        item
        for item in found
        if item["Size"] > 0 and item["LastModified"].strftime("%Y-%m-%dT%H:%M:%S") >= since[:19]
    ]
    if good:
        return []
    what = "only empty or older ones" if found else "no object"
    return [
        f"{one['name']}: {what} below s3://{proof['bucket']}/{prefix}, since its services were"
        f" stopped at {since or 'no known time'}"
    ]


def _key(pattern, one):
    try:
        return pattern.format(**{field: one[field] for field in _FIELDS})
    except (KeyError, IndexError, ValueError) as err:
        known = ", ".join(f"{{{field}}}" for field in _FIELDS)
        fields = (
            [name for _, name, _, _ in string.Formatter().parse(pattern) if name]
            if "}" in pattern
            else []
        )
        raise CommandExecutionError(
            f"mitx:…:retire:proof:key: {pattern!r} ({', '.join(fields)}): there are {known}"
        ) from err
