"""
What a host is beside its services: who, its code, and how it was configured
============================================================================

MITx's hosts configure themselves by an Ansible playbook that is piped into ``tee``: a failed playbook looks like
success to Salt. Only the PLAY RECAP at the end of the log (``services.ansible_log``) tells, and only if it is the recap
of this time: an AMI brings the log of its own build along.
"""

import calendar
import re
import time

from salt.exceptions import CommandExecutionError

_SHA = re.compile(r"[0-9a-f]{40}\Z")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What Ansible prints after a recap only if it was run again.
_BEGUN_AGAIN = re.compile(r"^(PLAY \[|TASK \[|ERROR!)", re.MULTILINE)
_READ = 1 << 16
_CONFIGURATION_ONLY = "--tags install:configuration"
# Steps of the host's clock within a second are no news.
_SLACK = 2


def __virtual__():
    return True


def impostors(instances):
    """
    Return, as sentences, which of the minions of these instances say that they are something else than what their
    instance is tagged: another codename or release under the same name, another purpose, no worker. All of them must
    answer.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.impostors '[{name: edx-mitx-qa-p-0-v1, purpose: p}]' with_pillar=True
    """
    grains = {"environment": "environment", "purpose": "purpose", "codename": "edx_codename", "release": "release-version"}
    names = [one["name"] for one in instances]
    answers = __salt__["mitx_minions.run"](names, "grains.item", ["roles", *grains.values()], change=False, label="grains")
    found = []
    for one in instances:
        said = answers[one["name"]]
        if one.get("role") and one["role"] not in (said.get("roles") or ()):
            found.append(f"{one['name']} ({one.get('id')}) is tagged {one['role']}, its minion has the roles {said.get('roles')}")
        for key, grain in grains.items():
            if one.get(key) is not None and str(said.get(grain)).removeprefix("v") != str(one[key]):
                found.append(f"{one['name']} ({one.get('id')}) is tagged {key} {one[key]}, its minion says {said.get(grain)!r}")
    return found


def unconfigured(minions, since=None, settings=None):
    """
    Return, as sentences, on which of these hosts Ansible's last PLAY RECAP is not clean (``failed=0 unreachable=0``),
    is missing, or is not the end of the log. With ``since`` (UTC, ISO 8601) also where nothing was logged since then.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.unconfigured '[edx-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    log = __salt__["mitx_minions.quoted"](settings["services"]["ansible_log"])
    # The age is told by the host's own clock, whatever time it believes it is.
    command = f"[ -e {log} ] || exit 0; echo $(( $(date +%s) - $(stat -c %Y {log}) )); tail -c {_READ} {log}"
    asked = time.time()
    said = __salt__["mitx_minions.shell"](minions, command, change=False, label="Ansible's log")
    earliest = calendar.timegm(time.strptime(since[:19], "%Y-%m-%dT%H:%M:%S")) if since else None
    path = settings["services"]["ansible_log"]
    return [f"{minion}: {line} ({path})" for minion in said for line in _recap_problems(said[minion], asked, earliest)]


def last_configured():
    """
    Return when this run, or outside of a run this environment, last began to configure hosts (UTC, ISO 8601), ``None``
    if it never did: by the existing deploy, or by :py:func:`configure`.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.last_configured with_pillar=True
    """
    deploys = [line for line in __salt__["mitx_journal.entries"](event="existing") if line["sls"] == "orchestrate.edx.deploy"]
    jobs = [
        line for line in __salt__["mitx_journal.entries"](event="minions") if line.get("label") in ("configuration", "highstate")
    ]
    return max((line["time"] for line in deploys + jobs if line["stage"] == "before"), default=None)


def configure(minions, settings=None):
    """
    Update the configuration of these hosts, and nothing else: the runbook's ``state.sls edx.run_ansible``. Whether
    Ansible succeeded, :py:func:`unconfigured` tells. Returns ``{minion: states}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.configure
    """
    settings = settings or __salt__["mitx_settings.get"]()
    return __salt__["mitx_minions.run"](
        minions,
        "state.sls",
        ["edx.run_ansible"],
        {"pillar": {"edx": {"ansible_flags": _CONFIGURATION_ONLY}}},
        timeout=settings["timeouts"]["highstate"],
        label="configuration",
    )


def highstate(minions, settings=None):
    """
    Apply the highstate to these hosts with the pillar that ``build_ami`` would give the base instances. Returns
    ``{minion: states}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.resume_build
    """
    settings = settings or __salt__["mitx_settings.get"]()
    return __salt__["mitx_minions.run"](
        minions,
        "state.highstate",
        kwarg={"pillar": {"edx": {"ansible_flags": build_flags(settings)}}},
        timeout=settings["timeouts"]["highstate"],
        label="highstate",
    )


def build_flags(settings):
    """
    Return the Ansible flags of a build: configuration only where the release comes from another environment's AMIs,
    else everything, and the migrations only with ``build.run_migrations``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.build_flags '{release: {from: null}, build: {run_migrations: true}}'
    """
    if settings["release"]["from"]:
        return _CONFIGURATION_ONLY
    return "-e migrate_db=yes" if settings["build"]["run_migrations"] else ""


def heads(minions, settings=None):
    """
    Return the commit that is checked out on each of these hosts, ``{minion: sha}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.heads '[edx-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    return _git(minions, "git rev-parse --verify HEAD", settings, False, "commit")


def redeploy(minions, settings=None):
    """
    Fetch ``release.branch`` from origin and reset the code of these hosts to it. Returns ``{minion: sha}``, the same
    sha on all: a branch that moves meanwhile is an error.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.redeploy
    """
    settings = settings or __salt__["mitx_settings.get"]()
    branch = settings["release"]["branch"]
    refs = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
    reset = (
        f"git fetch --quiet origin {refs} && git reset --quiet --hard refs/remotes/origin/{branch} && git rev-parse --verify HEAD"
    )
    found = _git(minions, reset, settings, True, f"redeploy {branch}", settings["release"]["timeout"])
    if len(set(found.values())) > 1:
        told = "".join(f"\n  - {minion}: {sha}" for minion, sha in found.items())
        raise CommandExecutionError(
            f"origin's {branch} moved while it was fetched, the hosts differ:{told}\nRun again: salt-run mitx.redeploy"
        )
    return found


def launch_dates(minions):
    """
    Return the grain ``launch-date`` of these minions, ``{minion: date}``. The existing deploy configures those with
    today's.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.launch_dates '[edx-mitx-qa-next-residential-draft-0-v1]' with_pillar=True
    """
    return __salt__["mitx_minions.run"](minions, "grains.get", ["launch-date"], change=False, label="launch date")


def set_launch_date(minions, date):
    """
    Set the grain ``launch-date`` of these minions and wait until a target by it finds them all.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.set_launch_date '[edx-mitx-qa-next-residential-draft-0-v1]' 2026-12-20 with_pillar=True
    """
    __salt__["mitx_minions.run"](minions, "grains.setval", ["launch-date", date], label="launch date")

    def look():
        said = __salt__["mitx_minions.run"](minions, "match.grain", [f"launch-date:{date}"], change=False, label="launch date")
        others = [minion for minion, found in said.items() if found is not True]
        return not others, f"{', '.join(others)} do not match: is the grain set in their minion's configuration, which wins?"

    limit = __salt__["mitx_settings.get"]()["timeouts"]["minions"]
    __salt__["mitx_run.wait_until"](look, limit, 1, f"Grain launch-date {date}")


def _git(minions, command, settings, change, label, timeout=None):
    platform = __salt__["mitx_minions.quoted"](settings["services"]["platform"])
    said = __salt__["mitx_minions.shell"](
        minions, f"cd {platform} && {command}", timeout, runas=settings["services"]["user"], change=change, label=label
    )
    wrong = {minion: text for minion, text in said.items() if not _SHA.match(text.strip())}
    if wrong:
        raise CommandExecutionError(f"{label}: git printed no commit: {wrong}")
    return {minion: text.strip() for minion, text in said.items()}


def _recap_problems(text, asked, earliest):
    age, _, log = text.partition("\n")
    if not age.strip():
        return ["there is no log: Ansible never ran"]
    log = _COLOUR.sub("", log)
    problems = list(__salt__["mitx_recap.problems"](log))
    _, found, rest = log.rpartition("PLAY RECAP")
    if found and _BEGUN_AGAIN.search(rest):
        problems.append("the log goes on after its last PLAY RECAP: the last playbook did not get to its end")
    if earliest is not None and asked - int(age) + _SLACK < earliest:
        problems.append(f"nothing was logged since it was begun to be configured, the log is {int(age)} s old")
    return problems
