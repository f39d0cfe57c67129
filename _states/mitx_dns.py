"""
Where the public names lead
===========================

.. code-block:: yaml

    visitors to the page:
      mitx_dns.pointed:
        - to: maintenance

    visitors to the site:
      mitx_dns.pointed:
        - to: site
        - guarded: true       # only if the load balancers have somebody to serve them
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_dns.plan" not in __salt__:
        return False, "The mitx_dns execution module is not loaded"
    return True


def pointed(name, to, guarded=False):
    """
    Ensure that every public name of the run shows ``to`` (``maintenance`` or ``site``), and that the public sees it. All names
    move in one batch. A record that is not ours to change is refused, and then nothing is changed.

    ``changes`` holds each record before and after. They stay when the change was accepted and something after it
    failed: waiting for INSYNC, or for the public.

    guarded
        Only if something is there to be shown: before names move to the page, the distribution is checked and the page
        published; before they move to the site, each load balancer must have an instance InService. The phases of a
        window have done that already.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    done = {}
    try:
        settings = __salt__["mitx_settings.get"]()
        planned = __salt__["mitx_dns.plan"](settings, to)
        if guarded and planned["batch"]:
            done = __salt__["mitx_maintenance.guard"](settings, to)
        ret["changes"] = {**done, **planned["changes"]}
        if __opts__["test"]:
            ret["result"] = None if ret["changes"] else True
            calls = [["mitx_dns.send", settings, planned]] if planned["batch"] else []
            if guarded and planned["batch"]:
                calls.insert(0, ["mitx_maintenance.rehearse", settings, to])
            would = [f"Would call: {call}" for call in __salt__["mitx_journal.rehearse"](calls)]
            ret["comment"] = "\n".join([_sentence(settings, to, planned, "would be changed"), *would])
            return ret
        if planned["batch"]:
            change = __salt__["mitx_dns.send"](settings, planned)
            done = ret["changes"]
            __salt__["mitx_dns.wait_insync"](settings, change)
        __salt__["mitx_maintenance.finish"](settings, to)
        ret["comment"] = _sentence(settings, to, planned, "were changed") + "; the public sees it"
    except CommandExecutionError as err:
        ret.update(result=False, changes=done, comment=str(err))
    return ret


def ttl_lowered(name):
    """
    Ensure that no public name of the run has a higher time to live than ``dns.ttl``. It takes effect when the old one is over.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "No TTL is too high"}
    try:
        settings = __salt__["mitx_settings.get"]()
        if __opts__["test"]:
            ret["changes"] = __salt__["mitx_dns.high_ttls"](settings)
        else:
            ret["changes"] = __salt__["mitx_dns.lower_ttl"](settings)
        if ret["changes"]:
            ret["result"] = None if __opts__["test"] else True
            verb = "would be" if __opts__["test"] else "was"
            ret["comment"] = f"The TTL of {len(ret['changes'])} records {verb} lowered; it counts once the old TTL has passed"
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def _sentence(settings, to, planned, verb):
    count = len(planned["changes"])
    if not count:
        return f"All {len(settings['records'])} names lead to the {to}"
    return f"{count} of {len(settings['records'])} records {verb}, in one batch, to lead to the {to}"
