"""
The load balancers hold exactly one fleet
=========================================

.. code-block:: yaml

    new fleet in service:
      mitx_elb.swapped:
        - deregister: false      # attach only

    old fleet out:
      mitx_elb.swapped: []
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, swap
from mitx_run import journal


def swapped(run, name, fleet="new", register=True, deregister=True, release=None):
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    plan = None
    try:
        plan = swap.plan(run, fleet, release, forecast=run.test)
        if deregister:
            _refuse_unknown(plan)
        ret["changes"] = swap.intended(plan, register, deregister)
        if run.test:
            return _forecast(run, ret, fleet, plan, register, deregister)
        slow = _swap(run, plan, register, deregister)
        ret["comment"] = _sentence(
            ret["changes"], "were", f"The {fleet} fleet is registered and healthy"
        )
        ret["comment"] += _cut_off(slow) + _left_in(plan, deregister)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes=_really_done(run, plan, ret["changes"]))
    return ret


def _forecast(run, ret, fleet, plan, register, deregister):
    ret["result"] = None if ret["changes"] else True
    ret["comment"] = _sentence(
        ret["changes"], "would be", f"The {fleet} fleet is registered"
    ) + _left_in(plan, deregister)
    calls = []
    for verb, change, said in (
        ("register", elb.register, register),
        ("deregister", elb.deregister, deregister),
    ):
        calls += [[change, name, step[verb]] for name, step in plan.items() if said and step[verb]]
    ret["comment"] = "\n".join([ret["comment"], *_would(run, calls)])
    return ret


def _would(run, calls):
    return [f"Would call: {call}" for call in journal.rehearse(run, calls)]


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


def _really_done(run, plan, intended):
    """
    What was changed before the failure; asked of AWS, since a failure may come after the change.
    """
    if not plan or not intended or run.test:
        return {}
    try:
        return swap.done(run, plan)
    except CommandExecutionError as err:
        return {"unknown": f"which of these were made cannot be told, {err}: {intended}"}


def _sentence(changes, verb, unchanged):
    if not changes:
        return unchanged
    parts = [
        f"{elb}: " + ", ".join(f"{len(names)} {verb} {side}" for side, names in both.items())
        for elb, both in changes.items()
    ]
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
