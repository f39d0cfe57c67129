"""
The record of a run: its folder, pinned facts, outputs and approvals
====================================================================

A run is one upgrade of one environment: environment + purposes + codename + upstream ref (or the
environment whose AMIs are used) + start of the window. The same settings name the same run, so the
same command continues it; a new window is a new run.

Everything lies below ``mitx:run_dir`` (default ``/var/lib/mitx``)::

    <run_dir>/<environment>/lock             who works on this environment now (flock)
    <run_dir>/<environment>/journal.jsonl    calls made outside of any run
    <run_dir>/<environment>/environment_settings.yml    mitx:environments_source, as the last run
                                                        found it
    <run_dir>/<environment>/<run>/run.json   who began it, the settings that name it, pinned facts
    <run_dir>/<environment>/<run>/journal.jsonl
    <run_dir>/<environment>/<run>/output/    captured outputs

Times are UTC, ISO 8601. A kill at any byte leaves a readable record: ``run.json`` is replaced
whole, and were it damaged by something else, the journal has the same facts. The lock is the
business of ``lock``, the journal that of ``journal``.
"""

import datetime
import hashlib
import json
import logging
import pathlib
import re
import socket

from salt.exceptions import CommandExecutionError

from mitx_run import events, folders, journal

_LOG = logging.getLogger(__name__)

# Which damaged files were told of already.
_TOLD = set()


class Elsewhere:
    """Another environment, of which only the record is read."""

    id, test = None, True

    def __init__(self, environment):
        self.environment = environment


def identify(run):
    """
    Return the id of the run that these settings name, whether it has begun or not: start of its
    window, codename, and a digest of everything that makes it this run and no other.
    """
    release = run.settings["release"]
    start = (run.settings["window"] or {}).get("start_utc")
    identity = [
        run.settings["environment"],
        sorted(run.settings["purposes"]),
        run.settings["codename"],
        ["from", release["from"]] if release["from"] else ["onto", release["onto"]],
        start,
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:6]
    stamp = re.sub(r"[-:]", "", start).replace("0000Z", "00Z") if start else "nowindow"
    return f"{stamp}-{run.settings['codename']}-{digest}"


def begin(run, run_id, why=""):
    """
    Create the folder and ``run.json`` of ``run_id`` unless they are there. Returns the content of
    ``run.json``: ``{id, environment, began, by, host, why, facts: {name: value}}``.
    """
    journal.refuse_under_test(run, "begin a run")
    found = read(run, run_id)
    path = pathlib.Path(folders.folder(run, run_id))
    if found and found.pop("damaged", None):
        _replace(path / "run.json", found)
    if found:
        return found
    folders.make(path / "output")
    record = {
        "id": run_id,
        "environment": run.environment,
        "began": _now(),
        "by": folders.operator(),
        "host": socket.gethostname(),
        "why": why,
        "facts": {},
    }
    _replace(path / "run.json", record)
    return record


def read(run, run_id=None):
    """
    Return the content of ``run.json`` of ``run_id`` (see :py:func:`begin`), or ``None`` if it never
    began. What cannot be understood of it, or is gone, is taken from the journal beside it; then
    ``damaged`` says why.
    """
    path = pathlib.Path(folders.folder(run, run_id)) / "run.json"
    try:
        with folders.allowed(path):
            found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("facts"), dict):
            return found
        return _from_journal(run, path, "it holds something else")
    except FileNotFoundError:
        return _from_journal(run, path, "it is gone")
    except ValueError as err:
        return _from_journal(run, path, str(err))
    except OSError as err:
        raise CommandExecutionError(
            f"The record of the run, {path}, cannot be read: {err}"
        ) from err


def _from_journal(run, path, why):
    lines = events.read(run, run_id=path.parent.name)
    facts = {line["name"]: line["value"] for line in lines if line["event"] == "pin"}
    if not facts and not path.exists():
        return None
    cut = [name for name, value in facts.items() if journal.is_cut(value)]
    if cut:
        raise CommandExecutionError(
            f"The record of the run, {path}, cannot be read ({why}), and its journal does not hold"
            f" {', '.join(cut)} whole. Put back a copy of {path}, then run the same command again"
        )
    if path not in _TOLD:
        _TOLD.add(path)
        _LOG.warning("%s: %s. What it recorded is taken from the journal beside it", path, why)
    return {
        "id": path.parent.name,
        "environment": run.environment,
        "began": lines[0]["time"] if lines else "",
        "by": "somebody",
        "host": "",
        "why": "",
        "facts": facts,
        "damaged": why,
    }


def runs(run):
    """
    Return the records (see :py:func:`begin`) of all runs of this environment, the one begun last at
    the end.
    """
    found = [
        read(run, path.parent.name)
        for path in folders.environment_path(run.environment).glob("*/run.json")
    ]
    return sorted(found, key=lambda record: record["began"])


def pin(run, name, value, again=False):
    """
    Record a fact of the run for good. Pinning the same value again changes nothing; another value
    is refused, because later phases have already acted on the first one. ``again``: none has, as
    the caller knows; the new value replaces it, and the journal keeps both.
    """
    journal.refuse_under_test(run, f"pin {name}")
    record = read(run)
    if record is None or "facts" not in record:
        raise CommandExecutionError(f"There is no run in which {name} could be recorded")
    record.pop("damaged", None)
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
    # First there: the journal has whatever run.json has, wherever a kill comes.
    events.write(run, "pin", name=name, value=value)
    _replace(pathlib.Path(folders.folder(run)) / "run.json", record)
    return value


def pinned(run, name, default=None):
    """
    Return the recorded fact ``name`` of the run, or ``default``.
    """
    return ((read(run) or {}).get("facts") or {}).get(name, default)


def capture(run, name, text):
    """
    Keep an output of this run in a file below ``output/``. ``name`` is its name, slashes allowed.
    Returns the path.
    """
    journal.refuse_under_test(run, f"write {name}")
    base = pathlib.Path(folders.folder(run)) / "output"
    path = (base / name).resolve()
    if not path.is_relative_to(base.resolve()):
        raise CommandExecutionError(f"{name} would lie outside of the run's folder")
    folders.make(path.parent)
    folders.replace(path, journal.without_passwords(text))
    return str(path)


def approve(run, gate="verify", note="", **what):
    """
    Record that a human has looked and said yes, and to ``what`` (``digest`` or ``facts``).
    """
    journal.refuse_under_test(run, f"approve {gate}")
    return events.write(run, "approved", gate=gate, note=note, by=folders.operator(), **what)


def approvals(run, gate="verify"):
    """
    Return the lines of the journal about approvals of ``gate``, oldest first.
    """
    return events.read(run, "approved", gate=gate)


def _replace(path, record):
    folders.replace(path, json.dumps(record, indent=1))


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
