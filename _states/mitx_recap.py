"""
Ansible's recaps of the base instances
======================================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_recap.of_bases" not in __salt__:
        return False, "The mitx_recap execution module is not loaded"
    return True


def clean(name):
    """
    Require that the last configuration of both base instances ended with a clean PLAY RECAP.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Both recaps are clean: failed=0 unreachable=0"}
    try:
        if __opts__["test"] and not __salt__["mitx_run.pinned"]("release_number"):
            ret.update(result=None, comment="Nothing is built yet")
            return ret
        found = {name: wrong for name, wrong in __salt__["mitx_recap.of_bases"]().items() if wrong}
        if found:
            lines = [f"{base}: {line}" for base, wrong in found.items() for line in wrong]
            raise CommandExecutionError(
                "\n".join(
                    [
                        "The base instances were not configured:",
                        *lines,
                        "Put it right and configure them again with: salt-run mitx.resume_build",
                    ]
                )
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
