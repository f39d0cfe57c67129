"""
The services of the hosts: what runs, stop it, start it, and prove it
======================================================================

A host of Open edX has programs of supervisord, systemd services beside it (gitreload,
``Restart=always``), and Salt schedules: MITx's workers are restarted every five days by one, and
``restart all`` starts what was stopped. A host is quiet only when all three are. Nothing is
believed because a command said so; it is read back.

Parts of a fleet: ``web`` (supervisord and schedule of the web hosts), ``workers`` (those of the
worker hosts), ``systemd`` (``services.systemd``, by role). A minion's role is what its name begins
with: ``edx-worker-``, or not.

The status of a host::

    supervisor    {program: STOPPED | STARTING | RUNNING | BACKOFF | STOPPING | EXITED | FATAL |
                  UNKNOWN}
    supervisord   None; or what was answered instead of a list, and then nothing is known of the
                  programs
    systemd       {service: running (bool)}
    schedule      whether Salt's schedule is enabled there (bool)
    busy          what else might start something there now: jobs of the schedule, highstates,
                  restarts
    oneshot       [program, …]: those that end on purpose (``services.oneshot``)
    pids          {program: process id} of those that run
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_hosts import jobs
from mitx_run import wait

PARTS = ("web", "workers", "systemd")

_LISTED = re.compile(
    r"^(?:supervisor> )?(\S+)\s+(STOPPED|STARTING|RUNNING|BACKOFF|STOPPING|EXITED|FATAL|UNKNOWN)\b",
    re.MULTILINE,
)

# No process, and none that supervisord is about to start again.
_DEAD = ("STOPPED", "EXITED", "FATAL")

# Supervisord has given these up: whoever wants them to run need not wait.
_GIVEN_UP = (" is EXITED", " is FATAL")

_MIGHT_START = ("supervisord.", "service.", "state.")

_SCHEDULED = "its Salt schedule is enabled"

_MARK = "@@ status"

# Salt's own list of jobs cannot be read at the moment in which it is written.
_MAY_FAIL = ("saltutil.running",)
_UNSURE = "cannot determine what is at work there: saltutil.running failed"


def status(run, minions):
    """
    Return ``{minion: status}``, see above; one job for all. All of them must answer.
    """
    found = _ask(run, minions)
    unsure = [minion for minion in found if found[minion]["busy"] == [_UNSURE]]
    return {**found, **(_ask(run, unsure) if unsure else {})}


def problems(found, wanted, parts=None):
    """
    Return, as sentences, what in ``found`` (an answer of :py:func:`status`) is not as ``wanted``:
    ``stopped`` or ``running``.
    """
    return [
        f"{minion}: {line}"
        for minion in found
        for line in _wrong(minion, found[minion], wanted, _parts(parts))
    ]


def absent(run, minions):
    """
    Return, as sentences, which of the systemd services of ``services.systemd`` these hosts do not
    have: such a one would pass for stopped, and fail to start in the night.
    """
    names = {name for minion in minions for name in _systemd(minion, run.settings)}
    found = []
    for name in sorted(names):
        hosts = [minion for minion in minions if name in _systemd(minion, run.settings)]
        there = jobs.execute(
            run, hosts, "service.available", [name], change=False, label=f"is there {name}"
        )
        found += [
            f"{minion}: there is no service {name} (mitx:…:services:systemd)"
            for minion in hosts
            if there[minion] is not True
        ]
    return found


def plan(run, minions, wanted, parts=None):
    """
    Return what is to be done until these parts of these hosts are ``stopped`` or ``running``:
    ``{wrong: {minion: [what is not as wanted]}, calls}``. One job, which only reads.
    """
    parts = _parts(parts)
    concerned = [minion for minion in minions or () if _concerned(minion, parts, run.settings)]
    if minions and not concerned:
        return {"wrong": {}, "calls": []}
    before = _known(status(run, concerned))
    wrong = {minion: _wrong(minion, one, wanted, parts) for minion, one in before.items()}
    wrong = {minion: lines for minion, lines in wrong.items() if lines}
    acted_on = {minion: before[minion] for minion in wrong}
    return {"wrong": wrong, "calls": _calls(run.settings, wanted, acted_on, parts)}


def stop(run, minions, parts=None):
    """
    Stop these parts of these hosts and prove it (:py:func:`apply`). Returns ``{minion: [what was
    not stopped before]}``; empty if everything was stopped already.
    """
    return _bring(run, minions, "stopped", parts)


def start(run, minions, parts=None):
    """
    Start these parts of these hosts and prove it (:py:func:`apply`). Returns ``{minion: [what did
    not run before]}``; empty if everything ran already.
    """
    return _bring(run, minions, "running", parts)


def apply(run, planned, wanted, parts=None):
    """
    Make the calls of a :py:func:`plan` and prove what is ``wanted``. Stopped: programs and services
    ended, the schedule disabled, nothing under way that would start them again. Running: every
    program RUNNING, every service of the role running, the schedule enabled.

    Raises ``CommandExecutionError`` unless all of it is true after ``services.timeout`` seconds, at
    once for a program that is FATAL.
    """
    parts = _parts(parts)

    def check(found):
        return problems(found, wanted, parts)

    def again(found):
        # A restart that was under way has started what was stopped meanwhile. While it goes on
        # there is no use in it.
        started = {
            minion: one for minion, one in found.items() if check({minion: one}) and not one["busy"]
        }
        if wanted == "stopped":
            _make(run, _calls(run.settings, wanted, started, parts))

    if planned["wrong"]:
        told = _make(run, planned["calls"])
        _settle(run, list(planned["wrong"]), check, wanted, told, again)
        if wanted == "stopped" and _SCHEDULED in str(planned["wrong"]):
            # What the schedule had begun the moment before may not have been listed yet.
            _settle(run, list(planned["wrong"]), check, wanted, {}, again)


def restart(run, minions):
    """
    Restart the programs of these hosts that are not stopped and prove that they run, by another
    process than before. What is stopped stays stopped: ``restart all`` would start the workers of a
    quiet fleet. Returns ``{minion: [programs restarted]}``.
    """
    before = _known(status(run, minions))
    chosen = {}
    for minion, found in before.items():
        programs = found["supervisor"].items()
        chosen[minion] = sorted(name for name, state in programs if state != "STOPPED")
    hosts = [minion for minion, names in chosen.items() if names]
    if hosts:
        ctl = _ctl(run.settings)
        running = f"$({ctl} status | awk '$2 != \"STOPPED\" {{print $1}}')"
        script = _then_status(run.settings, _ctl(run.settings, f"restart {running}"))
        request = _request(run.settings, [("cmd.run_all", [script])])
        told = _make(run, [jobs.planned(hosts, label="restart", **request)])
        _settle(run, hosts, lambda found: _not_restarted(found, before, chosen), "restarted", told)
    return {minion: names for minion, names in chosen.items() if names}


def _parts(parts):
    unknown = sorted(set(parts or ()) - set(PARTS))
    if unknown:
        raise CommandExecutionError(
            f"There are the parts {', '.join(PARTS)}, not {', '.join(unknown)}"
        )
    return tuple(parts or PARTS)


def _bring(run, minions, wanted, parts):
    planned = plan(run, minions, wanted, parts)
    apply(run, planned, wanted, parts)
    return planned["wrong"]


def _concerned(minion, parts, settings):
    return _supervised(minion, parts) or ("systemd" in parts and _systemd(minion, settings))


def _calls(settings, wanted, before, parts):
    """
    One job for all hosts that have the same systemd services to be changed, and their programs with
    them. ``before`` is their status.
    """
    verb = {"stopped": "stop", "running": "start"}[wanted]
    changed = {minion: [] for minion in before}
    for service, concerned in _services(before, parts, running=verb == "stop"):
        for minion in concerned:
            changed[minion].append(service)
    found = []
    for services in sorted(set(map(tuple, changed.values()))):
        alike = [minion for minion in before if tuple(changed[minion]) == services]
        found += _calls_alike(settings, alike, parts, verb, list(services))
    return found


def _calls_alike(settings, minions, parts, verb, services):
    hosts = [minion for minion in minions if _supervised(minion, parts)]
    function = f"service.{verb}"
    # Salt runs a function once in a job: what is left needs one of its own.
    together = services[:1] if hosts == minions else []
    limit = settings["services"]["timeout"] + settings["timeouts"]["minions"]
    found = [
        jobs.planned(minions, function, [service], f"{verb} {service}", timeout=limit)
        for service in services[len(together) :]
    ]
    if not hosts:
        return found
    # The schedule first: a restart that begins after the stop would start everything again.
    first = [("schedule.disable", [])] if verb == "stop" else []
    first += [(function, [service]) for service in together]
    last = [("schedule.enable", [])] if verb == "start" else []
    script = _then_status(settings, _ctl(settings, f"{verb} all"))
    request = _request(settings, [*first, ("cmd.run_all", [script]), *last])
    return [*found, jobs.planned(hosts, label=verb, **request)]


def _make(run, planned):
    """Make the calls, and return the statuses that came with their answers."""
    told = {}
    for call in planned:
        for minion, answer in call.make(run).items():
            # A host that could not read its own list of jobs is asked again.
            if isinstance(answer, dict) and {"cmd.run_all", *_MAY_FAIL} <= set(answer):
                told[minion] = _status(minion, answer, run.settings)
    return told


def _services(before, parts, running):
    """``(systemd service, hosts on which it is running)``, or is not, of all."""
    names = (
        {name for one in before.values() for name in one["systemd"]} if "systemd" in parts else ()
    )
    found = []
    for name in sorted(names):
        hosts = [minion for minion, one in before.items() if one["systemd"].get(name) is running]
        if hosts:
            found.append((name, hosts))
    return found


def _settle(run, minions, check, wanted, told, again=None):
    """
    Read until ``check(status)`` finds nothing wrong; ``told`` is what the hosts said already.
    ``again(status)`` is called after each look that found something.
    """
    wrong, told = [], dict(told)

    def look():
        wrong.clear()
        silent = [minion for minion in minions if minion not in told]
        found = _known({**told, **(status(run, silent) if silent else {})})
        told.clear()
        now = check(found)
        given_up = any(line.endswith(_GIVEN_UP) for line in now)
        if now and again and not given_up:
            again(found)
        wrong.extend(now)
        if given_up:
            raise CommandExecutionError("supervisord has given up")
        return not wrong, "; ".join(wrong)

    try:
        wait.until(run, look, run.settings["services"]["timeout"], 1, f"Services {wanted}")
    except CommandExecutionError as err:
        if not wrong:
            raise
        raise _refusal(run.settings, wrong, wanted) from err


def _refusal(settings, wrong, wanted):
    lines = "".join(f"\n  - {line}" for line in wrong)
    hosts = ",".join(dict.fromkeys(line.partition(":")[0] for line in wrong))
    return CommandExecutionError(
        f"Not {wanted}:{lines}\nLook: salt -L {hosts} cmd.run"
        f" '{settings['services']['supervisorctl']} status'. Then run the same command again."
    )


def _known(found):
    """
    Refuse where supervisord does not answer: its programs may be alive or not, so neither stopped
    nor running is true.
    """
    down = {minion: one["supervisord"] for minion, one in found.items() if one["supervisord"]}
    if down:
        told = "".join(f"\n  - {minion}: {said}" for minion, said in down.items())
        raise CommandExecutionError(
            f"supervisord does not answer, so it is not known what runs:{told}\nStart it (salt -L"
            f" {','.join(down)} service.start supervisor; it starts its programs too), or stop the"
            " instance in EC2; then run the same command again."
        )
    return found


def _wrong(minion, one, wanted, parts):
    lines = []
    if _supervised(minion, parts):
        if one["supervisord"]:
            lines.append(f"supervisord does not answer: {one['supervisord']}")
        lines += [
            f"{name} is {state}"
            for name, state in one["supervisor"].items()
            if state not in _good(name, wanted, one["oneshot"])
        ]
        if one["schedule"] is not (wanted == "running"):
            lines.append(_SCHEDULED if one["schedule"] else "its Salt schedule is disabled")
        if wanted == "stopped":
            lines += one["busy"]
    if "systemd" in parts:
        good = wanted == "running"
        lines += [
            f"{name} is {'running' if running else 'not running'}"
            for name, running in one["systemd"].items()
            if running is not good
        ]
    return lines


def _good(program, wanted, oneshot):
    """The states in which a program is as wanted; one that ends on purpose need not run."""
    if wanted == "stopped":
        return _DEAD
    return ("RUNNING", "EXITED") if program in oneshot else ("RUNNING",)


def role(minion):
    """
    Return the role of a host, ``edx`` or ``edx-worker``, by its name.
    """
    return "edx-worker" if minion.startswith("edx-worker-") else "edx"


def _supervised(minion, parts):
    return {"edx": "web", "edx-worker": "workers"}[role(minion)] in parts


def _systemd(minion, settings):
    return settings["services"]["systemd"].get(role(minion)) or []


def _not_restarted(found, before, chosen):
    wrong = []
    for minion, names in chosen.items():
        for name in names if minion in found else ():
            state = found[minion]["supervisor"].get(name)
            oneshot = found[minion]["oneshot"]
            if state not in _good(name, "running", oneshot):
                wrong.append(f"{minion}: {name} is {state}")
            elif name not in oneshot and found[minion]["pids"].get(name) == before[minion][
                "pids"
            ].get(name):
                wrong.append(
                    f"{minion}: {name} is still the process {before[minion]['pids'].get(name)}"
                )
    return wrong


def _ctl(settings, command=None):
    """The command line of supervisorctl; with a command, bounded."""
    path = jobs.quoted(settings["services"]["supervisorctl"])
    return f"timeout {settings['services']['timeout']} {path} {command}" if command else path


def _then_status(settings, command):
    return f"{command} 2>&1; echo '{_MARK}'; {_ctl(settings, 'status')}"


def _ask(run, minions):
    request = _request(run.settings, [("cmd.run_all", [_ctl(run.settings, "status")])])
    label = "status of services"
    answers = jobs.execute(run, minions, change=False, label=label, **request)
    return {minion: _status(minion, answer, run.settings) for minion, answer in answers.items()}


def _request(settings, asked):
    """
    What is asked of the minions in one job: ``asked`` (pairs of function and arguments, a shell
    script among them), then all else that a status is made of.
    """
    reads = ["schedule.is_enabled", "saltutil.running"]
    if any(settings["services"]["systemd"].values()):
        reads.append("service.get_running")
    asked = [*asked, *((one, []) for one in reads)]
    fun, arg = [one for one, _ in asked], [arguments for _, arguments in asked]
    # supervisorctl's exit status says that a program is not RUNNING, or nothing at all before 4.0;
    # its list is read instead.
    script = {"python_shell": True, "ignore_retcode": True}
    kwarg = [script if one == "cmd.run_all" else None for one in fun]
    limit = 2 * settings["services"]["timeout"] + settings["timeouts"]["minions"]
    return {"fun": fun, "arg": arg, "kwarg": kwarg, "timeout": limit, "optional": _MAY_FAIL}


def _status(minion, answer, settings):
    said = answer["cmd.run_all"]
    listing = said["stdout"].rpartition(_MARK)[2]
    programs = dict(_LISTED.findall(listing))
    running = answer.get("service.get_running") or ()
    return {
        "supervisor": programs,
        "supervisord": None if programs else _instead(listing, said),
        "oneshot": [name for name in programs if _listed(name, settings["services"]["oneshot"])],
        "pids": dict(re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", listing, re.MULTILINE)),
        "systemd": {name: name in running for name in _systemd(minion, settings)},
        "schedule": answer["schedule.is_enabled"],
        "busy": _at_work(answer.get("saltutil.running")),
    }


def _listed(program, names):
    """Supervisor names a program of a group ``group:program``."""
    return program in names or program.rpartition(":")[2] in names


def _instead(listing, said):
    text = " ".join(f"{listing} {said['stderr']}".split())
    return text[-300:] or f"supervisorctl listed no program (exit status {said['retcode']})"


def _at_work(jobs):
    return [_UNSURE] if jobs is None else [line for line in map(_busy, jobs) if line]


def _busy(job):
    """This job's own entry, if Salt lists it, has a list of functions."""
    fun = job.get("fun")
    if job.get("schedule"):
        return (
            None
            if job["schedule"].startswith("__")
            else f"its schedule {job['schedule']} is at work ({fun}, job {job.get('jid')})"
        )
    if isinstance(fun, str) and fun.startswith(_MIGHT_START):
        return (
            f"{fun} is at work there (job"
            f" {job.get('jid')}{', by ' + job['user'] if job.get('user') else ''})"
        )
    return None
