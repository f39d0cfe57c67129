"""
Ansible's last word on the base instances, from Salt's job cache
================================================================

``build_ami`` configures the base instances by a highstate whose playbook is piped into ``tee``: a failed playbook looks like success.
Only its PLAY RECAP tells. By the time the images exist the bases have no minion any more, but the master's job cache still has
what their highstate printed.
"""

import re

from salt.exceptions import CommandExecutionError

_RECAP = re.compile(r"^(?P<host>\S+)\s*:\s*ok=\d+.*?unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)", re.MULTILINE)


def __virtual__():
    return True


def problems(text):
    """
    Return what the last PLAY RECAP in an output of Ansible says went wrong, as sentences; empty when it is clean. No recap at all is
    a problem: the playbook never got to its end.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_recap.problems 'PLAY RECAP ***'
    """
    _, found, recap = text.rpartition("PLAY RECAP")
    lines = list(_RECAP.finditer(recap)) if found else []
    if not lines:
        return ["there is no PLAY RECAP: the playbook did not get to its end"]
    return [
        f"{line['host']}: failed={line['failed']} unreachable={line['unreachable']}"
        for line in lines
        if int(line["failed"]) or int(line["unreachable"])
    ]


def of_bases(settings=None):
    """
    Return what is wrong with the configuration of each base instance: ``{name: [sentences]}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_recap.of_bases with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    return {name: _of_minion(name) for name in settings["base_instances"].values()}


def _of_minion(name):
    """
    The problems of the newest highstate of ``name`` that the job cache holds an answer of.
    """
    jobs = __salt__["saltutil.runner"]("jobs.list_jobs", search_function="state.highstate")
    if not isinstance(jobs, dict):
        raise CommandExecutionError(f"Salt's job cache cannot be read: {jobs}")
    for jid in sorted(jobs, reverse=True):
        # By position: saltutil.runner has a parameter of its own called jid.
        answer = __salt__["saltutil.runner"]("jobs.lookup_jid", arg=[jid]) or {}
        if not isinstance(answer, dict):
            raise CommandExecutionError(f"Salt's job cache cannot be read: {answer}")
        answers = answer.get("data", answer)
        if name in answers:
            return problems(_printed(answers[name]))
    return ["Salt's job cache holds no highstate of it"]


def _printed(result):
    """
    All that the commands of a highstate wrote to their standard output.
    """
    if not isinstance(result, dict):
        return str(result)
    states = result.get("return", result)
    texts = []
    for state in states.values() if isinstance(states, dict) else ():
        changes = state.get("changes") if isinstance(state, dict) else None
        if isinstance(changes, dict) and isinstance(changes.get("stdout"), str):
            texts.append(changes["stdout"])
    return "\n".join(texts)
