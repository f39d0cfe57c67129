"""
Everything that a run needs
===========================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_preflight.problems" not in __salt__:
        return False, "The mitx_preflight execution module is not loaded"
    return True


def passed(name):
    """
    Require that nothing stands in the way of the run. All that does is told at once. Changes nothing.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        found = __salt__["mitx_preflight.problems"]()
        if not found:
            ret["comment"] = "\n".join(["Nothing stands in the way.", *__salt__["mitx_preflight.notes"]()])
    except CommandExecutionError as err:
        found = {"settings": [str(err)]}
    if found:
        lines = [f"{subject}: {sentence}" for subject, sentences in found.items() for sentence in sentences]
        ret.update(result=False, comment="\n".join(["This stands in the way; nothing was changed:", *lines]))
    return ret
