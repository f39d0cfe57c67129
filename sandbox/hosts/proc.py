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
    found = _lives(pid)
    return {"pid": pid, "started": found["started"]} if found else None


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
    for pid in pids():
        variables = _environment(pid)
        owner = _value(variables, OWNER)
        if owner and owner.startswith(prefix) and _lives(pid):
            name = _value(variables, PROCESS)
            row = {"pid": pid, "process": os.fsdecode(name) if name else None}
            found.setdefault(os.fsdecode(owner[len(prefix) :]), []).append(row)
    return found


def session(leader, owner):
    """Pids of the session led by ``leader`` that belong to the host folder ``owner``."""
    wanted = OWNER + os.fsencode(owner)
    return [
        pid
        for pid in pids()
        if _session(pid) == leader and _lives(pid) and wanted in _environment(pid)
    ]


def kill(them, number=signal.SIGKILL):
    """Send a signal to each pid; those already gone do not matter."""
    for pid in them:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def pids():
    """Every process of this machine."""
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


def stat(pid):
    """
    ``{state, session, started}`` of a process (state: the letter that ``ps`` shows), or None when
    there is none.
    """
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return {"state": fields[0], "session": int(fields[3]), "started": int(fields[19])}


def _lives(pid):
    """What :func:`stat` says of a process that does not merely wait to be reaped, or None."""
    found = stat(pid)
    return found if found and found["state"] not in "ZX" else None
