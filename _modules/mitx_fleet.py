"""
Which instances are the current fleet, and which are the new one
================================================================

An instance is known by its id, its codename and its release number, never by its name alone: release numbers
count per codename, names do not carry the codename (Koa v3 and Juniper v3 are called the same), terminated
instances keep their name for an hour, and ``-v3`` is a prefix of ``-v33``. So names are compared whole, only
instances that still exist count, and what a run works on is recorded in the run.

An instance, everywhere in this package::

    id            i-0123…                                          the identity
    name          edx-mitx-qa-next-residential-draft-0-v1          also the id of its minion
    role          edx | edx-worker
    purpose       next-residential-draft
    codename      koa
    release       1                                                int, None if the tag is missing or no number
    environment   mitx-qa
    address       private address
    state         pending | running | stopping | stopped
    elbs          names of the run's load balancers that hold it; None where nobody looked
    image, vpc    ids

In :py:func:`current`, ``serves`` (bool) too.
"""

from salt.exceptions import CommandExecutionError

# shutting-down and terminated are left out: their names live on for about an hour.
LIVE = ("pending", "running", "stopping", "stopped")
WEB, WORKER = "edx", "edx-worker"
_COMPARED = ("name", "role", "purpose", "codename", "release", "environment")
# DescribeInstances takes at most 200 values in a filter, and answers at most 1000 instances a page.
_FILTER_VALUES = 200
_PAGE = 1000


def __virtual__():
    return True


def instances(settings=None):
    """
    Return every instance that bears the environment's tag and still exists, of whatever purpose, as a list
    sorted by name: one DescribeInstances.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.instances with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    return _describe({"tag:environment": [settings["environment"]], "instance-state-name": LIVE})


def find(names=None, ids=None, states=LIVE):
    """
    Return the instances of the account that bear one of the ``names``, or have one of the ``ids``, in any
    environment. An id that EC2 does not know is simply not in the answer. ``states=None``: terminated ones too.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.find names='[edx-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    key, values = ("tag:Name", list(names or ())) if ids is None else ("instance-id", list(ids))
    found = []
    for start in range(0, len(values), _FILTER_VALUES):
        wanted = {key: values[start : start + _FILTER_VALUES]}
        found += _describe({**wanted, "instance-state-name": states} if states else wanted)
    return found


def current(settings=None, release=None):
    """
    Return the fleet that the new one replaces: what is registered in the run's load balancers, and every other host
    of the same purposes, without what is new. New is what the run recorded as such, and what is tagged with the
    run's codename and ``release`` (int).

    ``serves`` is False for a host of another release than what its purpose's load balancers hold: a leftover of an
    earlier upgrade, or what a colleague tries. It works on the same databases, so it must be stopped with the rest;
    it is never started again, and not retired.

    A registered id that is no existing instance of this environment is in the list too, with ``name`` None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.current with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    found = _with_elbs(instances(settings), __salt__["mitx_elb.describe"](settings))
    is_new = _is_new(settings, release)
    mine = [one for one in found if _belongs(one, settings) and not is_new(one)]
    serving = {(one["purpose"], one["codename"], one["release"]) for one in found if one["elbs"]}
    purposes = {purpose for purpose, _, _ in serving}
    for one in mine:
        generation = (one["purpose"], one["codename"], one["release"])
        # With nothing registered there is no release that serves, and nobody can be told to be a leftover.
        one["serves"] = bool(one["elbs"]) or generation in serving or one["purpose"] not in purposes
    return mine


def new(settings=None, release=None, found=None):
    """
    Return what there is of the new fleet, whose names follow from settings and ``release`` (int)::

        {instances: [exactly as expected: name, role, purpose, codename, release, existing once],
         missing: [names], unexpected: [instances], problems: [what is wrong with each, in words]}

    ``unexpected`` are instances that bear an expected name but are something else, or bear it twice, and
    instances of this codename and release which settings do not name. ``found``: an answer of
    :py:func:`instances`, if there is one already.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.new release=1 with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    release = int(release)
    found = instances(settings) if found is None else found
    expected = {one["name"].format(release=release): one for one in settings["instances"]}
    good, unexpected, problems = {}, [], []
    for one in found:
        wrong = _differences(one, expected, settings, release, found)
        if wrong is None:
            continue
        if wrong:
            unexpected.append(one)
            problems.append(f"{label(one)}: {wrong}")
        else:
            good[one["name"]] = one
    missing = [name for name in expected if name not in good]
    return {"instances": list(good.values()), "missing": missing, "unexpected": unexpected, "problems": problems}


def others(settings=None):
    """
    Return the hosts of the run's purposes that run and are in neither fleet that it recorded: launched by somebody else
    since. They work on the same databases.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.others with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    known = {one["id"] for which in ("old", "new") for one in recorded(which)}
    return [
        one for one in instances(settings) if one["id"] not in known and one["state"] != "stopped" and _belongs(one, settings)
    ]


def recorded(which):
    """
    Return the fleet, ``old`` or ``new``, that the run recorded: a list of instances as they were then.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.recorded old with_pillar=True
    """
    if which not in ("old", "new"):
        raise CommandExecutionError(f"There is an old and a new fleet, not {which!r}")
    fleet = __salt__["mitx_run.pinned"](f"{which}_fleet")
    if fleet is None:
        recorded_by = {"old": "record the old fleet", "new": "deploy the new fleet"}[which]
        raise CommandExecutionError(
            f"This run has not recorded a {which} fleet yet. Let it {recorded_by} first: "
            "salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    return fleet


def compare(recorded, actual):
    """
    Return how ``actual`` differs from ``recorded``, by id: ``{missing: [recorded instances that are no more],
    changed: [{id, key, recorded, actual}], stopped: [actual instances that do not run]}``. All empty: it is the same fleet.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.compare '[]' '[]'
    """
    there = {one["id"]: one for one in actual}
    changed = [
        {"id": one["id"], "key": key, "recorded": one[key], "actual": there[one["id"]][key]}
        for one in recorded
        for key in _COMPARED
        if one["id"] in there and there[one["id"]][key] != one[key]
    ]
    kept = [there[one["id"]] for one in recorded if one["id"] in there]
    return {
        "missing": [one for one in recorded if one["id"] not in there],
        "changed": changed,
        "stopped": [one for one in kept if one["state"] != "running"],
    }


def drift(recorded, actual):
    """
    Return :py:func:`compare` as a list of sentences, one for each instance that is not as it was recorded.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.drift '[]' '[]'
    """
    differs = compare(recorded, actual)
    return [
        *(f"{label(one)} is no more" for one in differs["missing"]),
        *(f"{one['id']}: its {one['key']} was {one['recorded']}, is {one['actual']}" for one in differs["changed"]),
        *(f"{label(one)} is {one['state']}" for one in differs["stopped"]),
    ]


def taken(settings=None, release=None):
    """
    Return what a deploy of ``release`` (int) would collide with, by name, in the whole account::

        {taken: [instances that exist under a name that the deploy would give, each with ``why`` in words],
         ours: [those which an interrupted deploy of this very release launched],
         terminated: [instances that are gone but still listed under such a name]}

    A colleague's Koa v3 beside Juniper v3 is ``taken``: ``cloud.map_run`` would skip the name with a warning. A
    terminated twin is no collision for us, but the existing ``mitx_elb`` fails on it for about an hour.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.taken release=1 with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    release = int(release)
    expected = {one["name"].format(release=release): one for one in settings["instances"]}
    everything = find(names=expected, states=None)
    living = [one for one in everything if one["state"] in LIVE]
    answer = {"taken": [], "ours": [], "terminated": [one for one in everything if one["state"] not in LIVE]}
    for one in living:
        wrong = _differences(one, expected, settings, release, living) or _other_image(one)
        if wrong:
            answer["taken"].append({**one, "why": wrong})
        else:
            answer["ours"].append(one)
    return answer


def label(instance):
    """
    Return what to call an instance in a message: ``name (id)``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.label '{id: i-1, name: edx-1}'
    """
    return f"{instance['name'] or 'an unnamed instance'} ({instance['id']})"


def _describe(filters):
    asked = [{"Name": key, "Values": list(values)} for key, values in filters.items()]
    answer = __salt__["mitx_aws.call"]("ec2", "describe_instances", Filters=asked, MaxResults=_PAGE)
    found = [_instance(raw) for group in answer["Reservations"] for raw in group["Instances"]]
    return sorted(found, key=lambda one: (one["name"] or "", one["id"]))


def _instance(raw):
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags") or ()}
    return {
        "id": raw["InstanceId"],
        "name": tags.get("Name"),
        "role": tags.get("role"),
        "purpose": tags.get("purpose"),
        "codename": tags.get("edx_codename"),
        "release": _number(tags.get("release-version")),
        "environment": tags.get("environment"),
        "address": raw.get("PrivateIpAddress"),
        "state": raw["State"]["Name"],
        "elbs": None,
        "image": raw.get("ImageId"),
        "vpc": raw.get("VpcId"),
    }


def _number(tag):
    digits = str(tag or "").removeprefix("v")
    return int(digits) if digits.isdecimal() else None


def _with_elbs(found, elbs):
    """Fill in ``elbs``; a registered id that is none of ``found`` is added, nameless."""
    holders = {}
    for name, elb in elbs.items():
        for id_ in elb["members"] if elb else ():
            holders.setdefault(id_, []).append(name)
    known = [{**one, "elbs": holders.pop(one["id"], [])} for one in found]
    unknown = [_instance({"InstanceId": id_, "State": {"Name": None}}) for id_ in sorted(holders)]
    return known + [{**one, "elbs": holders[one["id"]]} for one in unknown]


def _is_new(settings, release):
    ids = {one["id"] for one in __salt__["mitx_run.pinned"]("new_fleet") or ()}
    generation = (settings["codename"], None if release is None else int(release))

    def is_new(one):
        return one["id"] in ids or (release is not None and (one["codename"], one["release"]) == generation)

    return is_new


def _belongs(one, settings):
    if one["elbs"]:
        return True
    # The base instances of a build bear a purpose too.
    return one["role"] in (WEB, WORKER) and one["purpose"] in settings["purposes"] and not str(one["name"]).endswith("-base")


def _differences(one, expected, settings, release, found):
    """
    None: it is no affair of this release. Empty: exactly one that is expected. Else what is wrong, in words.
    """
    generation = (one["codename"], one["release"]) == (settings["codename"], release)
    plan = expected.get(one["name"])
    if plan is None:
        return "not in settings" if generation and one["purpose"] in settings["purposes"] else None
    twins = [other["id"] for other in found if other["name"] == one["name"] and other["id"] != one["id"]]
    wanted = {
        "codename": settings["codename"],
        "release": release,
        "role": plan["role"],
        "purpose": plan["purpose"],
        "environment": settings["environment"],
    }
    wrong = [f"its {key} is {one[key]}, not {value}" for key, value in wanted.items() if one[key] != value]
    if twins:
        wrong.append(f"the same name is borne by {', '.join(twins)}")
    return "; ".join(wrong)


def _other_image(one):
    image = (__salt__["mitx_run.pinned"]("images") or {}).get(one["role"])
    if one["image"] == image:
        return ""
    return f"launched from {one['image']}, not from this run's {image or 'images, which do not exist yet'}"
