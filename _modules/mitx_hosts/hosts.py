"""
What a host is beside its services: who, its code, and how it was configured
============================================================================

MITx's hosts configure themselves by an Ansible playbook that is piped into ``tee``: a failed
playbook looks like success to Salt. Only the PLAY RECAP at the end of the log
(``services.ansible_log``) tells, and only if it is the recap of this time: an AMI brings the log of
its own build along.
"""

import calendar
import re
import time

from salt.exceptions import CommandExecutionError

from mitx_hosts import ansible, jobs, services
from mitx_run import events, wait

_SHA = re.compile(r"[0-9a-f]{40}\Z")

# Of the log: recaps, errors, the task that failed, and whether anything came after a recap.
_SHORTENED = (
    r'{ gsub(/\033\[[0-9;]*m/, "") } /^PLAY RECAP/ { print; ended = 1; next } / : ok=[0-9]/ {'
    r" print; next } /^ERROR!/ { print; next } "
    r"/^TASK \[/ { task = $0 } /^(PLAY|TASK) \[/ { if (ended) print; ended = 0 } /^(fatal|failed):"
    r" / { print task; print substr($0, 1, 300) }"
)

_READ = 1 << 16

_RUN_ANSIBLE = "edx.run_ansible"
_CONFIGURATION_ONLY = "--tags install:configuration"

# Steps of the host's clock within a second are no news.
_SLACK = 2


def identity_mismatches(run, instances):
    """
    Return, as sentences, which of the minions of these instances say that they are something else
    than what their instance is tagged: another codename or release under the same name, another
    purpose, no worker. All of them must answer.
    """
    grains = {
        "environment": "environment",
        "purpose": "purpose",
        "codename": "edx_codename",
        "release": "release-version",
    }
    names = [one["name"] for one in instances]
    answers = jobs.execute(
        run, names, "grains.item", ["roles", *grains.values()], change=False, label="grains"
    )
    found = []
    for one in instances:
        said = answers[one["name"]]
        if one.get("role") and one["role"] not in (said.get("roles") or ()):
            found.append(
                f"{one['name']} ({one.get('id')}) is tagged {one['role']}, its minion has the roles"
                f" {said.get('roles')}"
            )
        for key, grain in grains.items():
            if one.get(key) is not None and str(said.get(grain)).removeprefix("v") != str(one[key]):
                found.append(
                    f"{one['name']} ({one.get('id')}) is tagged {key} {one[key]}, its minion says"
                    f" {said.get(grain)!r}"
                )
    return found


def unconfigured(run, minions, since=None):
    """
    Return, as sentences, on which of these hosts not every playbook ended with a clean PLAY RECAP
    (``failed=0 unreachable=0``) the last time. With ``since`` (UTC, ISO 8601) that time must lie
    after it: what Salt's job cache holds of it, else the log on the host.
    """
    playbooks = {
        minion: run.settings["services"]["playbooks"][services.role(minion)] for minion in minions
    }
    printed = ansible.of_jobs(minions, ["state.highstate", "state.sls"], since) if since else {}
    # A later state.sls of something else is no run of Ansible.
    printed = {minion: text for minion, text in printed.items() if "PLAY" in text}
    found = [
        f"{minion}: {line}"
        for minion in printed
        for line in ansible.problems(printed[minion], playbooks[minion])
    ]
    silent = [minion for minion in minions if minion not in printed]
    return found + (_of_logs(run, silent, playbooks, since) if silent else [])


def _of_logs(run, minions, playbooks, since):
    path = run.settings["services"]["ansible_log"]
    log = jobs.quoted(path)
    # The age is told by the host's own clock, whatever time it believes it is. One play is longer
    # than what an answer should be.
    command = (
        f"[ -e {log} ] || exit 0; echo $(( $(date +%s) - $(stat -c %Y {log}) )); awk '{_SHORTENED}'"
        f" {log} | tail -c {_READ}"
    )
    playbooks = playbooks | _own_playbooks(run, minions)
    asked = time.time()
    said = jobs.shell(run, minions, command, change=False, label="Ansible's log")
    earliest = calendar.timegm(time.strptime(since[:19], "%Y-%m-%dT%H:%M:%S")) if since else None
    return [
        f"{minion}: {line} ({path})"
        for minion in said
        for line in _recap_problems(said[minion], playbooks[minion], asked, earliest)
    ]


def _own_playbooks(run, minions):
    """
    What the pillar of a host says that edx.run_ansible plays there, which wins over the settings:
    the log holds earlier runs, and does not tell where the last one begins.
    """
    said = jobs.execute(
        run, minions, "pillar.get", ["edx:playbooks"], change=False, label="playbooks"
    )
    own = {}
    for minion, found in said.items():
        if found and isinstance(found, list):
            own[minion] = [_shown(name, number) for number, name in enumerate(found)]
    return own


def _shown(name, number):
    # Minions of Salt 3008 mask what is asked of their pillar; how many they are, they tell.
    return str(name) if str(name).strip("*") else f"playbook {number + 1}"


def last_configured(run):
    """
    Return when this run, or outside of a run this environment, last began to configure hosts (UTC,
    ISO 8601), ``None`` if it never did: by the existing deploy, or by :py:func:`configure`.
    """
    last = events.when(run, "existing", sls="orchestrate.edx.deploy", stage="before")
    applied = ("state.highstate", "state.sls")
    for line in events.read(run, "minions", stage="before", function=applied):
        if line["function"] == "state.highstate" or _RUN_ANSIBLE in str(line["arguments"]):
            last = max(last, line["time"])
    return last or None


def smoke_test(run, minions):
    """
    Apply the states of ``smoke.states`` to these hosts, MITx's own tests of a server say. Returns
    ``{minion: states}``; every state of every host must succeed, and each that does not is named.
    """
    settings = run.settings["smoke"]
    return jobs.execute(
        run,
        minions,
        "state.sls",
        [settings["states"]],
        timeout=settings["timeout"],
        label="smoke tests",
    )


def configure(run, minions):
    """
    Update the configuration of these hosts, and nothing else: the runbook's ``state.sls
    edx.run_ansible``. Whether Ansible succeeded, :py:func:`unconfigured` tells. Returns ``{minion:
    states}``.
    """
    return jobs.execute(
        run,
        minions,
        "state.sls",
        [_RUN_ANSIBLE],
        {"pillar": {"edx": {"ansible_flags": _CONFIGURATION_ONLY}}},
        timeout=run.settings["timeouts"]["highstate"],
        label="configuration",
    )


def highstate(run, minions):
    """
    Apply the highstate to these hosts with the pillar that ``build_ami`` would give the base
    instances. Returns ``{minion: states}``.
    """
    return jobs.execute(
        run,
        minions,
        "state.highstate",
        kwarg={"pillar": {"edx": {"ansible_flags": build_flags(run.settings)}}},
        timeout=run.settings["timeouts"]["highstate"],
        label="highstate",
    )


def build_flags(settings):
    """
    Return the Ansible flags of a build: configuration only where the release comes from another
    environment's AMIs, else everything, and the migrations only with ``build.run_migrations``.
    """
    if settings["release"]["from"]:
        return _CONFIGURATION_ONLY
    return "-e migrate_db=yes" if settings["build"]["run_migrations"] else ""


def heads(run, minions):
    """
    Return the commit that is checked out on each of these hosts, ``{minion: sha}``.
    """
    return _git(run, minions, "git rev-parse --verify HEAD", False, "commit")


def redeploy(run, minions):
    """
    Fetch ``release.branch`` from origin and reset the code of these hosts to it. Returns ``{minion:
    sha}``, the same sha on all: a branch that moves meanwhile is an error.
    """
    branch = run.settings["release"]["branch"]
    refs = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
    reset = (
        f"git fetch --quiet origin {refs} && git reset --quiet --hard refs/remotes/origin/{branch}"
        " && git rev-parse --verify HEAD"
    )
    found = _git(
        run, minions, reset, True, f"redeploy {branch}", run.settings["release"]["timeout"]
    )
    if len(set(found.values())) > 1:
        told = "".join(f"\n  - {minion}: {sha}" for minion, sha in found.items())
        raise CommandExecutionError(
            f"origin's {branch} moved while it was fetched, the hosts differ:{told}\nRun again:"
            " salt-run mitx.redeploy"
        )
    return found


def launch_dates(run, minions):
    """
    Return the grain ``launch-date`` of these minions, ``{minion: date}``. The existing deploy
    configures those with today's.
    """
    return jobs.execute(
        run, minions, "grains.get", ["launch-date"], change=False, label="launch date"
    )


def set_launch_date(run, minions, date):
    """
    Set the grain ``launch-date`` of these minions and wait until a target by it finds them all.
    """
    jobs.execute(run, minions, "grains.setval", ["launch-date", date], label="launch date")

    def look():
        said = jobs.execute(
            run, minions, "match.grain", [f"launch-date:{date}"], change=False, label="launch date"
        )
        others = [minion for minion, found in said.items() if found is not True]
        return (
            not others,
            (
                f"{', '.join(others)} do not match: is the grain set in their minion's"
                " configuration, which wins?"
            ),
        )

    limit = run.settings["timeouts"]["minions"]
    wait.until(run, look, limit, 1, f"Grain launch-date {date}")


def _git(run, minions, command, change, label, timeout=None):
    platform = jobs.quoted(run.settings["services"]["platform"])
    said = jobs.shell(
        run,
        minions,
        f"cd {platform} && {command}",
        timeout,
        runas=run.settings["services"]["user"],
        change=change,
        label=label,
    )
    wrong = {minion: text for minion, text in said.items() if not _SHA.match(text.strip())}
    if wrong:
        raise CommandExecutionError(f"{label}: git printed no commit: {wrong}")
    return {minion: text.strip() for minion, text in said.items()}


def _recap_problems(text, playbooks, asked, earliest):
    age, _, log = text.partition("\n")
    if not age.strip():
        return ["there is no log: Ansible never ran"]
    problems = ansible.problems(log, playbooks, last=True)
    if earliest is not None and asked - int(age) + _SLACK < earliest:
        problems.append(
            f"nothing was logged since it was begun to be configured, the log is {int(age)} s old"
        )
    return problems
