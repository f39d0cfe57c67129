"""
The gateway to the minions: exactly these, and truthfully
======================================================

Everything this package runs on a host goes through :py:func:`execute`: one job for all hosts at
once, over Salt's ``LocalClient``. It succeeds only if exactly the minions that were asked have
answered, each with return code 0. A change is journaled, and refused under ``test=True``.

What Salt itself tells is not enough: with a dead minion among them ``salt.function`` succeeds,
``batch`` drops return codes, and the timeout of ``cmd.run`` reads as success (seen on 3006, 3007
and 3008). So commands are bounded by ``timeout(1)`` on the host.

A ``minion`` is the id of one, which is the name of its instance; ``minions`` a list of them.
"""

import contextlib
import math
import os
import queue
import re
import shlex
import socket
import threading
import time

import salt.client
from salt.exceptions import CommandExecutionError, SaltClientError, SaltException

from mitx_run import calls, journal, wait
from mitx_run.dunders import __opts__

# Told by a function that never ran, whatever the return code says.
_NEVER_RAN = (
    " is not available.",
    "The minion function caused an exception",
    "Minion did not return",
)

_LINES_TOLD = 5

# Between two looks at what has come in, at the master, and between two calls of `meanwhile`.
_TICK, _LOOK, _MEANWHILE = 0.02, 1, 5

# Seconds in which a host that is there says so.
_SOON = 4

# After a time-out the host's `timeout` waits this long for an end, then kills.
_KILL_AFTER = 30


def execute(
    run,
    minions,
    fun,
    arg=(),
    kwarg=None,
    timeout=None,
    change=True,
    label=None,
    meanwhile=None,
    optional=(),
):
    """
    Run a function on exactly these minions, all at once, and return ``{minion: what it returned}``.

    fun
        An execution function; or a list of different ones, which each minion runs in this order as
        one job. Then ``arg`` is a list of their lists of arguments, ``kwarg`` a list of their
        dicts, and what a minion returned is ``{function: …}``.
    timeout
        Seconds that the job may take, default ``timeouts.minions``. Whoever neither answers nor
        works on the job for that long, or for ``timeouts.minions`` if that is less, is taken for
        dead.
    change
        False: the function only reads.
    label
        What to call it in the journal and in messages.
    meanwhile
        Called without arguments every 5 s while the job runs.
    optional
        Those of a list of functions that may fail. Then they are missing in what a minion returned.

    Raises ``CommandExecutionError`` if ``minions`` is empty, and unless everybody has answered with
    return code 0; the message names each of the others and why.
    """
    label = label or (fun if isinstance(fun, str) else ", ".join(fun))
    wanted = _names(minions, label)
    patience = run.settings["timeouts"]["minions"]
    limit = float(timeout or patience)
    request = {"fun": fun, "arg": _arguments(fun, arg, kwarg)}
    with journal.gateway(
        run,
        "minions",
        change=change,
        label=label,
        function=fun,
        minions=wanted,
        arguments=request["arg"],
    ):
        answers, job = _ask(run, wanted, request, limit, min(limit, patience), meanwhile)
        required = fun if isinstance(fun, str) else [one for one in fun if one not in optional]
        _require(label, wanted, answers, job, required, limit)
    return {minion: _without_failed(answers[minion][0], optional) for minion in wanted}


def planned(minions, fun, arg, label, **options):
    """
    Return the :py:class:`calls.Call` of a job that changes something, for a plan. ``options`` as of
    :py:func:`execute`.
    """
    line = {"event": "minions", "label": label, "minions": list(minions)}
    return calls.Call(line, execute, minions, fun, arg, label=label, **options)


def shell(run, minions, command, timeout=None, runas=None, change=True, label=None, meanwhile=None):
    """
    Run a shell command line on exactly these minions and return ``{minion: stdout}``. Its exit
    status must be 0, that of every part of a pipe too. It is ended after ``timeout`` seconds,
    default ``timeouts.minions``, with all that it started.
    """
    patience = run.settings["timeouts"]["minions"]
    limit = float(timeout or patience)
    kwarg = {"python_shell": True, **({"runas": runas} if runas else {})}
    answers = execute(
        run,
        minions,
        "cmd.run_all",
        [bounded(command, limit)],
        kwarg,
        limit + _KILL_AFTER + patience,
        change,
        label or command,
        meanwhile,
    )
    return {minion: answer["stdout"] for minion, answer in answers.items()}


def bounded(command, timeout):
    """
    Return a command line that runs ``command`` in bash for at most ``timeout`` seconds (exit status
    124 when they run out, 137 when it had to be killed) and fails when any part of a pipe does.
    """
    return (
        f"timeout --kill-after={_KILL_AFTER} {math.ceil(timeout)} /bin/bash -o pipefail -c"
        f" {shlex.quote(command)}"
    )


def quoted(path):
    """
    Return a path for a shell command line. A leading ``~/`` stays what it is to the shell, the rest
    is quoted.
    """
    home, rest = (
        ("~/", path[2:]) if path.startswith("~/") else ("~", "") if path == "~" else ("", path)
    )
    return home + shlex.quote(rest) if rest else home


def answers(run, minions, fun, arg=()):
    """
    Ask those of these minions that are there, and return ``{minion: what it returned}``; nothing is
    said of the others. For hosts that are just coming up, and only for functions that read.
    """
    wanted = _names(minions, fun)
    found, _ = _ask(run, wanted, {"fun": fun, "arg": list(arg)}, _SOON, _SOON, None)
    # Two hosts that answer to one name are not one that is there.
    alone = {
        minion: given[0] for minion, given in found.items() if minion in wanted and len(given) == 1
    }
    return {minion: one["ret"] for minion, one in alone.items() if one.get("retcode") == 0}


def of_master(run, fun, arg=()):
    """
    Ask the master's own minion (grain ``roles: master``), and return ``{minion: what it
    returned}``; empty if it does not answer. Only for functions that read.
    """
    try:
        found, _ = _ask(
            run,
            "roles:master",
            {"fun": fun, "arg": list(arg)},
            2 * _SOON,
            2 * _SOON,
            None,
            tgt_type="grain",
        )
    except CommandExecutionError:
        return {}
    return {minion: given[0]["ret"] for minion, given in found.items()}


def await_cloud(run):
    """
    Wait until the master's own minion works on nothing of Salt Cloud: what a killed command has
    begun there goes on, and a second launch beside it would not see what the first has not tagged
    yet. At most ``timeouts.existing`` seconds.
    """

    def look():
        running = [
            f"{job['fun']} on {minion} (job {job.get('jid')})"
            for minion, running in of_master(run, "saltutil.running").items()
            for job in (running if isinstance(running, list) else ())
            if _of_cloud(job)
        ]
        return not running, f"at work: {', '.join(running)}"

    timeout = run.settings["timeouts"]["existing"]
    wait.until(run, look, timeout, 2, "End of what Salt Cloud does on the master")


def _of_cloud(job):
    # deploy and build_ami have the runner started by the master's minion: saltutil.runner
    # cloud.map_run.
    called = (
        [job.get("fun"), *(job.get("arg") or ())]
        if job.get("fun") == "saltutil.runner"
        else [job.get("fun")]
    )
    return any(str(one).startswith("cloud.") for one in called)


def _names(minions, label):
    wanted = list(dict.fromkeys(minions or ()))
    nameless = [name for name in wanted if not isinstance(name, str) or not name]
    if not wanted or nameless or isinstance(minions, str):
        raise CommandExecutionError(
            f"{label}: no list of minions to run it on was given, but {minions!r}. Nothing was"
            " asked of anybody."
        )
    return wanted


def _arguments(fun, arg, kwarg):
    """
    Arguments as Salt publishes them: keyword arguments travel in a marked dict after the others.
    """
    if isinstance(fun, str):
        return [*arg, {"__kwarg__": True, **kwarg}] if kwarg else list(arg)
    if len(set(fun)) != len(fun):
        raise CommandExecutionError(f"{fun}: Salt returns only one answer of each function")
    rows = zip(fun, list(arg) or [()] * len(fun), kwarg or [None] * len(fun), strict=True)
    return [_arguments(one, row, words) for one, row, words in rows]


def _ask(run, tgt, request, limit, patience, meanwhile, tgt_type="list"):
    """
    Publish and collect: ``({minion: [answers]}, job)`` with job ``{jid, minions: those whose keys
    the master accepted, overdue: bool}`` or ``None`` if there was nobody.
    """
    # Silent for half of the patience, Salt asks the minion whether it works on the job, and gives
    # it the other half.
    half = max(1, math.ceil(patience / 2))
    said, enough, bus = queue.SimpleQueue(), threading.Event(), _bus(run)
    if bus is None:
        _require_published(SaltClientError("nobody listens on its event bus"))
    try:
        client = salt.client.LocalClient(c_path=__opts__["conf_file"])
    except SaltException as err:
        _require_published(err)
    # Salt's client waits without end for an event bus that is gone. So it waits in a thread, which
    # can be left there; only this, since Salt's loaders, which a client makes and throws away, are
    # not for two threads.
    request = {**request, "tgt": tgt, "tgt_type": tgt_type}
    thread = threading.Thread(
        target=_listen, args=(client, said, enough, request, half), daemon=True
    )
    thread.start()
    try:
        return _collect(run, said, bus, limit, meanwhile)
    finally:
        enough.set()
        thread.join(_LOOK)
        if not thread.is_alive():
            client.destroy()


def _listen(client, said, enough, request, half):
    """Put what comes in: ``(job, …)``, ``(answer, …)``, at last ``(end, error or None)``."""
    try:
        job = client.run_job(**request, listen=True, timeout=half)
        said.put(("job", job or None))
        for one in _incoming(client, job, request, half) if job else ():
            if one:
                said.put(("answer", one))
            else:
                time.sleep(_TICK)
            if enough.is_set():
                break
        said.put(("end", None))
    except Exception as err:
        said.put(("end", err))


def _incoming(client, job, request, half):
    asked = {key: request[key] for key in ("tgt", "tgt_type")}
    return client.get_iter_returns(
        job["jid"], set(job["minions"]), **asked, timeout=half, block=False, gather_job_timeout=half
    )


def _collect(run, said, bus, limit, meanwhile):
    answers, job = {}, None
    started = called = looked = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            what, given = said.get(timeout=_LOOK)
            if what == "end":
                _require_published(given)
                return answers, job and {**job, "overdue": False}
            if what == "job":
                job = given
            for minion, answer in given.items() if what == "answer" else ():
                if "ret" in answer:
                    answers.setdefault(minion, []).append(answer)
        now = time.monotonic()
        if job and now - started > limit:
            return answers, {**job, "overdue": True}
        if meanwhile and now - called >= _MEANWHILE:
            meanwhile()
            called = time.monotonic()
        if now - looked >= _LOOK:
            looked = now
            if bus and _bus(run) != bus:
                raise CommandExecutionError(
                    "The Salt master was stopped or restarted meanwhile, and the answers are lost."
                    " What was asked of the hosts may go on there. Look: systemctl status"
                    " salt-master"
                )


def _require_published(err):
    if isinstance(err, (SaltException, OSError)):
        raise CommandExecutionError(
            f"The master could not be asked to publish a job: {err}. Is salt-master running, and is"
            " this its user?"
        ) from err
    if err:
        raise err


def _bus(run):
    """
    Which master's event bus this is, that of a restarted one being another. None: nobody listens
    there. False: there is nothing, and Salt's client says so itself.
    """
    tcp = __opts__.get("ipc_mode") == "tcp"
    path = "" if tcp else os.path.join(__opts__["sock_dir"], "master_event_pub.ipc")
    address = ("127.0.0.1", int(__opts__["tcp_master_pub_port"])) if tcp else path
    try:
        with (
            socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as one,
            contextlib.suppress(TimeoutError, BlockingIOError),
        ):
            # Neither of the two is its end: it is busy.
            one.settimeout(_LOOK)
            one.connect(address)
        found = None if tcp else os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return address if tcp else (found.st_ino, found.st_mtime_ns)


def _require(label, wanted, answers, job, fun, limit):
    faults = {minion: _fault(minion, answers, job, fun, limit) for minion in wanted}
    wrong = {minion: fault for minion, fault in faults.items() if fault}
    strangers = sorted(set(answers) - set(wanted))
    wrong.update(dict.fromkeys(strangers, "was not asked, and answered"))
    if not wrong:
        return
    lines = "".join(f"\n  - {minion}: {fault}" for minion, fault in wrong.items())
    rest = len([minion for minion in wanted if minion not in wrong])
    told = f"{label}: {len(wrong)} of {len(wanted)} minions did not do it ({rest} did):{lines}"
    silent = [minion for minion in wrong if minion not in answers]
    look = f"\nLook: salt -L {','.join(silent)} test.ping" if silent else ""
    raise CommandExecutionError(journal.without_passwords(told + look))


def _fault(minion, answers, job, fun, limit):
    """Why what this minion did is no success, in words; ``None`` if it is one."""
    given = answers.get(minion)
    if given is None:
        return _silence(minion, job, limit)
    if len(given) > 1:
        return f"{len(given)} hosts answer to this name"
    ret, retcode = given[0]["ret"], given[0].get("retcode")
    if isinstance(fun, str):
        return _failure(ret, retcode)
    # A function that raised has no return code of its own here, and a traceback for a return.
    parts = {one: _failure((ret or {}).get(one), (retcode or {}).get(one)) for one in fun}
    return "; ".join(f"{one}: {fault}" for one, fault in parts.items() if fault) or None


def _without_failed(answer, optional):
    failed = {
        one for one in optional if _failure(answer["ret"].get(one), answer["retcode"].get(one))
    }
    if not failed:
        return answer["ret"]
    return {one: ret for one, ret in answer["ret"].items() if one not in failed}


def _silence(minion, job, limit):
    if job is None or minion not in job["minions"]:
        return "the master has no accepted key of it"
    if job["overdue"]:
        return (
            f"no answer after {limit:g} s: dead, or still at it: salt {minion} saltutil.find_job"
            f" {job['jid']}"
        )
    return "no answer: dead, or not reachable"


def _failure(ret, retcode):
    if isinstance(ret, str) and (ret.endswith(_NEVER_RAN[0]) or ret.startswith(_NEVER_RAN[1:])):
        return _told(ret)
    if retcode == 0:
        return None
    return _told(ret) or f"return code {retcode}, returned {ret!r}"


def _told(ret):
    """The end of what a failed function returned; that is where the reason stands."""
    if isinstance(ret, dict) and "retcode" in ret and "stdout" in ret:
        said = _end(f"{ret['stdout']}\n{ret.get('stderr') or ''}")
        return f"exit status {ret['retcode']}{_meaning(ret['retcode'])}{': ' if said else ''}{said}"
    if isinstance(ret, dict):
        failed = [
            one for one in ret.values() if isinstance(one, dict) and one.get("result") is False
        ]
        return "; ".join(
            f"{one.get('__id__') or one.get('name')}: {_end(str(one.get('comment')))}"
            for one in failed
        ) or _end(str(ret))
    if isinstance(ret, list):
        return _end("\n".join(map(str, ret)))
    return _end(ret) if isinstance(ret, str) else ""


def _meaning(status):
    meanings = {
        124: "its time ran out",
        137: "it was killed",
        143: "it was ended",
        # Of a shell that was killed itself Salt gives the signal's number below 0.
        -9: "it was killed",
        -15: "it was ended",
    }
    return f" ({meanings[status]})" if status in meanings else ""


def _end(text):
    lines = [
        line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()
    ]
    return " | ".join(lines[-_LINES_TOLD:])[-600:]
