"""
What must be there before names are moved to show it
====================================================

The phases of a window have established it already; ``salt-run mitx.maintenance on`` and ``off`` come without a run.
"""

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
    announced = settings["window"].get("force") or __salt__["mitx_window.inside"](settings)
    changes = __salt__[do](settings, unannounced=not announced)["changes"]
    return {"page": changes} if changes else {}


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
