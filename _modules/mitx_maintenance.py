"""
Before and after the names are moved: what they will show is there, and the public sees it
==========================================================================================

The phases of a window have established the first already; ``salt-run mitx.maintenance on`` and ``off`` come without a run.
"""

import datetime

from salt.exceptions import CommandExecutionError


def __virtual__():
    return True


def guard(settings, to):
    """
    Make sure that what the names are about to show is there: the maintenance page, on a distribution that will serve it,
    or an instance in service behind each load balancer. Returns the changes that were made (under ``test=True``: would be)
    to the page, ``{page: {…}}``, else ``{}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance on test=True
    """
    if to == "site":
        require_healthy(settings)
        return {}
    __salt__["mitx_distribution.require"](settings)
    do = "mitx_page.plan" if __opts__.get("test") else "mitx_page.publish"
    changes = __salt__[do](settings, unannounced=_unannounced(settings))["changes"]
    return {"page": changes} if changes else {}


def rehearse(settings, to):
    """
    Ask the doors for what :py:func:`guard` would change; for ``mitx_journal.rehearse``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance on test=True
    """
    planned = __salt__["mitx_page.plan"](settings, unannounced=_unannounced(settings)) if to == "maintenance" else {}
    if planned.get("changed"):
        __salt__["mitx_page.write"](settings, planned)


def _unannounced(settings):
    return not (settings["window"].get("force") or __salt__["mitx_window.inside"](settings))


def require_healthy(settings=None):
    """
    Raise ``CommandExecutionError`` unless the load balancer behind every public name has an instance InService. Returns
    ``{load balancer: [ids in service]}``. One call for each load balancer.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance off
    """
    settings = settings or __salt__["mitx_settings.get"]()
    serving, sick = {}, []
    for elb in sorted({record["elb"] for record in settings["records"]}):
        health = __salt__["mitx_elb.health"](elb)
        serving[elb] = sorted(id_ for id_, found in health.items() if found["state"] == "InService")
        if not serving[elb]:
            said = "; ".join(f"{id_} {found['state']}: {found['description']}" for id_, found in sorted(health.items()))
            names = ", ".join(record["name"] for record in settings["records"] if record["elb"] == elb)
            sick.append(f"{elb} ({names}): {said or 'no instance is registered'}")
    if sick:
        raise CommandExecutionError(
            "The names stay where they are: behind them no instance is healthy.\n  - "
            + "\n  - ".join(sick)
            + "\nWhen it is: salt-run mitx.maintenance off"
        )
    return serving


def finish(settings, to):
    """
    Prove that the public sees ``to``: what an earlier command left unfinished is waited for first, and nothing is
    believed before the time to live of the old records is over. Returns what ``mitx_check.public`` found.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance on
    """
    last = _unfinished(to)
    if last.get("id") and last["stage"] == "sent":
        __salt__["mitx_dns.wait_insync"](settings, last["id"])
    left = _seconds_left(last) if last else 0
    found = __salt__["mitx_check.public"](expect=to, not_before=left)
    if last:
        __salt__["mitx_journal.write"]("dns", stage="shown", to=to)
    return found


def _unfinished(to):
    """
    Return the journal's last line about these names if it says that they were moved to ``to`` and not yet that the
    public has seen it, else ``{}``.
    """
    lines = __salt__["mitx_journal.entries"](event="dns")
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
    return max(0.0, unfinished["ttl"] - (datetime.datetime.now(datetime.timezone.utc) - began).total_seconds())
