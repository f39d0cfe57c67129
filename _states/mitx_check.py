"""
Checks as steps of an orchestration
===================================

.. code-block:: yaml

    site through its load balancers:
      mitx_check.passed:
        - check: backstage

They change nothing. Under ``test=True`` nothing is asked and nothing waited for: the result is ``None``.
"""

from salt.exceptions import CommandExecutionError

_CHECKS = {
    "public": "what everybody sees at every public name",
    "backstage": "every public name through its load balancer, while visitors still see the page",
    "smoke": "every web instance by itself",
    "watch": "the public site for a while",
}


def __virtual__():
    if "mitx_check.public" in __salt__ and "mitx_look.fetch" in __salt__:
        return True
    return False, "The mitx_check state needs the mitx_check and mitx_look execution modules"


def passed(name, check="public", expect="site", hostnames=None, not_before=0, fleet="new", seconds=None):
    """
    Require that a check passes.

    name
        For the reader only.
    check
        ``public``, ``backstage``, ``smoke`` or ``watch``: see the ``mitx_check`` execution module.
    expect
        What visitors see: ``maintenance`` or ``site``. Of ``public`` only.
    hostnames
        Which of the public names; without it, all. Of ``public`` only.
    not_before
        Seconds for which the old records may still be in caches. Of ``public`` only.
    fleet
        ``new`` or ``old``, as the run recorded it. Of ``smoke`` only.
    seconds
        For how long. Of ``watch`` only; without it ``checks.watch``.
    """
    ret = {"name": name, "result": True, "comment": "", "changes": {}}
    if check not in _CHECKS:
        ret.update(result=False, comment=f"There is no check {check!r}: {', '.join(_CHECKS)}")
        return ret
    arguments = {
        "public": {"expect": expect, "hostnames": hostnames, "not_before": not_before},
        "smoke": {"fleet": fleet},
        "watch": {"seconds": seconds},
    }.get(check, {})
    if __opts__["test"]:
        said = ", ".join(f"{key}: {value}" for key, value in arguments.items() if value)
        ret.update(result=None, comment=f"Would check {_CHECKS[check]}" + (f" ({said})" if said else ""))
        return ret
    try:
        if check == "smoke":
            arguments = {"instances": __salt__["mitx_fleet.recorded"](arguments["fleet"])}
        found = __salt__[f"mitx_check.{check}"](**arguments)
        ret["comment"] = f"Checked {_CHECKS[check]}, {len(found)} in all: {', '.join(found)}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
