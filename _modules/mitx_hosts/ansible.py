"""
What Ansible says of the hosts that it has configured
=====================================================

MITx's ``edx.run_ansible`` runs one playbook after another, each piped into ``tee``: a playbook that
failed looks like success, and the next one goes on. Web hosts have three (``services:playbooks``),
so the last PLAY RECAP says nothing of the first. Configured is a host if, in one run, each of its
playbooks ended with a clean PLAY RECAP. A playbook that dies before its recap leaves none: they are
counted.

What one run has printed is in Salt's job cache, as the answer of its highstate; the log on the host
holds all runs, the image's too.
"""

import calendar
import re
import time

from salt.exceptions import CommandExecutionError

from mitx_run.dunders import __opts__, __salt__

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_RECAP = re.compile(
    r"^(?P<host>\S+)\s*:\s*ok=\d+.*?unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)",
    re.MULTILINE,
)

_TASK = re.compile(r"^TASK \[(.*?)\]", re.MULTILINE)

_FATAL = re.compile(r"^(fatal|failed): ", re.MULTILINE)

_ERROR = re.compile(r"^ERROR!.*", re.MULTILINE)

# What Ansible prints after a recap only if another playbook has begun.
_BEGUN_AGAIN = re.compile(r"^(PLAY \[|TASK \[|ERROR!)", re.MULTILINE)

# Seconds by which the jid of a job may lie before the moment at which it was decided upon.
_SLACK = 2


def problems(text, playbooks=("the playbook",), last=False):
    """
    Return what one run of ``playbooks`` (names, in their order) printed of what went wrong, as
    sentences; empty when each ended with a clean PLAY RECAP.

    last
        True: ``text`` is a log that holds earlier runs too; its last recaps count, as many as there
        are playbooks.
    """
    parts = re.split(r"^PLAY RECAP.*$", COLOUR.sub("", text), flags=re.MULTILINE)
    if len(parts) == 1:
        return [
            "there is no PLAY RECAP: the playbook did not get to its end",
            *_ERROR.findall(parts[0])[:1],
        ]
    # What precedes a recap, and the recap; what follows the recap's lines belongs to the next
    # playbook.
    runs = [(before, after) for before, after in zip(parts, parts[1:], strict=False)]
    runs = runs[-len(playbooks) :] if last else runs
    found = []
    # A host may have more playbooks by its own pillar (edx:playbooks): then each of them counts.
    if len(runs) < len(playbooks):
        found.append(
            f"{len(runs)} PLAY RECAPs of {len(playbooks)} playbooks ({', '.join(playbooks)}, see"
            " services:playbooks)"
        )
    for number, (before, recap) in enumerate(runs):
        name = playbooks[number] if len(runs) == len(playbooks) else f"playbook {number + 1}"
        found += [
            f"{name}: {line}" if max(len(runs), len(playbooks)) > 1 else line
            for line in _wrong(before, recap)
        ]
    end = _BEGUN_AGAIN.search(parts[-1])
    if end:
        error = _ERROR.search(parts[-1])
        said = f" ({error[0]})" if error else ""
        found.append(
            "the log goes on after its last PLAY RECAP: the last playbook did not get to its"
            f" end{said}"
        )
    return found


def of_bases(run):
    """
    Return what is wrong with the configuration of each base instance: ``{name: [sentences]}``.
    """
    names = run.settings["base_instances"]
    printed = of_jobs(list(names.values()), ["state.highstate"])
    return {
        name: (
            problems(printed[name], run.settings["services"]["playbooks"][role])
            if name in printed
            else ["Salt's job cache holds no highstate of it"]
        )
        for role, name in names.items()
    }


def of_jobs(minions, functions, since=None):
    """
    Return what the newest job of these ``functions`` printed on each of these minions, ``{minion:
    text}``, as far as the job cache holds an answer: only of jobs begun after ``since`` (UTC, ISO
    8601), if given.
    """
    # Not search_function: it fails on a job of several functions, as ours are.
    jobs = __salt__["saltutil.runner"]("jobs.list_jobs")
    if not isinstance(jobs, dict):
        raise CommandExecutionError(f"Salt's job cache cannot be read: {jobs}")
    found, earliest = {}, _as_jid(since)
    chosen = [
        jid
        for jid, job in jobs.items()
        if isinstance(job, dict) and job.get("Function") in functions
    ]
    for jid in sorted(chosen, reverse=True):
        if jid[: len(earliest)] < earliest or set(minions) <= set(found):
            break
        # By position: saltutil.runner has a parameter of its own called jid.
        answer = __salt__["saltutil.runner"]("jobs.lookup_jid", arg=[jid]) or {}
        if not isinstance(answer, dict):
            raise CommandExecutionError(f"Salt's job cache cannot be read: {answer}")
        for minion, result in answer.get("data", answer).items():
            if minion in minions and minion not in found:
                found[minion] = _printed(result)
    return found


def _wrong(before, recap):
    lines = list(_RECAP.finditer(recap))
    if not lines:
        return ["its PLAY RECAP names no host: the playbook did not get to its end"]
    failed = [line for line in lines if int(line["failed"]) or int(line["unreachable"])]
    at = _failed_task(before) if failed else ""
    wrong = [
        f"{line['host']}: failed={line['failed']} unreachable={line['unreachable']}{at}"
        for line in failed
    ]
    # Of the playbook before it, which died without a recap: what it printed lies before this one's.
    return wrong + _ERROR.findall(before)[:1]


def _failed_task(text):
    fatal = [match.start() for match in _FATAL.finditer(text)]
    tasks = [task[1] for task in _TASK.finditer(text) if fatal and task.start() < fatal[-1]]
    return f" in TASK [{tasks[-1]}]" if tasks else ""


def _as_jid(since):
    """
    The beginning of the jid of a job that was published at ``since``; jids are in the master's own
    time.
    """
    if not since:
        return ""
    seconds = calendar.timegm(time.strptime(since[:19], "%Y-%m-%dT%H:%M:%S")) - _SLACK
    return time.strftime(
        "%Y%m%d%H%M%S", time.gmtime(seconds) if __opts__.get("utc_jid") else time.localtime(seconds)
    )


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
