"""
Before and after the names are moved: what they will show is there, and the public sees it
==========================================================================================

The phases of a window have established the first already; ``salt-run mitx.maintenance on`` and
``off`` come without a run.
"""

import datetime

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb
from mitx_run import events, window
from mitx_site import checks, distribution, dns, page


def plan(run, to):
    """
    Make sure that what the names are about to show is there, or return what is to be done first: an
    instance in service behind each load balancer, or the maintenance page, on a distribution that
    will serve it. Returns a :py:func:`page.plan`, or ``None`` for the site.
    """
    if to == "site":
        require_healthy(run)
        return None
    distribution.require(run)
    return page.plan(run, unannounced=_unannounced(run.settings))


def _unannounced(settings):
    return not (settings["window"].get("force") or window.inside(settings))


def require_healthy(run):
    """
    Raise ``CommandExecutionError`` unless the load balancer behind every public name has an
    instance InService. Returns ``{load balancer: [ids in service]}``. One call for each load
    balancer.
    """
    serving, sick = {}, []
    for balancer in sorted({record["elb"] for record in run.settings["records"]}):
        health = elb.health(run, balancer)
        serving[balancer] = sorted(
            id_ for id_, found in health.items() if found["state"] == "InService"
        )
        if not serving[balancer]:
            said = "; ".join(
                f"{id_} {found['state']}: {found['description']}"
                for id_, found in sorted(health.items())
            )
            names = ", ".join(
                record["name"] for record in run.settings["records"] if record["elb"] == balancer
            )
            sick.append(f"{balancer} ({names}): {said or 'no instance is registered'}")
    if sick:
        raise CommandExecutionError(
            "The names stay where they are: behind them no instance is healthy.\n  - "
            + "\n  - ".join(sick)
            + "\nWhen it is: salt-run mitx.maintenance off"
        )
    return serving


def finish(run, to):
    """
    Prove that the public sees ``to``: what an earlier command left unfinished is waited for first,
    and nothing is believed before the time to live of the old records is over. Returns what
    ``checks.public`` found.
    """
    last = _unfinished(run, to)
    if last.get("id") and last["stage"] == "sent":
        dns.wait_insync(run, last["id"])
    left = _seconds_left(last) if last else 0
    found = checks.public(run, expect=to, not_before=left)
    if last:
        events.write(run, "dns", stage="shown", to=to)
    return found


def _unfinished(run, to):
    """
    Return the journal's last line about these names if it says that they were moved to ``to`` and
    not yet that the public has seen it, else ``{}``.
    """
    lines = events.read(run, "dns")
    begun = [line for line in lines if line.get("stage") == "sending"]
    after = [line for line in lines if begun and line["time"] >= begun[-1]["time"]]
    if not begun or begun[-1]["to"] != to or after[-1]["stage"] in ("shown", "refused"):
        return {}
    sent = [line for line in after if line.get("id")]
    return {
        "began": begun[-1]["time"],
        "ttl": begun[-1]["ttl"],
        "id": sent[-1]["id"] if sent else None,
        "stage": after[-1]["stage"],
    }


def _seconds_left(unfinished):
    began = datetime.datetime.fromisoformat(unfinished["began"].replace("Z", "+00:00"))
    return max(
        0.0,
        unfinished["ttl"] - (datetime.datetime.now(datetime.timezone.utc) - began).total_seconds(),
    )
