"""Processes as the kernel knows them (/proc): who is alive, and which belong to which host.

A process is known by pid *and* start time, since pids are given out again. It belongs to the host
whose folder its environment names in ``SANDBOX_INIT``: every process of a host inherits that from
``init``, and nothing else carries it (an operator may well export ``SANDBOX_HOST`` to use a host's
``supervisorctl``; that makes no shell part of a host).
"""

import contextlib
import os
import pathlib
import signal

OWNER = b"SANDBOX_INIT="
PROCESS = b"SANDBOX_PROCESS="


def entry(pid):
    """``{pid, started}`` of a running process (started: clock ticks since boot), or None."""
    stat = _stat(pid)
    return {"pid": pid, "started": stat["started"]} if stat else None


def alive(known):
    """Whether the very process of an :func:`entry` still runs."""
    return bool(known) and entry(known["pid"]) == known


def of_hosts(hosts):
    """
    Every live process of the hosts under the folder ``hosts``: ``{instance id: [{pid, process}]}``.

    process: the Open edX stand-in's name (``lms``, ``cms_worker``, …), None for anything else.
    """
    prefix = os.fsencode(pathlib.Path(hosts).resolve()) + b"/"
    found = {}
    for pid in _pids():
        variables = _environment(pid)
        owner = _value(variables, OWNER)
        if owner and owner.startswith(prefix) and _stat(pid):
            name = _value(variables, PROCESS)
            row = {"pid": pid, "process": os.fsdecode(name) if name else None}
            found.setdefault(os.fsdecode(owner[len(prefix) :]), []).append(row)
    return found


def session(leader, owner):
    """Pids of the session led by ``leader`` that belong to the host folder ``owner``."""
    wanted = OWNER + os.fsencode(owner)
    return [
        pid
        for pid in _pids()
        if _session(pid) == leader and _stat(pid) and wanted in _environment(pid)
    ]


def kill(pids, number=signal.SIGKILL):
    """Send a signal to each pid; those already gone do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _environment(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _value(variables, key):
    return next((one[len(key) :] for one in variables if one.startswith(key)), None)


def _stat(pid):
    """``{session, started}`` of a process, or None when it is gone or only waits to be reaped."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else {"session": int(fields[3]), "started": int(fields[19])}
