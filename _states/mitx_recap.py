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
        if __opts__["test"] and __salt__["mitx_phase.record"]().get("build", {}).get("status") != "finished":
            ret.update(result=None, comment="Nothing is built yet")
            return ret
        # The job cache forgets within a day, and the images may take longer.
        if __salt__["mitx_existing.since_build"]("bases_configured"):
            return ret
        found = {name: wrong for name, wrong in __salt__["mitx_recap.of_bases"]().items() if wrong}
        if not found:
            __salt__["mitx_journal.write"]("bases_configured")
        if found:
            lines = [f"{base}: {line}" for base, wrong in found.items() for line in wrong]
            raise CommandExecutionError(
                "\n".join(
                    [
                        "The base instances were not configured, and the AMIs were made of them all the same:",
                        *lines,
                        __salt__["mitx_existing.build_again"](
                            __salt__["mitx_settings.get"](), __salt__["mitx_existing.release_number"]()
                        ),
                    ]
                )
            )
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
