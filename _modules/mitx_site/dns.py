"""
The public names in Route 53: what they show, and the swap to the maintenance page and back
============================================================================================

The names are those of the run's purposes (``settings["records"]``). Each is a CNAME either to its
own load balancer (it shows the ``site``) or to the maintenance distribution (it shows the
``maintenance`` page). Whatever else is found at one of these names belongs to somebody else:
nothing is changed then, and what was found is said.

All names move in one batch, which Route 53 applies whole or not at all: one ListResourceRecordSets,
one ChangeResourceRecordSets, then GetChange until INSYNC. On the way back DescribeLoadBalancers
comes before the change, for the load balancers' exact names. Nothing to do: the list alone.
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_run import aws, errors, events, wait
from mitx_run.dunders import __context__
from mitx_site import checks

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = (
    "elasticloadbalancing:DescribeLoadBalancers",
    "route53:ChangeResourceRecordSets",
    "route53:GetChange",
    "route53:ListResourceRecordSets",
)

SHOWS = ("maintenance", "site")

_PLANNED = "mitx_site.planned"

_HIGH_TTL = (
    "visitors would keep the old address that long. salt-run mitx.announce lowers it; then wait for"
    " the old TTL to pass"
)


def records(run):
    """
    Return what the zone holds at each public name, in one call: ``{name: {name, kind, purpose, elb,
    type, ttl, value, shows, problem, high_ttl}}``. ``shows`` is ``maintenance``, ``site`` or
    ``None``; ``problem`` says why the record is none of ours to change, ``high_ttl`` why it must
    not be switched yet; both are ``None`` if all is well.
    """
    run.settings = _settings(run)
    zone = run.settings["dns"]["zone_id"]
    answer = aws.call(run, "route53", "list_resource_record_sets", HostedZoneId=zone)
    at_name = {}
    for record_set in answer["ResourceRecordSets"]:
        at_name.setdefault(_plain(record_set["Name"]), []).append(record_set)
    return {
        wanted["name"]: _judged(run.settings, wanted, at_name.get(_plain(wanted["name"]), []))
        for wanted in run.settings["records"]
    }


def plan(run, to):
    """
    Return what is to be done so that every public name shows ``to`` (``maintenance`` or ``site``):
    ``{to, changes, calls, ttl}``. ``changes`` is ``{name: {old, new}}`` for those that differ,
    ``calls`` the one batch for Route 53 with every name in it, or nothing if none differs, and
    ``ttl`` the seconds for which resolvers may still hold an old record.

    Raises ``CommandExecutionError`` with every record that is not ours to change.
    """
    if to not in SHOWS:
        raise CommandExecutionError(f"Names can show {' or '.join(SHOWS)}, not {to!r}")
    run.settings = _settings(run)
    found = _as_planned(run, records(run))
    _refuse(run.settings, found)
    moving = [record for record in found.values() if record["shows"] != to]
    if not moving:
        return {"to": to, "changes": {}, "calls": [], "ttl": 0}
    targets = _targets(run, to)
    if run.test:
        __context__[_PLANNED] = {name: {"value": targets[name], "shows": to} for name in found}
    return {
        "to": to,
        "changes": _differences(
            found, {name: {**record, "value": targets[name]} for name, record in found.items()}
        ),
        "calls": _batch(
            run.settings,
            f"shows {to}",
            {name: (targets[name], record["ttl"]) for name, record in found.items()},
        ),
        "ttl": max(record["ttl"] for record in moving),
    }


def send(run, planned):
    """
    Send the batch of :py:func:`plan` and return the change's id. Throttling and lost answers are
    tried again until ``dns.timeout``: the same batch twice is the same as once.
    """
    note = {"to": planned["to"], "ttl": planned["ttl"], "changes": planned["changes"]}
    events.write(run, "dns", stage="sending", **note)
    sent = {}

    def change():
        answer = planned["calls"][0].make(run)
        sent["id"] = answer["ChangeInfo"]["Id"].rpartition("/")[2]
        return True, sent["id"]

    try:
        _wait(
            run,
            change,
            f"The change of {len(planned['changes'])} records in zone"
            f" {run.settings['dns']['zone_id']} accepted",
        )
    except errors.AWSError as err:
        if not isinstance(err, errors.Transient):
            # A clear no. Of a deadline it is not known whether the last try arrived.
            events.write(run, "dns", stage="refused", **note)
        raise
    events.write(run, "dns", stage="sent", id=sent["id"], **note)
    return sent["id"]


def wait_insync(run, change_id):
    """
    Wait until all of Route 53's name servers know the change. Raises ``CommandExecutionError``
    after ``dns.timeout`` seconds, with the state last seen.
    """

    def look():
        status = aws.call(run, "route53", "get_change", Id=change_id)["ChangeInfo"]["Status"]
        return status == "INSYNC", status

    try:
        seen = _wait(
            run,
            look,
            f"Change {change_id} of zone {run.settings['dns']['zone_id']} known to all name"
            " servers",
        )
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"{err}. The change was accepted and is on its way: nothing is to be undone. The same"
            " command goes on waiting for it; until then visitors may see the old or the new."
        ) from err
    events.write(run, "dns", stage="insync", id=change_id)
    return seen


def plan_ttl(run):
    """
    Return what is to be done so that no public record has a time to live above ``dns.ttl``, in the
    form of :py:func:`plan`. It helps only once the old time to live is over: days ahead, with the
    announcement. One call.
    """
    run.settings = _settings(run)
    found = records(run)
    wanted = _with_lower_ttl(run.settings, found)
    changes, to = _differences(found, wanted), "has its time to live lowered"
    sets = {name: (wanted[name]["value"], wanted[name]["ttl"]) for name in changes}
    return {
        "to": to,
        "changes": changes,
        "calls": _batch(run.settings, to, sets) if changes else [],
        "ttl": max((found[name]["ttl"] for name in changes), default=0),
    }


def status(run):
    """
    Return what each public name does now: ``{name: {kind, purpose, elb, record, ttl, shows,
    problem, resolvers, visitor}}``. ``problem`` is either of those of :py:func:`records`,
    ``resolvers`` and ``visitor`` are what ``checks.seen`` says.
    """
    run.settings = _settings(run)
    found = records(run)
    seen, silence = _seen(run, list(found))
    shown = {}
    for name, record in found.items():
        answers = seen.get(name, {})
        shown[name] = {
            **{key: record[key] for key in ("kind", "purpose", "elb", "ttl", "shows")},
            "problem": record["problem"] or record["high_ttl"],
            "record": _spoken(record) if record["type"] else None,
            "resolvers": answers.get("resolvers", silence),
            "visitor": answers.get("visitor", silence),
        }
    return shown


def _seen(run, names):
    """
    Return ``({name: {resolvers, visitor, …}}, why there is none)``: that nobody could be asked must
    not hide the records.
    """
    try:
        return checks.seen(run, names), None
    except CommandExecutionError as err:
        return {}, f"not known: {err}"


def _judged(settings, wanted, sets):
    record = {key: wanted[key] for key in ("name", "kind", "purpose", "elb")}
    first = sets[0] if sets else {}
    record["type"], record["ttl"] = first.get("Type"), first.get("TTL")
    record["value"] = ", ".join(item["Value"] for item in first.get("ResourceRecords") or ())
    record["problem"] = _why_foreign(sets)
    record["shows"] = None if record["problem"] else _shown_by(settings, wanted, record["value"])
    if not record["problem"] and not record["shows"]:
        record["problem"] = (
            f"points to {record['value']}, which is neither the load balancer {wanted['elb']} nor "
            f"the distribution {settings['maintenance']['distribution']['domain_name']}"
        )
    record["high_ttl"] = None
    if not record["problem"] and record["ttl"] > settings["dns"]["ttl"]:
        record["high_ttl"] = (
            f"has a TTL of {record['ttl']}, above the {settings['dns']['ttl']} of dns.ttl:"
            f" {_HIGH_TTL}"
        )
    return record


def _why_foreign(sets):
    """
    Return what makes record sets of one name something else than one plain CNAME, or ``None``.
    """
    if not sets:
        return "has no record"
    first = sets[0]
    if len(sets) > 1 or first.get("SetIdentifier"):
        return (
            f"has {len(sets)} record sets, or a routing policy:"
            f" {', '.join(sorted(found['Type'] for found in sets))}"
        )
    if "AliasTarget" in first:
        return f"is an alias of type {first['Type']} to {first['AliasTarget']['DNSName']}"
    if first["Type"] != "CNAME":
        return (
            f"is of type {first['Type']}:"
            f" {', '.join(item['Value'] for item in first.get('ResourceRecords') or ())}"
        )
    return None


def _shown_by(settings, wanted, value):
    target = _plain(value)
    if target == _plain(settings["maintenance"]["distribution"]["domain_name"]):
        return "maintenance"
    region = re.escape(settings["aws"]["region"] or "") or "[a-z0-9-]+"
    name = re.escape(wanted["elb"].lower())
    elb = rf"(dualstack\.)?(internal-)?{name}(-\d+)?\.{region}\.elb\.amazonaws\.com"
    return "site" if re.fullmatch(elb, target) else None


def _refuse(settings, found, keys=("problem", "high_ttl")):
    """
    Raise an error that names every record which must not be switched as it is.
    """
    problems = [
        f"{name} {record[key]}" for name, record in found.items() for key in keys if record[key]
    ]
    if problems:
        raise CommandExecutionError(
            f"No record was changed. In zone {settings['dns']['zone_id']} these are not as they"
            " must be:\n  - " + "\n  - ".join(problems)
        )


def _targets(run, to):
    if to == "maintenance":
        return {
            record["name"]: run.settings["maintenance"]["distribution"]["domain_name"]
            for record in run.settings["records"]
        }
    names = _elb_names(run.settings)
    answer = aws.call(
        run,
        "elb",
        "describe_load_balancers",
        absent=("LoadBalancerNotFound", "AccessPointNotFound"),
        LoadBalancerNames=names,
    )
    if answer is None:
        raise CommandExecutionError(
            f"No record was changed: of the load balancers {', '.join(names)} at least one does not"
            " exist"
        )
    found = {elb["LoadBalancerName"]: elb["DNSName"] for elb in answer["LoadBalancerDescriptions"]}
    missing = sorted(set(names) - set(found))
    if missing:
        raise CommandExecutionError(
            f"No record was changed: these load balancers do not exist: {', '.join(missing)}"
        )
    return {record["name"]: found[record["elb"]] for record in run.settings["records"]}


def _as_planned(run, found):
    """In a dry run: where an earlier step of it would have sent the names."""
    ahead = __context__.get(_PLANNED) or {} if run.test else {}
    return {name: {**record, **ahead.get(name, {})} for name, record in found.items()}


def _with_lower_ttl(settings, found):
    _refuse(settings, found, keys=("problem",))
    return {
        name: {**record, "ttl": min(record["ttl"], settings["dns"]["ttl"])}
        for name, record in found.items()
    }


def _differences(found, wanted):
    return {
        name: {"old": _spoken(found[name]), "new": _spoken(record)}
        for name, record in wanted.items()
        if _plain(record["value"]) != _plain(found[name]["value"])
        or record["ttl"] != found[name]["ttl"]
    }


def _batch(settings, what, sets):
    """
    Return the call that makes each name of ``{name: (target, ttl)}`` that CNAME, all in one batch.
    """
    changes = [
        {"Action": "UPSERT", "ResourceRecordSet": _record_set(name, *found)}
        for name, found in sets.items()
    ]
    batch = {"Comment": f"mitx: {settings['environment']} {what}", "Changes": changes}
    zone = settings["dns"]["zone_id"]
    return [
        aws.planned("route53", "change_resource_record_sets", HostedZoneId=zone, ChangeBatch=batch)
    ]


def _record_set(name, target, ttl):
    return {
        "Name": f"{_plain(name)}.",
        "Type": "CNAME",
        "TTL": ttl,
        "ResourceRecords": [{"Value": target}],
    }


def _wait(run, check, what):
    return wait.until(
        run,
        check,
        timeout=run.settings["dns"]["timeout"],
        interval=run.settings["dns"]["interval"],
        what=what,
        waits_for="DNS",
    )


def _settings(run):
    return run.settings or run.settings


def _elb_names(settings):
    return sorted({record["elb"] for record in settings["records"]})


def _plain(name):
    return name.rstrip(".").lower()


def _spoken(record):
    return f"{record['type']} {record['value']} TTL {record['ttl']}"
