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

from mitx_fleet import destruction, discard, fleets, images, instances, retire
from mitx_run import change, phases, record, wait


@change.state
def images_available(run, ret, release=None):
    number = _required_release(run, release)
    if run.test:
        _tell_images(ret, images.find(run, number))
        return
    found = images.wait_available(run, number)
    ids = {role: image["id"] for role, image in found.items()}
    ret["changes"] = _pin(run, "images", ids)
    ret["comment"] = "Available: " + ", ".join(
        f"{image['name']} ({image['id']})" for image in found.values()
    )


@change.state
def recorded(run, ret, fleet="old", allow_empty=False):
    known = record.pinned(run, f"{fleet}_fleet")
    if known is not None:
        _still_recorded(run, ret, fleet, known)
        return
    if fleet == "new":
        _launched(run, ret)
        return
    found = fleets.current(run, _release(run, None))
    _refuse_unfit(run.settings, found, allow_empty)
    changes = {"old_fleet": {"old": None, "new": _labels(found)}}
    if run.test:
        change.tell(ret, changes, f"{len(found)} instances would be recorded as the old fleet")
        return
    _pin(run, "old_fleet", found)
    ret["changes"] = changes
    ret["comment"] = (
        f"The old fleet: {', '.join(_labels(found))}{_left_over(found)}{_left_alone(run)}"
    )


@change.state
def unchanged(run, ret, adopt=False):
    ret["comment"] = "Both fleets are as they were recorded"
    if run.test and None in (record.pinned(run, f"{which}_fleet") for which in ("old", "new")):
        change.unknown(ret, "Not known before both fleets are recorded by earlier phases")
        return
    others = fleets.unexpected_members(run)
    if adopt:
        _adopt(run, ret, {one["id"] for one in others})
        return
    _refuse_changed(run, others)


@change.state
def launched(run, ret, release=None):
    _launched(run, ret, release)


@change.state
def retired(run, ret, force=False):
    plan = retire.plan(run, force)
    if plan["refusals"]:
        raise CommandExecutionError(
            f"Not retired, and nothing was destroyed: {'; '.join(plan['refusals'])}"
        )
    notes = "".join(f". {note}" for note in plan["notes"])
    if not plan["destroy"] and not plan["keys"]:
        ret["comment"] = "Nothing is left of the old fleet" + notes
        return
    count = len(plan["destroy"])
    if run.test:
        changes = {"destroyed": _labels(plan["destroy"]), "keys": plan["keys"]}
        names = ", ".join(changes["destroyed"])
        change.tell(ret, changes, f"{count} instances would be destroyed: {names}" + notes)
        return
    try:
        ret["changes"] = retire.retire(run, plan)
    except CommandExecutionError:
        ret["changes"] = _really_destroyed(run, plan)
        raise
    ret["comment"] = (
        f"{count} instances are destroyed, their keys deleted, nothing else touched{notes}"
    )


def _launched(run, ret, release=None):
    number = _required_release(run, release)
    known = record.pinned(run, "new_fleet")
    found = fleets.new(run, number)
    if run.test and not found["problems"] and known is None:
        _tell_launch(ret, found)
        return
    found = _settled(run, number, found)
    _refuse_half_launched(run, number, found)
    if known is not None:
        _still_launched(run, ret, known, found["instances"])
        return
    _pin(run, "new_fleet", found["instances"])
    ret["changes"] = {"new_fleet": {"old": None, "new": _labels(found["instances"])}}
    ret["comment"] = (
        f"{len(found['instances'])} instances of {run.settings['codename']} v{number} run"
    )


@change.state
def build_discarded(run, ret):
    planned = discard.plan(run)
    if planned["refusals"]:
        raise CommandExecutionError(f"Nothing was thrown away: {'; '.join(planned['refusals'])}")
    changes = discard.changes(planned)
    if not changes:
        ret["comment"] = "Nothing is left of a build"
    elif run.test:
        change.tell(ret, changes, "Would be thrown away")
    else:
        try:
            ret["changes"] = discard.apply(run, planned)
        except CommandExecutionError:
            ret["changes"] = _really_destroyed(run, planned)
            raise
        ret["comment"] = "Thrown away. Next: salt-run state.orchestrate orchestrate.mitx.prepare"


def _release(run, release):
    if release is not None:
        return int(release)
    # In a dry run nothing is pinned, and nothing is built: what the run would build is known all
    # the same.
    return images.release_number(run) if run.test else record.pinned(run, "release_number")


def _required_release(run, release):
    number = _release(run, release)
    if number is None:
        raise CommandExecutionError(
            "Which release? This run has recorded no release number; say release=…, or let it build"
            " first: salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    return int(number)


def _pin(run, fact, value):
    """
    Record a fact; returns the changes. A fact that is recorded as the same already is no change.
    """
    before = record.pinned(run, fact)
    record.pin(run, fact, value)
    return {} if before == value else {fact: {"old": before, "new": value}}


def _labels(fleet):
    return [instances.label(one) for one in fleet]


def _tell_images(ret, images):
    available = all(image and image["state"] == "available" for image in images.values())
    ret["result"] = True if available else None
    ret["comment"] = ", ".join(
        f"{role}: {image['state'] if image else 'does not exist yet'}"
        for role, image in images.items()
    )


def _still_recorded(run, ret, fleet, known):
    drift = instances.drift(known, instances.instances(run))
    ret["comment"] = f"The {fleet} fleet is recorded: {len(known)} instances"
    if drift:
        ret["comment"] += f". No longer as it was recorded: {'; '.join(drift)}"
    return ret


def _refuse_unfit(settings, fleet, allow_empty):
    strangers = _strangers(settings, fleet)
    if strangers:
        raise CommandExecutionError(
            f"Cannot determine the old fleet: {'; '.join(strangers)}. Take out by hand what does"
            " not belong there"
        )
    if not fleet and not allow_empty:
        elbs = ", ".join(elb["name"] for elb in settings["elbs"])
        raise CommandExecutionError(
            f"Nothing is registered in {elbs}, and no worker runs: there is no fleet to upgrade"
        )


def _left_alone(run):
    others = fleets.left_alone(run)
    return (
        f". Tagged like a host of theirs, and left alone: {', '.join(_labels(others))}"
        if others
        else ""
    )


def _left_over(fleet):
    leftovers = [one for one in fleet if not one.get("serves", True)]
    if not leftovers:
        return ""
    return (
        f". Of another release than what serves: {', '.join(_labels(leftovers))}; the window stops"
        " them with the rest, and they are neither started again nor retired"
    )


def _strangers(settings, fleet):
    """
    What is registered in the run's load balancers and none of its business: unknown, of another
    purpose, no web instance.
    """
    purpose_of = {elb["name"]: elb["purpose"] for elb in settings["elbs"]}
    label, found = instances.label, []
    for one in fleet:
        for elb in one["elbs"] or ():
            if one["name"] is None:
                found.append(
                    f"{elb} holds {one['id']}, which is no existing instance of"
                    f" {settings['environment']}"
                )
            elif (one["role"], one["purpose"]) != ("edx", purpose_of[elb]):
                found.append(
                    f"{elb} holds {label(one)}, {one['role']} of {one['purpose']}, not edx of"
                    f" {purpose_of[elb]}"
                )
    return found


def _tell_launch(ret, found):
    if found["missing"]:
        changes, what = {"launched": found["missing"]}, "launched"
    else:
        changes = {"new_fleet": {"old": None, "new": _labels(found["instances"])}}
        what = "recorded as the new fleet"
    count = len(found["missing"] or found["instances"])
    change.tell(ret, changes, f"{count} instances would be {what}")


def _settled(run, number, found):
    """What is pending may take a moment longer; everything else that is wrong stays wrong."""
    latest = {"found": found}

    def check():
        pending = [one for one in latest["found"]["instances"] if one["state"] == "pending"]
        if pending:
            latest["found"] = fleets.new(run, number)
            pending = [one for one in latest["found"]["instances"] if one["state"] == "pending"]
        return not pending, f"pending: {', '.join(_labels(pending))}"

    timeout, interval = run.settings["timeouts"]["minions"], run.settings["checks"]["interval"]
    wait.until(run, check, timeout, interval, "The new fleet launched")
    return latest["found"]


def _refuse_half_launched(run, number, found):
    images = record.pinned(run, "images") or {}
    label = instances.label
    wrong = [f"{name} does not exist" for name in found["missing"]] + found["problems"]
    for one in found["instances"]:
        if one["state"] != "running":
            wrong.append(f"{label(one)} is {one['state']}")
        if images.get(one["role"], one["image"]) != one["image"]:
            wrong.append(
                f"{label(one)} was launched from {one['image']}, not from this run's"
                f" {images[one['role']]}"
            )
    if wrong:
        raise CommandExecutionError(
            f"{run.settings['codename']} v{number} is not launched as settings say:"
            f" {'; '.join(wrong)}. Nothing was recorded. Put that right, then: salt-run"
            " state.orchestrate orchestrate.mitx.prepare"
        )


def _still_launched(run, ret, known, actual):
    differs = instances.compare(known, actual)
    # `close` alone, that was refused say, has not acted on any fleet.
    begun = set(phases.names("window")[1:]) & set(phases.touched(run))
    if differs["changed"] or differs["stopped"] or (differs["missing"] and begun):
        drift = instances.drift(known, actual)
        raise CommandExecutionError(
            f"The new fleet is not the one that this run recorded: {'; '.join(drift)}"
        )
    ret["comment"] = f"The new fleet runs: {len(actual)} instances"
    if differs["missing"]:
        ids = {one["id"] for one in known}
        ret["changes"] = {
            "new_fleet": {
                "old": _labels(differs["missing"]),
                "new": _labels(o for o in actual if o["id"] not in ids),
            }
        }
        if not run.test:
            record.pin(run, "new_fleet", actual, again=True)
    return ret


def _adopt(run, ret, ids):
    found = [one for one in fleets.current(run) if one["id"] in ids]
    recorded, there = fleets.recorded(run, "old"), {one["id"] for one in instances.instances(run)}
    gone = [one for one in recorded if one["id"] not in there]
    if not (found or gone):
        _refuse_changed(run, [])
        return
    changes = {"old_fleet": {"old": _labels(gone), "new": _labels(found)}}
    if run.test:
        change.tell(ret, changes, "The old fleet would be recorded anew, as requested")
        return
    # Nothing has acted on the old fleet yet: `stop` is the first that does.
    record.pin(
        run, "old_fleet", [*(one for one in recorded if one["id"] in there), *found], again=True
    )
    ret.update(changes=changes, comment="The old fleet is recorded anew, as requested")
    _refuse_changed(run, [])


def _refuse_changed(run, others):
    actual, wrong = instances.instances(run), []
    for which in ("old", "new"):
        fleet = fleets.recorded(run, which)
        # What EC2 has stopped of the old fleet is quiet, and what serves nobody need not be there.
        differs = instances.compare([one for one in fleet if one.get("serves", True)], actual)
        if which == "old":
            differs["stopped"] = []
        wrong += [
            f"{instances.label(one)} of the {which} fleet was terminated"
            for one in differs["missing"]
        ]
        wrong += [
            f"{one['id']}: its {one['key']} was {one['recorded']}, is {one['actual']}"
            for one in differs["changed"]
        ]
        wrong += [
            f"{instances.label(one)} of the {which} fleet is {one['state']}"
            for one in differs["stopped"]
        ]
    wrong += [f"{label} runs, and is of neither fleet" for label in _labels(others)]
    if wrong:
        raise CommandExecutionError(
            "Not as it was recorded days ago:\n  - "
            + "\n  - ".join(wrong)
            + "\nThe site was left as it is. What is gone of the new fleet is launched anew by:"
            " salt-run state.orchestrate orchestrate.mitx.prepare. What was added to the fleet"
            " that serves, or is gone of it, is taken into the record by the same command with"
            " pillar='{mitx: {adopt: True}}'; what nobody needs, stop it in EC2."
        )


def _really_destroyed(run, plan):
    """What is gone, though not everything went well."""
    try:
        done = destruction.done(run, plan)
    except CommandExecutionError:
        return {}
    return {what: names for what, names in done.items() if names}
