"""
Who works on an environment now
===============================

One at a time: ``<run_dir>/<environment>/lock`` is held by ``flock`` as long as the process lives
that took it, with who, since when and why for whoever is refused.
"""

import datetime
import errno
import fcntl
import json
import os
import socket
import time

from salt.exceptions import CommandExecutionError

from mitx_run import folders, journal


def acquire(run, why="", phase=""):
    """
    Hold the environment for this process until it ends, however it ends. Held already by this
    process: fine, and what it is doing is noted. Held by another: an error that says who, since
    when and why.

    The lock is a ``flock``: ``kill -9`` frees it, and no clean-up is ever needed.
    """
    journal.refuse_under_test(run, "lock the environment")
    path = _path(run)
    folders.make(path.parent)
    mine = locked_by(run)
    if mine and mine["mine"]:
        doing = {"why": why or mine["why"], "phase": phase or mine.get("phase", "")}
        _write_holder(path, mine["fd"], {**mine, **doing})
        return locked_by(run)
    # The descriptor is left open on purpose: its lock lives as long as the process. Python makes it
    # close-on-exec, so no daemon or git that is started meanwhile inherits the lock.
    with folders.written(path):
        descriptor = folders.open_file(path, os.O_RDWR)
    try:
        _lock(descriptor)
    except OSError as err:
        os.close(descriptor)
        if err.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise CommandExecutionError(_refusal(run, locked_by(run))) from err
    _write_holder(
        path,
        descriptor,
        {
            "pid": os.getpid(),
            "fd": descriptor,
            "by": folders.operator(),
            "host": socket.gethostname(),
            "since": _now(),
            "why": why,
            "phase": phase,
        },
    )
    return locked_by(run)


def locked_by(run):
    """
    Return who holds the environment: ``{pid, by, host, since, why, phase, mine: bool}``, or
    ``None`` if nobody does.
    """
    path = _path(run)
    try:
        with folders.allowed(path):
            descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError:
        found = _read_holder(path)
        return {
            **found,
            "mine": found.get("pid") == os.getpid() and _is_open(found.get("fd"), path),
        }
    finally:
        os.close(descriptor)


def _lock(descriptor):
    # Whoever only asks who holds it, holds it himself for a moment.
    for moment in (0.01, 0.05, 0.2, None):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if moment is None:
                raise
            time.sleep(moment)
    return None


def _path(run):
    return folders.environment_path(run.environment) / "lock"


def _write_holder(path, descriptor, holder_record):
    data = json.dumps({k: v for k, v in holder_record.items() if k != "mine"}).encode()
    with folders.written(path):
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))


def _read_holder(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Between a colleague's flock and the first byte: locked, by someone who is not known
        # yet.
        return {
            "pid": None,
            "by": "unknown",
            "host": "unknown",
            "since": "just now",
            "why": "",
            "phase": "",
        }


def _is_open(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (OSError, TypeError):
        return False


def _refusal(run, found):
    found = found or {
        "by": "someone who has just left",
        "host": "?",
        "pid": "?",
        "since": "?",
        "why": "",
        "phase": "",
    }
    doing = f", in phase {found['phase']}" if found.get("phase") else ""
    why = f" ({found['why']})" if found.get("why") else ""
    return (
        f"{_path(run).parent.name} is held by {found['by']} on {found['host']}, process"
        f" {found['pid']}, since {found['since']}{doing}{why}. Nothing was changed. Follow it with:"
        " salt-run mitx.status"
    )


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
