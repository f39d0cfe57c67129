"""
Retirement of the old fleet: exactly the recorded instances, and proof that nothing else went with
them
=======================================================================================================

``cloud.destroy`` knows names only. So before it is called every name must lead to the recorded id
and to no other instance, and afterwards it is looked at by id what is gone.
"""

import datetime

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets, instances
from mitx_run import aws, journal, phases, wait
from mitx_run.dunders import __salt__

_LIVE = ("pending", "running", "stopping", "stopped")

_INTERVAL = 2


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
    actual = {
        one["id"]: one for one in instances.find(run, ids=[one["id"] for one in old], states=None)
    }
    namesakes = _namesakes(run, old)
    destroy = [one for one in old if actual.get(one["id"], {}).get("state") in _LIVE]
    gone = [one for one in old if one not in destroy]
    # A name that another instance has taken over since: its key is that one's.
    names = [one["name"] for one in old if not namesakes.get(one["name"])]
    keys = _keys()
    found = {
        "destroy": destroy,
        "gone": gone,
        "keys": sorted(set(names) & set(_flat(keys))),
        "all_keys": _flat(keys),
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
    Destroy what :py:func:`plan` says, delete its minion keys, and prove both, and that nothing else
    is gone. Returns ``{destroyed: [labels], keys: [names]}``.
    """
    if plan.get("refusals"):
        raise CommandExecutionError("; ".join(plan["refusals"]))
    names = [one["name"] for one in plan["destroy"]]
    before = _ids(run)
    if names:
        _wait_gone(run, plan["destroy"], _destroy(run, names))
    left = _delete_keys(run, {*plan["keys"], *names})
    _prove_nothing_else(run, plan, before, left)
    return _done(plan, {}, left)


def saved(run):
    """
    Return the ids of the instances of which the run has proven that their logs are saved, since
    their services were last stopped: after a rollback they have served, and written, again.
    """
    stopped = phases.statuses(run).get("stop", {})
    if stopped.get("status") != "finished":
        return set()
    lines = [line for line in journal.entries(run, event="saved") if line["time"] > stopped["time"]]
    return {host["id"] for line in lines for host in line["hosts"]}


def done(run, plan):
    """
    Return what of the ``plan`` is gone now: ``{destroyed: [labels], keys: [names]}``.
    """
    return _done(plan, _left(run, plan["destroy"]), _flat(_keys()))


def _done(plan, left, keys):
    label = instances.label
    return {
        "destroyed": [label(one) for one in plan["destroy"] if one["id"] not in left],
        "keys": [name for name in plan["keys"] if name not in keys],
    }


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
    return {
        raw["LoadBalancerName"]: {one["InstanceId"] for one in raw.get("Instances") or ()}
        for raw in answer["LoadBalancerDescriptions"]
    }


def _not_as_recorded(destroy, actual, namesakes):
    found = [
        f"{one['name']} is also the name of {', '.join(o['id'] for o in namesakes[one['name']])}"
        for one in destroy
        if one["name"] in namesakes
    ]
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
        like = [key for key in _flat(keys) if key.startswith(f"{one['name']}.")]
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


def _destroy(run, names):
    """Returns what went wrong, in words, or nothing: what counts is looked at afterwards."""
    try:
        with journal.door(run, "cloud", operation="destroy", names=names):
            answer = __salt__["cloud.destroy"](names)
    except Exception as err:  # pylint: disable=broad-except
        # Drivers raise whatever they like, half-way through the list.
        return f"cloud.destroy failed: {err}"
    answered = {
        name for drivers in (answer or {}).values() for vms in drivers.values() for name in vms
    }
    silent = sorted(set(names) - answered)
    return f"cloud.destroy found no {', '.join(silent)}" if silent else ""


def _wait_gone(run, destroy, failure):
    label = instances.label

    def check():
        left = _left(run, destroy)
        return not left, ", ".join(
            f"{label(one)} is {left[one['id']]}" for one in destroy if one["id"] in left
        )

    # After a failure nothing more is going to happen.
    timeout = 0 if failure else run.settings["retire"]["timeout"]
    try:
        wait.until(run, check, timeout, _INTERVAL, "The old fleet terminated")
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"{failure or 'cloud.destroy reported success'}, but {err}. If a terminated instance of"
            " the same name is still listed, salt-cloud takes that one: wait an hour. Then run it"
            " again: salt-run mitx.retire"
        ) from err


def _left(run, destroy):
    """{id: state} of those that exist."""
    found = instances.find(run, ids=[one["id"] for one in destroy]) if destroy else []
    return {one["id"]: one["state"] for one in found}


def _ids(run):
    return {one["id"]: one for one in instances.instances(run)}


def _wheel(function, **kwargs):
    answer = __salt__["saltutil.wheel"](function, **kwargs)
    data = answer.get("data", answer) if isinstance(answer, dict) else {}
    if not data.get("success", True) or "return" not in data:
        raise CommandExecutionError(
            f"The master's keys cannot be told: {function} answered {answer!r}"
        )
    return data["return"]


def _keys():
    """{minions: [names], minions_pre: …, minions_rejected: …, minions_denied: …}"""
    found = _wheel("key.list_all")
    return {kind: names for kind, names in found.items() if kind.startswith("minions")}


def _flat(keys):
    return [name for names in keys.values() for name in names]


def _delete_keys(run, names):
    """
    cloud.destroy deletes the keys of what it destroyed itself, not of what had gone before. Returns
    those that are left.
    """
    keys = _keys()
    mine = {kind: [name for name in found if name in names] for kind, found in keys.items()}
    mine = {kind: found for kind, found in mine.items() if found}
    if not mine:
        return _flat(keys)
    with journal.door(run, "wheel", operation="key.delete_dict", keys=mine):
        _wheel("key.delete_dict", match=mine)
    left = _flat(_keys())
    still = sorted(set(left) & set(names))
    if still:
        raise CommandExecutionError(
            f"The master still has the keys of {', '.join(still)}: salt-key -d"
        )
    return left


def _prove_nothing_else(run, plan, before, keys_left):
    ids = {one["id"] for one in plan["destroy"]}
    names = {one["name"] for one in plan["destroy"]} | set(plan["keys"])
    now, label = _ids(run), instances.label
    lost = [label(one) for id_, one in before.items() if id_ not in now and id_ not in ids]
    lost += [
        f"the key of {name}" for name in sorted(set(plan["all_keys"]) - set(keys_left) - names)
    ]
    if lost:
        raise CommandExecutionError(
            "While the old fleet was destroyed, this went too, and is not of it:"
            f" {', '.join(lost)}. Look at who did it: the journal of this run, CloudTrail"
        )
