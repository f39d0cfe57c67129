"""
Destroying instances by exact name and id, and the proof that nothing else went with them
========================================================================================

``cloud.destroy`` knows names only. So whoever plans makes sure that every name leads to the
recorded id alone, and afterwards it is looked at by id what is gone.

What is destroyed is a *plan*: ``{destroy: [instances], keys: [minion keys to be deleted], all_keys:
[every minion key there is]}``.
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import instances
from mitx_run import journal, wait
from mitx_run.dunders import __salt__

_INTERVAL = 2


def destroy(run, plan, what, again):
    """
    Destroy what the ``plan`` says, delete its minion keys, and prove both, and that nothing else is
    gone. Returns ``{destroyed: [labels], keys: [names]}``.

    what, again
        How messages call it, and the command to run again.
    """
    names = [one["name"] for one in plan["destroy"]]
    before = _ids(run)
    if names:
        _wait_gone(run, plan["destroy"], _destroy(run, names), what, again)
    left = _delete_keys(run, {*plan["keys"], *names})
    _prove_nothing_else(run, plan, before, left, what)
    return _done(plan, {}, left)


def done(run, plan):
    """
    Return what of the ``plan`` is gone now: ``{destroyed: [labels], keys: [names]}``.
    """
    return _done(plan, _left(run, plan["destroy"]), flat(keys()))


def keys():
    """
    Return all keys of the master: ``{minions: [names], minions_pre: …, minions_rejected: …,
    minions_denied: …}``.
    """
    found = _wheel("key.list_all")
    return {kind: names for kind, names in found.items() if kind.startswith("minions")}


def flat(found):
    """
    Return the names of :py:func:`keys` in one list.
    """
    return [name for names in found.values() for name in names]


def _done(plan, left, keys):
    label = instances.label
    return {
        "destroyed": [label(one) for one in plan["destroy"] if one["id"] not in left],
        "keys": [name for name in plan["keys"] if name not in keys],
    }


def _destroy(run, names):
    """Returns what went wrong, in words, or nothing: what counts is looked at afterwards."""
    try:
        with journal.gateway(run, "cloud", operation="destroy", names=names):
            answer = __salt__["cloud.destroy"](names)
    except Exception as err:  # pylint: disable=broad-except
        # Drivers raise whatever they like, half-way through the list.
        return f"cloud.destroy failed: {err}"
    answered = {
        name for drivers in (answer or {}).values() for vms in drivers.values() for name in vms
    }
    silent = sorted(set(names) - answered)
    return f"cloud.destroy found no {', '.join(silent)}" if silent else ""


def _wait_gone(run, wanted, failure, what, again):
    label = instances.label

    def check():
        left = _left(run, wanted)
        return not left, ", ".join(
            f"{label(one)} is {left[one['id']]}" for one in wanted if one["id"] in left
        )

    # After a failure nothing more is going to happen.
    timeout = 0 if failure else run.settings["retire"]["timeout"]
    try:
        wait.until(run, check, timeout, _INTERVAL, f"{what} terminated")
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"{failure or 'cloud.destroy reported success'}, but {err}. If a terminated instance of"
            " the same name is still listed, salt-cloud takes that one: wait an hour. Then run it"
            f" again: {again}"
        ) from err


def _left(run, wanted):
    """{id: state} of those that exist."""
    found = instances.find(run, ids=[one["id"] for one in wanted]) if wanted else []
    return {one["id"]: one["state"] for one in found}


def _ids(run):
    return {one["id"]: one for one in instances.instances(run)}


def _wheel(function, **kwargs):
    answer = __salt__["saltutil.wheel"](function, **kwargs)
    data = answer.get("data", answer) if isinstance(answer, dict) else {}
    if not data.get("success", True) or "return" not in data:
        raise CommandExecutionError(
            f"cannot determine the master's keys: {function} answered {answer!r}"
        )
    return data["return"]


def _delete_keys(run, names):
    """
    cloud.destroy deletes the keys of what it destroyed itself, not of what had gone before. Returns
    those that are left.
    """
    known = keys()
    mine = {}
    for kind, found in known.items():
        ours = [name for name in found if name in names]
        if ours:
            mine[kind] = ours
    if not mine:
        return flat(known)
    with journal.gateway(run, "wheel", operation="key.delete_dict", keys=mine):
        _wheel("key.delete_dict", match=mine)
    left = flat(keys())
    still = sorted(set(left) & set(names))
    if still:
        raise CommandExecutionError(
            f"The master still has the keys of {', '.join(still)}: salt-key -d"
        )
    return left


def _prove_nothing_else(run, plan, before, keys_left, what):
    ids = {one["id"] for one in plan["destroy"]}
    names = {one["name"] for one in plan["destroy"]} | set(plan["keys"])
    now, label = _ids(run), instances.label
    lost = [label(one) for id_, one in before.items() if id_ not in now and id_ not in ids]
    lost += [
        f"the key of {name}" for name in sorted(set(plan["all_keys"]) - set(keys_left) - names)
    ]
    if lost:
        raise CommandExecutionError(
            f"While {what[0].lower()}{what[1:]} was destroyed, this went too, and is not of it:"
            f" {', '.join(lost)}. Look at who did it: the journal of this run, CloudTrail"
        )
