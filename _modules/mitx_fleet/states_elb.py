"""
The load balancers hold exactly one fleet
=========================================

.. code-block:: yaml

    new fleet in service:
      mitx_fleet.swapped:
        - deregister: false      # attach only

    old fleet out:
      mitx_fleet.swapped: []
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import swap
from mitx_run import change


@change.state
def swapped(run, ret, fleet="new", register=True, deregister=True, release=None):
    plan = swap.plan(run, fleet, release)
    if deregister:
        _refuse_unknown(plan)
    changes = swap.changes(plan, register, deregister)
    if run.test:
        comment = _sentence(changes, "would be", f"The {fleet} fleet is registered")
        planned = swap.calls(plan, register, deregister)
        change.tell(ret, changes, comment + _left_in(plan, deregister), planned)
        return
    try:
        slow = _swap(run, plan, register, deregister)
    except CommandExecutionError:
        ret["changes"] = _really_done(run, plan, changes)
        raise
    ret["changes"] = changes
    ret["comment"] = _sentence(changes, "were", f"The {fleet} fleet is registered and healthy")
    ret["comment"] += _cut_off(slow) + _left_in(plan, deregister)


def _swap(run, plan, register, deregister):
    if not register:
        _refuse_unregistered(plan)
    swap.attach(run, plan)
    if deregister and any(step["deregister"] for step in plan.values()):
        return swap.detach(run, plan)
    return {}


def _refuse_unknown(plan):
    unknown = [
        f"{elb} holds {step['names'][id_] or ''} ({id_})"
        for elb, step in plan.items()
        for id_ in step["unknown"]
    ]
    if unknown:
        raise CommandExecutionError(
            f"Of neither the old nor the new fleet: {'; '.join(unknown)}. Nothing was changed."
            " Someone put it there: ask, then take it out by hand (aws elb"
            " deregister-instances-from-load-balancer) and run this again."
        )


def _refuse_unregistered(plan):
    missing = [
        f"{step['names'][id_]} ({id_}) is not in {elb}"
        for elb, step in plan.items()
        for id_ in step["register"]
    ]
    if missing:
        raise CommandExecutionError(
            f"{'; '.join(missing)}. Nothing was changed. The existing mitx_elb registers it; if"
            " that cannot be run, set mitx:attach:without_existing, or: salt-run mitx.swap_elb"
        )


def _really_done(run, plan, planned):
    """
    What was changed before the failure; asked of AWS, since a failure may come after the change.
    """
    if not planned:
        return {}
    try:
        return swap.done(run, plan)
    except CommandExecutionError as err:
        return {"unknown": f"cannot determine which of these were made, {err}: {planned}"}


def _sentence(changes, verb, unchanged):
    if not changes:
        return unchanged
    parts = []
    for elb, both in changes.items():
        counts = [f"{len(names)} {verb} {side}" for side, names in both.items()]
        parts.append(f"{elb}: {', '.join(counts)}")
    return "; ".join(parts)


def _cut_off(slow):
    if not slow:
        return ""
    ids = "; ".join(f"{elb}: {', '.join(ids)}" for elb, ids in slow.items())
    return f". Still finishing requests when the drain timeout ended, so these were cut off: {ids}"


def _left_in(plan, deregister):
    left = sum(len(step["deregister"]) for step in plan.values())
    if deregister or not left:
        return ""
    unknown = sum(len(step["unknown"]) for step in plan.values())
    extra = f", {unknown} of them of neither fleet" if unknown else ""
    return f". Left in: {left} registrations of others{extra}"
