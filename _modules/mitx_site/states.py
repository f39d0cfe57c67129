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
from mitx_run import journal, phases, record, window
from mitx_site import checks, dns, mail, maintenance, page


def dns_pointed(run, name, to, guarded=False):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    done = {}
    try:
        planned = dns.plan(run, to)
        if guarded and planned["batch"]:
            done = maintenance.guard(run, to)
        ret["changes"] = {**done, **planned["changes"]}
        if run.test:
            ret["result"] = None if ret["changes"] else True
            calls = [[dns.send, planned]] if planned["batch"] else []
            if guarded and planned["batch"]:
                calls.insert(0, [maintenance.rehearse, to])
            would = [f"Would call: {call}" for call in journal.rehearse(run, calls)]
            ret["comment"] = "\n".join(
                [_sentence(run.settings, to, planned, "would be changed"), *would]
            )
            return ret
        if planned["batch"]:
            change = dns.send(run, planned)
            done = ret["changes"]
            dns.wait_insync(run, change)
        maintenance.finish(run, to)
        ret["comment"] = (
            _sentence(run.settings, to, planned, "were changed") + "; the public sees it"
        )
    except CommandExecutionError as err:
        ret.update(result=False, changes=done, comment=str(err))
    return ret


def ttl_lowered(run, name):
    ret = {"name": name, "result": True, "changes": {}, "comment": "No TTL is too high"}
    try:
        if run.test:
            ret["changes"] = dns.high_ttls(run)
        else:
            ret["changes"] = dns.lower_ttl(run)
        if ret["changes"]:
            ret["result"] = None if run.test else True
            verb = "would be" if run.test else "was"
            ret["comment"] = (
                f"The TTL of {len(ret['changes'])} records {verb} lowered; it counts once the old"
                " TTL has passed"
            )
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def _sentence(settings, to, planned, verb):
    count = len(planned["changes"])
    if not count:
        return f"All {len(settings['records'])} names lead to the {to}"
    return (
        f"{count} of {len(settings['records'])} records {verb}, in one batch, to lead to the {to}"
    )


def page_published(run, name, until=None, unannounced=False):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        if run.test:
            planned = page.plan(run, until, unannounced)
            ret["changes"] = planned["changes"]
            ret["result"] = None if planned["changed"] else True
            calls = [[page.write, planned]] if planned["changed"] else []
            would = [f"Would call: {call}" for call in journal.rehearse(run, calls)]
            ret["comment"] = "\n".join(
                [_sentence_page(run.settings, planned["changed"], "would be"), *would]
            )
            return ret
        done = page.publish(run, until, unannounced)
        ret["changes"] = done["changes"]
        ret["comment"] = " ".join(
            [_sentence_page(run.settings, done["changed"], "was"), *_previous(done), *done["notes"]]
        )
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def _sentence_page(settings, changed, verb):
    where = f"s3://{settings['maintenance']['bucket']}/{settings['maintenance']['key']}"
    return (
        f"The page {verb} published at {where}."
        if changed
        else f"The page at {where} is as it should be."
    )


def _previous(done):
    return [f"The one before is kept in {done['previous']}."] if done["previous"] else []


def announced(run, name, until=None):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        warnings = window.times(run.settings["window"])["warnings"]
        if until is None:
            window.upcoming(run.settings)
        text = mail.request(run.settings, until)
        to = mail.unmailed(run, until)
        ret["changes"] = {"mailed": {"old": None, "new": to}} if to else {}
        ret["comment"] = "\n".join(["For 3down:", "", text, *warnings])
        if run.test:
            ret["result"] = None if to else True
            return ret
        record.capture(
            run, "3down-overrun.txt" if until is not None else "3down-request.txt", text + "\n"
        )
        mail.announce(run, until)
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def in_window(run, name):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        closed = phases.closed(run)
        if closed and any(record["shows"] == "maintenance" for record in dns.records(run).values()):
            ret["comment"] = f"The site was closed at {closed}"
            return ret
        announced = window.require_inside(run.settings)
        ret["comment"] = (
            f"Announced from {announced['start_text']} to {announced['end_text']}"
            if announced
            else "Forced, with no window announced"
        )
    except CommandExecutionError as err:
        # Planned days ahead, it stands in nobody's way yet.
        ret.update(result=None if run.test else False, comment=str(err))
    return ret


_CHECKS = {
    "public": "what everybody sees at every public name",
    "backstage": "every public name through its load balancer, while visitors still see the page",
    "smoke": "every web instance by itself",
    "watch": "the public site for a while",
}


def checked(
    run,
    name,
    check="public",
    expect="site",
    hostnames=None,
    not_before=0,
    fleet="new",
    seconds=None,
):
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    if check not in _CHECKS:
        ret.update(result=False, comment=f"There is no check {check!r}: {', '.join(_CHECKS)}")
        return ret
    arguments = {
        "public": {"expect": expect, "hostnames": hostnames, "not_before": not_before},
        "smoke": {"fleet": fleet},
        "watch": {"seconds": seconds},
    }.get(check, {})
    if run.test:
        said = ", ".join(f"{key}: {value}" for key, value in arguments.items() if value)
        ret.update(
            result=None, comment=f"Would check {_CHECKS[check]}" + (f" ({said})" if said else "")
        )
        return ret
    try:
        if check == "smoke":
            arguments = {"instances": fleets.recorded(run, arguments["fleet"])}
        found = getattr(checks, check)(run, **arguments)
        ret["comment"] = f"Checked {_CHECKS[check]}, {len(found)} in all: {', '.join(found)}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
