"""Faults on demand: ``$SANDBOX/faults/<kind>.json`` holds one fault or a list of them.

A fault: ``{"match": {fact: value, …}, "times": N, …}``. It strikes where every fact of ``match`` is
equal (none = always), ``times`` times (absent = until the file goes). What it does is read by
whoever takes it:

migrate
    Facts: host, name, purpose, database, migration. ``action``: fail, hang, kill (itself).
ansible
    Facts: host, name, purpose, codename. ``action``: fail, unreachable, hang, kill.
process
    At its start. Facts: host, name, purpose, codename, process. ``action``: exit (FATAL in the
    end), hang (no port).
web
    At each request. Facts: host, name, purpose, codename, process, path. ``status``, ``text``,
    ``delay`` (seconds).
worker
    At each look at the queue. Facts: host, name, purpose, codename, process. ``action``: idle
    (leaves the job); ``delay`` (seconds).
"""

import fcntl
import pathlib

from sandbox.hosts import record

KINDS = ("migrate", "ansible", "process", "web", "worker")


def put(sandbox, kind, *faults):
    """Set the faults of one kind (none = remove them); see above for what a fault is."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of fault {kind!r}, known: {', '.join(KINDS)}")
    with _locked(sandbox):
        record.write(_path(sandbox, kind), list(faults))


def take(sandbox, kind, **facts):
    """
    The first fault of this kind that matches the facts, or None. One use is counted off its
    ``times``.
    """
    path = _path(sandbox, kind)
    if not path.exists():
        return None
    with _locked(sandbox):
        faults = record.read(path) or []
        faults = [faults] if isinstance(faults, dict) else faults
        fault = next((one for one in faults if _matches(one, facts)), None)
        if fault and fault.get("times"):
            fault["times"] -= 1
            record.write(path, faults)
        return fault


def _matches(fault, facts):
    wanted = fault.get("match") or {}
    return fault.get("times") != 0 and all(facts.get(key) == value for key, value in wanted.items())


def _path(sandbox, kind):
    return pathlib.Path(sandbox) / "faults" / f"{kind}.json"


def _locked(sandbox):
    """An open file that holds the lock of all faults until it is closed."""
    path = pathlib.Path(sandbox) / "faults" / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "w")  # noqa: SIM115 - closed by the caller's with
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
