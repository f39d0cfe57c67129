"""
The record of a run: its folder, journal, pinned facts, lock and approvals
==========================================================================

A run is one upgrade of one environment: environment + purposes + codename + upstream ref (or the
environment whose AMIs are used) + start of the window. The same settings name the same run, so the
same command continues it; a new window is a new run.

Everything lies below ``mitx:run_dir`` (default ``/var/lib/mitx``)::

    <run_dir>/<environment>/lock             who works on this environment now (flock)
    <run_dir>/<environment>/journal.jsonl    calls made outside of any run
    <run_dir>/<environment>/<run>/run.json   who began it, the settings that name it, pinned facts
    <run_dir>/<environment>/<run>/journal.jsonl
    <run_dir>/<environment>/<run>/output/    captured outputs

Times are UTC, ISO 8601. A kill at any byte leaves a readable record: ``run.json`` is replaced whole,
and a torn last line of the journal is skipped.
"""

import contextlib
import datetime
import errno
import fcntl
import getpass
import hashlib
import json
import os
import pathlib
import re
import socket
import time

from salt.exceptions import CommandExecutionError

# `key` is what Salt calls a secret access key; `Key` is the name of an object in S3.
_SECRET_NAME = re.compile(r"(?i:pass|secret|token|credential|private)|^key$|^keyid$")
_URL_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_LONGEST_TEXT = 2000
_REHEARSED = "mitx_run.rehearsed"


def __virtual__():
    return True


def redact(value):
    """
    Return a copy of ``value`` that may be written down: what a secret's name stands for is masked,
    user names and passwords are cut from URLs, and long or binary bodies become their size and digest.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.redact '{password: x, url: "https://me:pw@host/"}'
    """
    if isinstance(value, dict):
        return {
            str(key): "***" if _SECRET_NAME.search(str(key)) and isinstance(item, (str, bytes, int)) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [redact(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:12]}>"
    if isinstance(value, str):
        text = _URL_USERINFO.sub("***@", value)
        if len(text) > _LONGEST_TEXT:
            return f"{text[:200]}… <{len(text)} characters>"
        return text
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))


def identify(settings=None):
    """
    Return the id of the run that these settings name, whether it has begun or not: start of its window,
    codename, and a digest of everything that makes it this run and no other.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.identify with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    release = settings["release"]
    start = (settings["window"] or {}).get("start_utc")
    identity = [
        settings["environment"],
        sorted(settings["purposes"]),
        settings["codename"],
        ["from", release["from"]] if release["from"] else ["onto", release["onto"]],
        start,
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:6]
    stamp = re.sub(r"[-:]", "", start).replace("0000Z", "00Z") if start else "nowindow"
    return f"{stamp}-{settings['codename']}-{digest}"


def folder(run=None):
    """
    Return the path (str) of the folder of ``run``; without it, of the run that pillar ``mitx:run`` names or that
    :py:func:`use` chose; outside of any run, of the environment. It may not exist yet.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.folder with_pillar=True
    """
    run = run or _pillar().get("run") or __context__.get("mitx_run.run")
    base = _environment_folder()
    return str(base / run) if run else str(base)


def use(run):
    """
    Let everything that follows in this orchestration belong to ``run``. Returns it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.use 20261220T0200Z-koa-1a2b3c with_pillar=True
    """
    __context__["mitx_run.run"] = run
    return run


def begin(run, why=""):
    """
    Create the folder and ``run.json`` of ``run`` unless they are there. Returns the content of
    ``run.json``: ``{id, environment, began, by, host, why, facts: {name: value}}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.begin 20261220T020000Z-koa-1a2b3c with_pillar=True
    """
    _refuse_under_test("begin a run")
    found = read(run)
    if found:
        return found
    path = pathlib.Path(folder(run))
    _make_folder(path / "output")
    record = {
        "id": run,
        "environment": __salt__["mitx_settings.environment"](),
        "began": _now(),
        "by": _who(),
        "host": socket.gethostname(),
        "why": why,
        "facts": {},
    }
    _replace(path / "run.json", record)
    return record


def read(run=None):
    """
    Return the content of ``run.json`` of ``run`` (see :py:func:`begin`), or ``None`` if it never began.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.read with_pillar=True
    """
    path = pathlib.Path(folder(run)) / "run.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise CommandExecutionError(f"The record of the run, {path}, cannot be read: {err}") from err


def runs():
    """
    Return the records (see :py:func:`begin`) of all runs of this environment, the one begun last at the end.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.runs with_pillar=True
    """
    found = [read(path.parent.name) for path in _environment_folder().glob("*/run.json")]
    return sorted(found, key=lambda record: record["began"])


def pin(name, value):
    """
    Record a fact of the run for good. Pinning the same value again changes nothing; another value is refused,
    because later phases have already acted on the first one.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.pin release_number 1 with_pillar=True
    """
    _refuse_under_test(f"pin {name}")
    record = read()
    if record is None or "facts" not in record:
        raise CommandExecutionError(f"There is no run in which {name} could be recorded")
    value = json.loads(json.dumps(value))
    if name in record["facts"]:
        if record["facts"][name] == value:
            return value
        raise CommandExecutionError(
            f"The run {record['id']} already recorded {name} as {record['facts'][name]!r}; "
            f"it is now found to be {value!r}. Nothing was changed."
        )
    record["facts"][name] = value
    _replace(pathlib.Path(folder()) / "run.json", record)
    journal("pin", name=name, value=value)
    return value


def pinned(name, default=None):
    """
    Return the recorded fact ``name`` of the run, or ``default``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.pinned old_fleet with_pillar=True
    """
    return ((read() or {}).get("facts") or {}).get(name, default)


def journal(event, **fields):
    """
    Append one line to the journal and fsync it. ``fields`` are redacted. Returns the line as a dict.
    Under ``test=True`` nothing is written.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.journal note text="3down has confirmed" with_pillar=True
    """
    line = {"time": _now(), "event": event, **redact({k: v for k, v in fields.items() if not k.startswith("__")})}
    if not __opts__.get("test"):
        _append(pathlib.Path(folder()), line)
    return line


def entries(run=None, event=None):
    """
    Return the lines of the journal as a list of dicts, oldest first; of one ``event`` only, if given.
    A line torn by a kill is left out.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.entries event=phase with_pillar=True
    """
    try:
        text = (pathlib.Path(folder(run)) / "journal.jsonl").read_text(errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for raw in text.splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(raw)
            if isinstance(line, dict) and event in (None, line.get("event")):
                lines.append(line)
    return lines


def journaled(door, change=True, **fields):
    """
    The duty of every door to the outside, as a context manager. A change is refused under ``test=True``,
    journaled before (``stage: before``) and after it (``stage: after``, or ``failed`` with the error).
    A reading call is journaled only when it fails.

    .. code-block:: python

        with __salt__["mitx_run.journaled"]("aws", change=True, operation="create_invalidation"):
            …
    """
    if change:
        _refuse_under_test(f"{door}: {' '.join(str(v) for v in list(fields.values())[:3])}")
    where = None if __opts__.get("test") else pathlib.Path(folder())
    return _journaled(where, {"event": door, **redact(fields)}, change)


def rehearse(calls):
    """
    Return, as sentences of :py:func:`spoken`, the changes that these calls would ask of the doors; none is made. Only under
    ``test=True``. ``calls`` is a list of ``[function of an execution module, argument, …]``.
    """
    if not __opts__.get("test"):
        raise CommandExecutionError("Only a dry run is rehearsed")
    noted = __context__[_REHEARSED] = []
    try:
        for function, *arguments in calls:
            __salt__[function](*arguments)
    finally:
        __context__.pop(_REHEARSED)
    return noted


def rehearsed(door, **fields):
    """
    Return whether a rehearsal is on, and then note the change that a door is asked for. The door does not make it.
    """
    if not __opts__.get("test") or _REHEARSED not in __context__:
        return False
    __context__[_REHEARSED].append(spoken({"event": door, **redact(fields)}))
    return True


def spoken(line):
    """
    Return the call of a door's line of the journal as one sentence, the same for a call that was made and one that would be.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rollback test=True
    """
    if line["event"] == "aws":
        return f"aws {line['service']}.{line['operation']} {json.dumps(_without_tokens(line['parameters']), sort_keys=True)}"
    if line["event"] == "minions":
        return f"minions {line['label']}: {', '.join(line['minions'])}"
    return f"{line['event']} {line.get('command') or line.get('sls') or ''}".strip()


def _without_tokens(value):
    """What makes a request unique is not part of what it asks for."""
    if isinstance(value, dict):
        return {key: _without_tokens(item) for key, item in value.items() if key != "CallerReference"}
    return value


@contextlib.contextmanager
def _journaled(where, line, change):
    # Salt's dunders are only set while a loaded function runs: what is needed was taken before the first yield.
    def write(**more):
        if where is not None:
            _append(where, {"time": _now(), **line, **more})

    if change:
        write(stage="before")
    started = time.monotonic()
    try:
        yield
    except BaseException as err:
        write(stage="failed", error=redact(f"{err}" or type(err).__name__), seconds=round(time.monotonic() - started, 3))
        raise
    if change:
        write(stage="after", seconds=round(time.monotonic() - started, 3))


def capture(name, text):
    """
    Keep an output of this run in a file below ``output/``. ``name`` is its name, slashes allowed. Returns the path.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.capture note.txt 'seen by eye' with_pillar=True
    """
    _refuse_under_test(f"write {name}")
    base = pathlib.Path(folder()) / "output"
    path = (base / name).resolve()
    if not path.is_relative_to(base.resolve()):
        raise CommandExecutionError(f"{name} would lie outside of the run's folder")
    _make_folder(path.parent)
    path.write_text(_URL_USERINFO.sub("***@", text))
    return str(path)


def approve(gate="verify", note="", who=None):
    """
    Record that a human has looked and said yes.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.approve with_pillar=True
    """
    _refuse_under_test(f"approve {gate}")
    return journal("approved", gate=gate, note=note, by=who or _who())


def approved(gate="verify", since=None):
    """
    Return the journal line of the last approval of ``gate`` (after ``since``, a journal time), or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.approved with_pillar=True
    """
    lines = [line for line in entries(event="approved") if line["gate"] == gate and line["time"] >= (since or "")]
    return lines[-1] if lines else None


def lock(why="", phase=""):
    """
    Hold the environment for this process until it ends, however it ends. Held already by this process: fine, and
    what it is doing is noted. Held by another: an error that says who, since when and why.

    The lock is a ``flock``: ``kill -9`` frees it, and no clean-up is ever needed.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.lock why='looking around' with_pillar=True
    """
    _refuse_under_test("lock the environment")
    path = _environment_folder() / "lock"
    _make_folder(path.parent)
    mine = holder()
    if mine and mine["mine"]:
        _write_holder(mine["fd"], {**mine, "why": why or mine["why"], "phase": phase or mine.get("phase", "")})
        return holder()
    # The descriptor is left open on purpose: its lock lives as long as the process. Python makes it close-on-exec,
    # so no daemon or git that is started meanwhile inherits the lock.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(descriptor)
        if err.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise CommandExecutionError(_refusal(holder())) from err
    _write_holder(
        descriptor,
        {
            "pid": os.getpid(),
            "fd": descriptor,
            "by": _who(),
            "host": socket.gethostname(),
            "since": _now(),
            "why": why,
            "phase": phase,
        },
    )
    return holder()


def unlock():
    """
    Give the environment back before the process ends. Not held by this process: nothing happens.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.unlock with_pillar=True
    """
    mine = holder()
    if mine and mine["mine"]:
        os.close(mine["fd"])


def holder():
    """
    Return who holds the environment: ``{pid, by, host, since, why, phase, mine: bool}``, or ``None`` if nobody does.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.holder with_pillar=True
    """
    path = _environment_folder() / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError:
        found = _read_holder(path)
        return {**found, "mine": found.get("pid") == os.getpid() and _is_open(found.get("fd"), path)}
    finally:
        os.close(descriptor)


def wait_until(check, timeout, interval, what):
    """
    Ask ``check()`` every ``interval`` seconds until it says yes. It returns ``(done: bool, seen: str)``. An error whose
    ``transient`` attribute is true counts as "not yet". After ``timeout`` seconds ``CommandExecutionError`` says what
    was seen last. Returns the last ``seen``.
    """
    deadline = time.monotonic() + float(timeout)
    while True:
        try:
            done, seen = check()
        except CommandExecutionError as err:
            if not getattr(err, "transient", False):
                raise
            done, seen = False, str(err)
        if done:
            return seen
        left = deadline - time.monotonic()
        if left <= 0:
            raise CommandExecutionError(f"{what}: not so after {timeout} s; last seen: {seen}")
        time.sleep(min(float(interval), left))


def _pillar():
    return __pillar__.get("mitx") or {}


def _environment_folder():
    base = pathlib.Path(_pillar().get("run_dir") or "/var/lib/mitx")
    return base / __salt__["mitx_settings.environment"]()


def _make_folder(path):
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as err:
        raise CommandExecutionError(
            f"The record of the run cannot be kept: {path}: {err.strerror}. "
            f"Create it for the user {getpass.getuser()}, or set pillar mitx:run_dir"
        ) from err


def _append(where, line):
    path = where / "journal.jsonl"
    _make_folder(path.parent)
    data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path, record):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as out:
        json.dump(record, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def _write_holder(descriptor, holder_record):
    data = json.dumps({k: v for k, v in holder_record.items() if k != "mine"}).encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _read_holder(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        # Between a colleague's flock and his first byte: held, by someone who has not said his name yet.
        return {"pid": None, "by": "unknown", "host": "unknown", "since": "just now", "why": "", "phase": ""}


def _is_open(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (OSError, TypeError):
        return False


def _refusal(found):
    found = found or {"by": "someone who has just left", "host": "?", "pid": "?", "since": "?", "why": "", "phase": ""}
    doing = f", in phase {found['phase']}" if found.get("phase") else ""
    why = f" ({found['why']})" if found.get("why") else ""
    return (
        f"{_environment_folder().name} is held by {found['by']} on {found['host']}, process {found['pid']}, "
        f"since {found['since']}{doing}{why}. Nothing was changed. Follow it with: salt-run mitx.status"
    )


def _refuse_under_test(what):
    if __opts__.get("test"):
        raise CommandExecutionError(f"Refused under test=True: {what}")


def _who():
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
