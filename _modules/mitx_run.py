"""
The record of a run: its folder, pinned facts, outputs and approvals
====================================================================

A run is one upgrade of one environment: environment + purposes + codename + upstream ref (or the
environment whose AMIs are used) + start of the window. The same settings name the same run, so the
same command continues it; a new window is a new run.

Everything lies below ``mitx:run_dir`` (default ``/var/lib/mitx``)::

    <run_dir>/<environment>/lock             who works on this environment now (flock)
    <run_dir>/<environment>/journal.jsonl    calls made outside of any run
    <run_dir>/<environment>/environment_settings.yml    mitx:environments_source, as the last run found it
    <run_dir>/<environment>/<run>/run.json   who began it, the settings that name it, pinned facts
    <run_dir>/<environment>/<run>/journal.jsonl
    <run_dir>/<environment>/<run>/output/    captured outputs

Times are UTC, ISO 8601. A kill at any byte leaves a readable record: ``run.json`` is replaced whole. The lock is the business of
``mitx_lock``, the journal that of ``mitx_journal``.
"""

import datetime
import getpass
import hashlib
import json
import os
import pathlib
import re
import socket
import time

from salt.exceptions import CommandExecutionError

_KEPT = "environment_settings.yml"


def __virtual__():
    return True


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
    __salt__["mitx_journal.refuse_under_test"]("begin a run")
    found = read(run)
    if found:
        return found
    path = pathlib.Path(folder(run))
    __salt__["mitx_journal.make_folder"](path / "output")
    record = {
        "id": run,
        "environment": __salt__["mitx_settings.environment"](),
        "began": _now(),
        "by": operator(),
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


def pin(name, value, again=False):
    """
    Record a fact of the run for good. Pinning the same value again changes nothing; another value is refused,
    because later phases have already acted on the first one. ``again``: none has, as the caller knows; the new value replaces it,
    and the journal keeps both.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.pin release_number 1 with_pillar=True
    """
    __salt__["mitx_journal.refuse_under_test"](f"pin {name}")
    record = read()
    if record is None or "facts" not in record:
        raise CommandExecutionError(f"There is no run in which {name} could be recorded")
    value = json.loads(json.dumps(value))
    if name in record["facts"]:
        if record["facts"][name] == value:
            return value
        if not again:
            raise CommandExecutionError(
                f"The run {record['id']} already recorded {name} as {record['facts'][name]!r}; "
                f"it is now found to be {value!r}. Nothing was changed."
            )
    record["facts"][name] = value
    _replace(pathlib.Path(folder()) / "run.json", record)
    __salt__["mitx_journal.write"]("pin", name=name, value=value)
    return value


def pinned(name, default=None):
    """
    Return the recorded fact ``name`` of the run, or ``default``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.pinned old_fleet with_pillar=True
    """
    return ((read() or {}).get("facts") or {}).get(name, default)


def capture(name, text):
    """
    Keep an output of this run in a file below ``output/``. ``name`` is its name, slashes allowed. Returns the path.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.capture note.txt 'seen by eye' with_pillar=True
    """
    __salt__["mitx_journal.refuse_under_test"](f"write {name}")
    base = pathlib.Path(folder()) / "output"
    path = (base / name).resolve()
    if not path.is_relative_to(base.resolve()):
        raise CommandExecutionError(f"{name} would lie outside of the run's folder")
    __salt__["mitx_journal.make_folder"](path.parent)
    path.write_text(__salt__["mitx_journal.without_passwords"](text))
    return str(path)


def keep_settings(text):
    """
    Keep the text of ``mitx:environments_source`` in the environment's folder.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_settings.keep with_pillar=True
    """
    __salt__["mitx_journal.refuse_under_test"]("keep MITx's settings")
    path = _environment_folder() / _KEPT
    __salt__["mitx_journal.make_folder"](path.parent)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    os.replace(scratch, path)


def kept_settings():
    """
    Return the text that :py:func:`keep_settings` kept last, ``None`` if there is none.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.kept_settings with_pillar=True
    """
    try:
        return (_environment_folder() / _KEPT).read_text()
    except OSError:
        return None


def approve(gate="verify", note=""):
    """
    Record that a human has looked and said yes.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.approve with_pillar=True
    """
    __salt__["mitx_journal.refuse_under_test"](f"approve {gate}")
    return __salt__["mitx_journal.write"]("approved", gate=gate, note=note, by=operator())


def approved(gate="verify", since=None):
    """
    Return the journal line of the last approval of ``gate`` (after ``since``, a journal time), or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.approved with_pillar=True
    """
    lines = [
        line
        for line in __salt__["mitx_journal.entries"](event="approved")
        if line["gate"] == gate and line["time"] >= (since or "")
    ]
    return lines[-1] if lines else None


def operator():
    """
    Return the name of the user who works here: who called sudo, if anybody did.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.operator
    """
    return os.environ.get("SUDO_USER") or getpass.getuser()


def environment_folder():
    """
    Return the path (str) of the folder that holds the environment's runs. It may not exist yet.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.environment_folder with_pillar=True
    """
    return str(_environment_folder())


def wait_until(check, timeout, interval, what, waits_for=None):
    """
    Ask ``check()`` every ``interval`` seconds until it says yes. It returns ``(done: bool, seen: str)``. An error whose
    ``transient`` attribute is true counts as "not yet". After ``timeout`` seconds ``CommandExecutionError`` says what
    was seen last. Returns the last ``seen``.

    waits_for
        What takes that time, where it is not this package: ``drain``, ``health``, ``DNS``, ``queue``, ``migration``, ``approval``.
        It is journaled, and counted by ``mitx_phase.durations``.
    """
    began = time.monotonic()
    try:
        return _wait_until(check, timeout, interval, what)
    finally:
        if waits_for:
            seconds = round(time.monotonic() - began, 3)
            __salt__["mitx_journal.write"]("wait", waits_for=waits_for, what=what, seconds=seconds)


def _wait_until(check, timeout, interval, what):
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


def _replace(path, record):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as out:
        json.dump(record, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
