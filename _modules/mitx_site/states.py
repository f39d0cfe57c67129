"""
Where the public names lead
===========================

.. code-block:: yaml

    visitors to the page:
      mitx_site.dns_pointed:
        - to: maintenance

    visitors to the site:
      mitx_site.dns_pointed:
        - to: site
        - guarded: true       # only if the load balancers have somebody to serve them
"""

from salt.exceptions import CommandExecutionError

from mitx_fleet import fleets
from mitx_run import change, phases, record, window
from mitx_site import checks, dns, mail, maintenance, page


@change.state
def dns_pointed(run, ret, to, guarded=False):
    planned = dns.plan(run, to)
    first = maintenance.plan(run, to) if guarded and planned["calls"] else None
    page_changes = {"page": first["changes"]} if first and first["changed"] else {}
    if run.test:
        calls = [*(first["calls"] if first else ()), *planned["calls"]]
        comment = _sentence(run.settings, to, planned, "would be changed")
        change.tell(ret, {**page_changes, **planned["changes"]}, comment, calls)
        return
    if first:
        page.publish(run, first)
        ret["changes"] = page_changes
    if planned["calls"]:
        sent = dns.send(run, planned)
        ret["changes"] = {**page_changes, **planned["changes"]}
        dns.wait_insync(run, sent)
    maintenance.finish(run, to)
    ret["comment"] = _sentence(run.settings, to, planned, "were changed") + "; the public sees it"


@change.state
def ttl_lowered(run, ret):
    planned = dns.plan_ttl(run)
    count = len(planned["changes"])
    comment = "of {} records {} lowered; it counts once the old TTL has passed"
    if not planned["calls"]:
        ret["comment"] = "No TTL is too high"
    elif run.test:
        comment = "The TTL " + comment.format(count, "would be")
        change.tell(ret, planned["changes"], comment, planned["calls"])
    else:
        sent = dns.send(run, planned)
        ret["changes"] = planned["changes"]
        dns.wait_insync(run, sent)
        ret["comment"] = "The TTL " + comment.format(count, "was")


def _sentence(settings, to, planned, verb):
    count = len(planned["changes"])
    if not count:
        return f"All {len(settings['records'])} names lead to the {to}"
    return (
        f"{count} of {len(settings['records'])} records {verb}, in one batch, to lead to the {to}"
    )


@change.state
def page_published(run, ret, until=None, unannounced=False):
    planned = page.plan(run, until, unannounced)
    if run.test:
        comment = _sentence_page(run.settings, planned["changed"], "would be")
        change.tell(ret, planned["changes"], comment, planned["calls"])
        return
    done = page.publish(run, planned)
    ret["changes"] = planned["changes"]
    sentence = _sentence_page(run.settings, planned["changed"], "was")
    ret["comment"] = " ".join([sentence, *_previous(done), *done["notes"]])


def _sentence_page(settings, changed, verb):
    where = f"s3://{settings['maintenance']['bucket']}/{settings['maintenance']['key']}"
    return (
        f"The page {verb} published at {where}."
        if changed
        else f"The page at {where} is as it should be."
    )


def _previous(done):
    return [f"The one before is kept in {done['previous']}."] if done["previous"] else []


@change.state
def announced(run, ret, until=None):
    warnings = window.times(run.settings["window"])["warnings"]
    if until is None:
        window.upcoming(run.settings)
    text = mail.request(run.settings, until)
    to = mail.unmailed(run, until)
    changes = {"mailed": {"old": None, "new": to}} if to else {}
    comment = "\n".join(["For 3down:", "", text, *warnings])
    if run.test:
        change.tell(ret, changes, comment)
        return
    file = "3down-overrun.txt" if until is not None else "3down-request.txt"
    record.capture(run, file, text + "\n")
    mail.announce(run, until)
    ret.update(changes=changes, comment=comment)


@change.state
def in_window(run, ret):
    closed = phases.closed(run)
    if closed and any(record["shows"] == "maintenance" for record in dns.records(run).values()):
        ret["comment"] = f"The site was closed at {closed}"
        return
    try:
        announced = window.require_inside(run.settings)
    except CommandExecutionError as err:
        if not run.test:
            raise
        # Planned days ahead, it stands in nobody's way yet.
        change.unknown(ret, str(err))
        return
    ret["comment"] = (
        f"Announced from {announced['start_text']} to {announced['end_text']}"
        if announced
        else "Forced, with no window announced"
    )


_CHECKS = {
    "public": "what everybody sees at every public name",
    "backstage": "every public name through its load balancer, while visitors still see the page",
    "smoke": "every web instance by itself",
    "watch": "the public site for a while",
}


@change.state
def checked(
    run,
    ret,
    check="public",
    expect="site",
    hostnames=None,
    not_before=0,
    fleet="new",
    seconds=None,
):
    if check not in _CHECKS:
        raise CommandExecutionError(f"There is no check {check!r}: {', '.join(_CHECKS)}")
    arguments = {
        "public": {"expect": expect, "hostnames": hostnames, "not_before": not_before},
        "smoke": {"fleet": fleet},
        "watch": {"seconds": seconds},
    }.get(check, {})
    if run.test:
        given = ", ".join(f"{key}: {value}" for key, value in arguments.items() if value)
        change.unknown(ret, f"Would check {_CHECKS[check]}" + (f" ({given})" if given else ""))
        return
    if check == "smoke":
        arguments = {"instances": fleets.recorded(run, arguments["fleet"])}
    found = getattr(checks, check)(run, **arguments)
    ret["comment"] = f"Checked {_CHECKS[check]}, {len(found)} in all: {', '.join(found)}"
