"""
Images, fleets, and their end
=============================

.. code-block:: yaml

    both images:
      mitx_fleet.images_available: []

    remember what serves now:
      mitx_fleet.recorded:
        - fleet: old
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_fleet.instances" in __salt__:
        return True
    return False, "The mitx_fleet state needs the mitx_fleet execution module"


def images_available(name, release=None):
    """
    Ensure that both AMIs of the release exist, exactly one of each name, and are available, and record their ids in
    the run (``images``). Waits for pending ones; one that failed is final.

    name
        For the reader only.
    release
        The number; default: the recorded ``release_number``.
    """
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    try:
        settings = __salt__["mitx_settings.get"]()
        number = _required_release(release)
        if __opts__["test"]:
            return _images_forecast(ret, __salt__["mitx_images.find"](settings, number))
        found = __salt__["mitx_images.wait"](settings, number)
        ids = {role: image["id"] for role, image in found.items()}
        ret["changes"] = _pin("images", ids)
        ret["comment"] = "Available: " + ", ".join(f"{image['name']} ({image['id']})" for image in found.values())
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes={})
    return ret


def recorded(name, fleet="old", allow_empty=False):
    """
    Ensure that the run remembers a fleet. Recorded once: later calls change nothing, and say what has become of it.

    name
        For the reader only.
    fleet
        ``old``: what is registered in the run's load balancers, and the workers of the same purposes that are not
        new. ``new``: every instance that settings and the release number say.
    allow_empty
        True: an environment in which nothing serves yet is fine.
    """
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    try:
        settings = __salt__["mitx_settings.get"]()
        known = __salt__["mitx_run.pinned"](f"{fleet}_fleet")
        if known is not None:
            return _still_recorded(ret, settings, fleet, known)
        if fleet == "new":
            return launched(name)
        found = __salt__["mitx_fleet.current"](settings, _release(None))
        _refuse_unfit(settings, found, allow_empty)
        ret["changes"] = {"old_fleet": {"old": None, "new": _labels(found)}}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{len(found)} instances would be recorded as the old fleet")
            return ret
        _pin("old_fleet", found)
        ret["comment"] = f"The old fleet: {', '.join(_labels(found))}{_left_over(found)}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes={})
    return ret


def unchanged(name, adopt=False):
    """
    Require that both recorded fleets still exist as they were recorded, and that no other host of their purposes runs.
    Changes nothing, but:

    adopt
        True: the old fleet is recorded anew, without what is gone and with the hosts of the purposes that were launched since. For what
        happened to the fleet that serves, once somebody has looked.
    """
    ret = {"name": name, "result": True, "comment": "Both fleets are as they were recorded", "changes": {}}
    try:
        settings = __salt__["mitx_settings.get"]()
        if __opts__["test"] and None in (__salt__["mitx_run.pinned"](f"{which}_fleet") for which in ("old", "new")):
            ret.update(result=None, comment="Not known before both fleets are recorded by earlier phases")
            return ret
        others = __salt__["mitx_fleet.others"](settings)
        if adopt:
            return _adopt(ret, settings, {one["id"] for one in others})
        _refuse_changed(settings, others)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes={})
    return ret


def launched(name, release=None):
    """
    Ensure that every instance of the new fleet exists exactly once, launched from the recorded images, tagged with
    the codename and release, and running; and record it (``new_fleet``). One that was launched anew in place of one that is gone
    replaces it in the record, as long as the window has not begun.

    name
        For the reader only.
    release
        The number; default: the recorded ``release_number``.
    """
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    try:
        settings = __salt__["mitx_settings.get"]()
        number = _required_release(release)
        known = __salt__["mitx_run.pinned"]("new_fleet")
        found = __salt__["mitx_fleet.new"](settings, number)
        if __opts__["test"] and not found["problems"] and known is None:
            return _launch_forecast(ret, found)
        found = _settled(settings, number, found)
        _refuse_half_launched(settings, number, found)
        if known is not None:
            return _still_launched(ret, known, found["instances"])
        ret["changes"] = {"new_fleet": {"old": None, "new": _labels(found["instances"])}}
        _pin("new_fleet", found["instances"])
        ret["comment"] = f"{len(found['instances'])} instances of {settings['codename']} v{number} run"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes={})
    return ret


def retired(name, force=False):
    """
    Ensure that nothing is left of the recorded old fleet, neither instances nor minion keys, ``retire.after`` hours
    after the site was opened. Refuses, before anything is destroyed, what is not exactly as it was recorded, what is
    in any load balancer, what is protected, and as long as the new fleet does not serve.

    name
        For the reader only.
    force
        True: do not wait for ``retire.after``.
    """
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    plan = None
    try:
        settings = __salt__["mitx_settings.get"]()
        plan = __salt__["mitx_retire.plan"](settings, force)
        if plan["refusals"]:
            raise CommandExecutionError(f"Not retired, and nothing was destroyed: {'; '.join(plan['refusals'])}")
        notes = "".join(f". {note}" for note in plan["notes"])
        if not plan["destroy"] and not plan["keys"]:
            ret["comment"] = "Nothing is left of the old fleet" + notes
            return ret
        ret["changes"] = {"destroyed": _labels(plan["destroy"]), "keys": plan["keys"]}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{len(plan['destroy'])} instances would be destroyed" + notes)
            return ret
        ret["changes"] = __salt__["mitx_retire.retire"](settings, plan)
        ret["comment"] = f"{len(plan['destroy'])} instances are destroyed, their keys deleted, nothing else touched" + notes
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err), changes=_really_retired(plan))
    return ret


def _release(release):
    if release is not None:
        return int(release)
    # In a dry run nothing is pinned, and nothing is built: what the run would build is known all the same.
    return __salt__["mitx_existing.release_number"]() if __opts__["test"] else __salt__["mitx_run.pinned"]("release_number")


def _required_release(release):
    number = _release(release)
    if number is None:
        raise CommandExecutionError(
            "Which release? This run has recorded no release number; say release=…, or let it build first: "
            "salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    return int(number)


def _pin(fact, value):
    """Record a fact; returns the changes. A fact that is recorded as the same already is no change."""
    before = __salt__["mitx_run.pinned"](fact)
    __salt__["mitx_run.pin"](fact, value)
    return {} if before == value else {fact: {"old": before, "new": value}}


def _labels(fleet):
    return [__salt__["mitx_fleet.label"](one) for one in fleet]


def _images_forecast(ret, images):
    states = ", ".join(f"{role}: {image['state'] if image else 'does not exist yet'}" for role, image in images.items())
    available = all(image and image["state"] == "available" for image in images.values())
    ret.update(result=True if available else None, comment=states)
    return ret


def _still_recorded(ret, settings, fleet, known):
    drift = __salt__["mitx_fleet.drift"](known, __salt__["mitx_fleet.instances"](settings))
    ret["comment"] = f"The {fleet} fleet is recorded: {len(known)} instances"
    if drift:
        ret["comment"] += f". No longer as it was recorded: {'; '.join(drift)}"
    return ret


def _refuse_unfit(settings, fleet, allow_empty):
    strangers = _strangers(settings, fleet)
    if strangers:
        raise CommandExecutionError(
            f"The old fleet cannot be told: {'; '.join(strangers)}. Take out by hand what does not belong there"
        )
    if not fleet and not allow_empty:
        elbs = ", ".join(elb["name"] for elb in settings["elbs"])
        raise CommandExecutionError(f"Nothing is registered in {elbs}, and no worker runs: there is no fleet to upgrade")


def _left_over(fleet):
    leftovers = [one for one in fleet if not one.get("serves", True)]
    if not leftovers:
        return ""
    return (
        f". Of another release than what serves: {', '.join(_labels(leftovers))}; the window stops them with the rest, and they are "
        "neither started again nor retired"
    )


def _strangers(settings, fleet):
    """What is registered in the run's load balancers and none of its business: unknown, of another purpose, no web instance."""
    purpose_of = {elb["name"]: elb["purpose"] for elb in settings["elbs"]}
    label, found = __salt__["mitx_fleet.label"], []
    for one in fleet:
        for elb in one["elbs"] or ():
            if one["name"] is None:
                found.append(f"{elb} holds {one['id']}, which is no existing instance of {settings['environment']}")
            elif (one["role"], one["purpose"]) != ("edx", purpose_of[elb]):
                found.append(f"{elb} holds {label(one)}, {one['role']} of {one['purpose']}, not edx of {purpose_of[elb]}")
    return found


def _launch_forecast(ret, found):
    if not found["missing"]:
        ret.update(result=None, comment=f"{len(found['instances'])} instances would be recorded as the new fleet")
        ret["changes"] = {"new_fleet": {"old": None, "new": _labels(found["instances"])}}
        return ret
    ret.update(result=None, comment=f"{len(found['missing'])} instances would be launched")
    ret["changes"] = {"launched": found["missing"]}
    return ret


def _settled(settings, number, found):
    """What is pending may take a moment longer; everything else that is wrong stays wrong."""
    latest = {"found": found}

    def check():
        pending = [one for one in latest["found"]["instances"] if one["state"] == "pending"]
        if pending:
            latest["found"] = __salt__["mitx_fleet.new"](settings, number)
            pending = [one for one in latest["found"]["instances"] if one["state"] == "pending"]
        return not pending, f"pending: {', '.join(_labels(pending))}"

    timeout, interval = settings["timeouts"]["minions"], settings["checks"]["interval"]
    __salt__["mitx_run.wait_until"](check, timeout, interval, "The new fleet launched")
    return latest["found"]


def _refuse_half_launched(settings, number, found):
    images = __salt__["mitx_run.pinned"]("images") or {}
    label = __salt__["mitx_fleet.label"]
    wrong = [f"{name} does not exist" for name in found["missing"]] + found["problems"]
    for one in found["instances"]:
        if one["state"] != "running":
            wrong.append(f"{label(one)} is {one['state']}")
        if images.get(one["role"], one["image"]) != one["image"]:
            wrong.append(f"{label(one)} was launched from {one['image']}, not from this run's {images[one['role']]}")
    if wrong:
        raise CommandExecutionError(
            f"{settings['codename']} v{number} is not launched as settings say: {'; '.join(wrong)}. Nothing was recorded. "
            "Put that right, then: salt-run state.orchestrate orchestrate.mitx.prepare"
        )


def _still_launched(ret, known, actual):
    differs = __salt__["mitx_fleet.compare"](known, actual)
    # `close` alone, that was refused say, has not acted on any fleet.
    begun = set(__salt__["mitx_phase.names"]("window")[1:]) & set(__salt__["mitx_phase.attempted"]())
    if differs["changed"] or differs["stopped"] or (differs["missing"] and begun):
        drift = __salt__["mitx_fleet.drift"](known, actual)
        raise CommandExecutionError(f"The new fleet is not the one that this run recorded: {'; '.join(drift)}")
    ret["comment"] = f"The new fleet runs: {len(actual)} instances"
    if differs["missing"]:
        ids = {one["id"] for one in known}
        ret["changes"] = {
            "new_fleet": {"old": _labels(differs["missing"]), "new": _labels(o for o in actual if o["id"] not in ids)}
        }
        if not __opts__["test"]:
            __salt__["mitx_run.pin"]("new_fleet", actual, again=True)
    return ret


def _adopt(ret, settings, ids):
    found = [one for one in __salt__["mitx_fleet.current"](settings) if one["id"] in ids]
    recorded, there = __salt__["mitx_fleet.recorded"]("old"), {one["id"] for one in __salt__["mitx_fleet.instances"](settings)}
    gone = [one for one in recorded if one["id"] not in there]
    if not (found or gone):
        _refuse_changed(settings, [])
        return ret
    ret["changes"] = {"old_fleet": {"old": _labels(gone), "new": _labels(found)}}
    ret["comment"] = "The old fleet is recorded anew, as was said"
    if __opts__["test"]:
        ret["result"] = None
        return ret
    # Nothing has acted on the old fleet yet: `stop` is the first that does.
    __salt__["mitx_run.pin"]("old_fleet", [*(one for one in recorded if one["id"] in there), *found], again=True)
    _refuse_changed(settings, [])
    return ret


def _refuse_changed(settings, others):
    actual, wrong = __salt__["mitx_fleet.instances"](settings), []
    for which in ("old", "new"):
        fleet = __salt__["mitx_fleet.recorded"](which)
        # What EC2 has stopped of the old fleet is quiet, and what serves nobody need not be there.
        differs = __salt__["mitx_fleet.compare"]([one for one in fleet if one.get("serves", True)], actual)
        if which == "old":
            differs["stopped"] = []
        wrong += [f"{__salt__['mitx_fleet.label'](one)} of the {which} fleet is no more" for one in differs["missing"]]
        wrong += [f"{one['id']}: its {one['key']} was {one['recorded']}, is {one['actual']}" for one in differs["changed"]]
        wrong += [f"{__salt__['mitx_fleet.label'](one)} of the {which} fleet is {one['state']}" for one in differs["stopped"]]
    wrong += [f"{label} runs, and is of neither fleet" for label in _labels(others)]
    if wrong:
        raise CommandExecutionError(
            "Not as it was recorded days ago:\n  - "
            + "\n  - ".join(wrong)
            + "\nThe site was left as it is. What is gone of the new fleet is launched anew by: salt-run state.orchestrate "
            "orchestrate.mitx.prepare. What was added to the fleet that serves, or is gone of it, is taken into the record by the same command "
            "with pillar='{mitx: {adopt: True}}'; what nobody needs, stop it in EC2."
        )


def _really_retired(plan):
    """What is gone, though not everything went well."""
    if not plan or plan["refusals"] or __opts__["test"]:
        return {}
    try:
        done = __salt__["mitx_retire.done"](plan)
    except CommandExecutionError:
        return {}
    return {what: names for what, names in done.items() if names}
