"""
Retirement of the old fleet: exactly the recorded instances, and proof that nothing else went with
them
=======================================================================================================

``cloud.destroy`` knows names only. So before it is called every name must lead to the recorded id
and to no other instance, and afterwards it is looked at by id what is gone.
"""

import datetime

from salt.exceptions import CommandExecutionError

from mitx_fleet import destruction, fleets, instances
from mitx_run import aws, events, phases

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = (
    "ec2:DescribeInstanceAttribute",
    "elasticloadbalancing:DescribeLoadBalancers",
)

_LIVE = ("pending", "running", "stopping", "stopped")


def plan(run, force=False):
    """
    Return what there is to retire of the recorded old fleet, and what forbids it::

        {destroy: [instances that still exist], gone: [instances that do not], keys: [minion keys to
         be deleted],
         all_keys: [every minion key there is], refusals: [what forbids it, in words], notes: [what
         is worth knowing]}

    Reads only. ``force`` waives ``retire.after``, and nothing else.
    """
    recorded = fleets.recorded(run, "old")
    # What did not serve then is somebody's, or left over of an earlier upgrade: whoever knows what
    # it is takes it away.
    old = [one for one in recorded if one.get("serves", True)]
    there = instances.find(run, ids=[one["id"] for one in old], states=None)
    actual = {instance["id"]: instance for instance in there}
    namesakes = _namesakes(run, old)
    destroy = [one for one in old if actual.get(one["id"], {}).get("state") in _LIVE]
    gone = [one for one in old if one not in destroy]
    # A name that another instance has taken over since: its key is that one's.
    names = [one["name"] for one in old if not namesakes.get(one["name"])]
    keys = destruction.keys()
    found = {
        "destroy": destroy,
        "gone": gone,
        "keys": sorted(set(names) & set(destruction.flat(keys))),
        "all_keys": destruction.flat(keys),
        "refusals": [],
        "notes": [*_notes(gone, namesakes), *_spared(recorded)],
    }
    if destroy:
        found["refusals"] = [
            *_too_early(run, force),
            *_unsaved(run, destroy),
            *_serving(run, destroy),
            *_not_as_recorded(destroy, actual, namesakes),
            *_ambiguous_keys(destroy, keys),
        ]
        # One call each, so only where all the rest is well.
        found["refusals"] = found["refusals"] or _protected(run, destroy)
    return found


def retire(run, plan):
    """
    Destroy what :py:func:`plan` says. Returns ``{destroyed: [labels], keys: [names]}``, see
    :py:func:`destruction.destroy`.
    """
    if plan.get("refusals"):
        raise CommandExecutionError("; ".join(plan["refusals"]))
    return destruction.destroy(run, plan, "The old fleet", "salt-run mitx.retire")


def saved(run):
    """
    Return the ids of the instances of which the run has proven that their logs are saved, since
    their services were last stopped: after a rollback they have served, and written, again.
    """
    stopped = phases.statuses(run).get("stop", {})
    if stopped.get("status") != "finished":
        return set()
    lines = events.read(run, "saved", since=stopped["time"])
    return {host["id"] for line in lines for host in line["hosts"]}


def _namesakes(run, old):
    """
    {name: other instances that bear it and still exist}, in the whole account, as cloud.destroy
    sees it.
    """
    ids, found = {one["id"] for one in old}, {}
    for one in instances.find(run, names=[one["name"] for one in old]):
        if one["id"] not in ids:
            found.setdefault(one["name"], []).append(one)
    return found


def _notes(gone, namesakes):
    label = instances.label
    notes = [f"{label(one)} is gone already" for one in gone]
    for one in gone:
        others = ", ".join(other["id"] for other in namesakes.get(one["name"], ()))
        if others:
            notes.append(f"its name {one['name']} is now that of {others}, which is left alone")
    return notes


def _spared(recorded):
    label = instances.label
    return [
        f"{label(one)} did not serve when the old fleet was recorded, and is left alone"
        for one in recorded
        if not one.get("serves", True)
    ]


def _too_early(run, force):
    opened = phases.statuses(run).get("open", {})
    if opened.get("status") != "finished":
        return [
            "the phase open of this run is not finished: the old fleet may still be needed. Finish"
            " the window first: " + phases.next_command(run)
        ]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
        opened["time"].replace("Z", "+00:00")
    )
    hours, after = age.total_seconds() / 3600, run.settings["retire"]["after"]
    if force or hours >= after:
        return []
    return [
        f"the site was opened {hours:.1f} hours ago, at {opened['time']}; the old fleet is kept for"
        f" {after} (salt-run mitx.retire force=True waives that)"
    ]


def _unsaved(run, destroy):
    """
    Whose students' logs are nowhere else, as far as this run has proven (``mitx_hosts.saved``).
    """
    if run.settings["retire"]["nothing_to_save"]:
        return []
    proven, label = saved(run), instances.label
    return [
        f"the tracking logs of {label(one)} are not proven to be saved; salt-run mitx.retire does"
        " that first"
        for one in destroy
        if one["id"] not in proven
    ]


def _serving(run, destroy):
    """
    The old fleet serves if any load balancer at all holds it, or one of the run's does not hold the
    new one.
    """
    new = {one["id"] for one in fleets.recorded(run, "new")}
    label = instances.label
    said = [f"{label(one)} is of the new fleet too" for one in destroy if one["id"] in new]
    held = _all_members(run)
    for one in destroy:
        said += [
            f"{label(one)} is registered in {elb}" for elb, ids in held.items() if one["id"] in ids
        ]
    for elb in run.settings["elbs"]:
        ids = held.get(elb["name"])
        if not ids or not ids <= new:
            said.append(
                f"{elb['name']} does not hold the new fleet, but"
                f" {', '.join(sorted(ids or ())) or 'nobody'}"
            )
    return said


def _all_members(run):
    answer = aws.call(run, "elb", "describe_load_balancers")
    found = {}
    for raw in answer["LoadBalancerDescriptions"]:
        members = raw.get("Instances") or ()
        found[raw["LoadBalancerName"]] = {member["InstanceId"] for member in members}
    return found


def _not_as_recorded(destroy, actual, namesakes):
    found = []
    for name in (instance["name"] for instance in destroy):
        if name in namesakes:
            others = ", ".join(instance["id"] for instance in namesakes[name])
            found.append(f"{name} is also the name of {others}")
    differs = instances.compare(destroy, list(actual.values()))
    return found + [
        f"the {c['key']} of {c['id']} was recorded as {c['recorded']} and is {c['actual']}"
        for c in differs["changed"]
    ]


def _ambiguous_keys(destroy, keys):
    # With more than one key that begins like this salt-cloud asks at the terminal which one to
    # delete, and waits.
    found = []
    for one in destroy:
        like = [key for key in destruction.flat(keys) if key.startswith(f"{one['name']}.")]
        if like:
            found.append(
                f"salt-cloud could not tell the key {one['name']} from {', '.join(like)}; delete"
                " the wrong one: salt-key -d"
            )
    return found


def _protected(run, destroy):
    label = instances.label
    found = []
    for one in destroy:
        answer = aws.call(
            run,
            "ec2",
            "describe_instance_attribute",
            InstanceId=one["id"],
            Attribute="disableApiTermination",
        )
        if (answer.get("DisableApiTermination") or {}).get("Value"):
            found.append(
                f"{label(one)} is protected from termination; if it may go: aws ec2"
                f" modify-instance-attribute --instance-id {one['id']} --no-disable-api-termination"
            )
    return found
