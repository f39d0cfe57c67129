"""
The sandbox's daemons: started detached, known by pid *and* start time, stopped without touching
anything else.

Each daemon leads a session of its own, so that what it forked is found even after it was killed:
the kernel does not hand out a pid again while a session of that number still has members.
"""

import json
import os
import pathlib
import signal
import subprocess
import time

from sandbox.hosts import proc

TERM_SECONDS = 15
KILL_SECONDS = 10


class DaemonFailed(Exception):
    """A daemon died, or did not become ready in time; the message names its log."""


def start(sandbox, name, argv, env=None, cwd=None):
    """Start ``argv`` detached as daemon ``name``, unless it is already alive.

    sandbox: the sandbox's folder (path). env: additions to this process's environment. Output goes
    to ``logs/<name>.log``. Returns the pid.
    """
    sandbox = pathlib.Path(sandbox)
    if alive(sandbox, name):
        return read(sandbox, name)["pid"]
    stop(sandbox, name)
    (sandbox / "logs").mkdir(parents=True, exist_ok=True)
    with open(sandbox / "logs" / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    record(sandbox, name, process.pid)
    return process.pid


def record(sandbox, name, pid):
    """Write ``pids/<name>.json`` ({pid, started: clock ticks since boot}) for a running process."""
    folder = pathlib.Path(sandbox) / "pids"
    folder.mkdir(parents=True, exist_ok=True)
    stat = proc.stat(pid)
    scratch = folder / f".{name}.{os.getpid()}"
    scratch.write_text(json.dumps({"pid": pid, "started": stat["started"] if stat else 0}))
    scratch.replace(folder / f"{name}.json")


def read(sandbox, name):
    """The recorded {pid, started} of a daemon, or None."""
    try:
        return json.loads((pathlib.Path(sandbox) / "pids" / f"{name}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


def names(sandbox):
    """Names of every daemon on record, sorted."""
    return sorted(path.stem for path in (pathlib.Path(sandbox) / "pids").glob("*.json"))


def alive(sandbox, name):
    """Whether the very process on record still runs (a reused pid or a zombie does not count)."""
    entry = read(sandbox, name)
    return bool(entry) and _is(entry)


def stop(sandbox, name):
    """Stop a daemon and everything left of its session; returns how many processes there were."""
    return stop_many(sandbox, [name])


def stop_many(sandbox, which):
    """
    Stop several daemons at once: terminate all, wait, kill what is left. Returns how many processes
    there were.
    """
    entries = [entry for entry in (read(sandbox, name) for name in which) if entry]
    found = _members(entries)
    leaders = [entry["pid"] for entry in entries if _is(entry)]
    proc.kill(leaders, signal.SIGTERM)
    if not _wait(entries, TERM_SECONDS if leaders else 0):
        proc.kill(_members(entries), signal.SIGTERM)
        if not _wait(entries, 2):
            proc.kill(_members(entries), signal.SIGKILL)
            _wait(entries, KILL_SECONDS)
    left = _members(entries)
    if left:
        raise DaemonFailed(f"processes {left} of {', '.join(which)} are still there after SIGKILL")
    for name in which:
        (pathlib.Path(sandbox) / "pids" / f"{name}.json").unlink(missing_ok=True)
    return len(found)


def wait_until(check, seconds, what, interval=0.1):
    """
    Poll ``check()`` until it is true; DaemonFailed with ``what`` when ``seconds`` have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise DaemonFailed(f"not so after {seconds} s: {what}")
        time.sleep(interval)


def tail(sandbox, name, lines=15):
    """The last lines of a daemon's log, as one string."""
    try:
        text = (pathlib.Path(sandbox) / "logs" / f"{name}.log").read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def _is(entry):
    """Whether the recorded process itself is alive."""
    stat = proc.stat(entry["pid"])
    return bool(stat) and stat["started"] == entry["started"] and stat["state"] != "Z"


def _members(entries):
    """Pids of the recorded processes and of whatever lives in their sessions."""
    sessions = {entry["pid"]: entry["started"] for entry in entries if not _reused(entry)}
    found = []
    for pid in proc.pids() if sessions else ():
        stat = proc.stat(pid)
        if not stat or stat["state"] == "Z" or stat["session"] not in sessions:
            continue
        if stat["started"] >= sessions[stat["session"]]:
            found.append(pid)
    return found


def _reused(entry):
    """Whether another process has the recorded pid by now."""
    stat = proc.stat(entry["pid"])
    return bool(stat) and stat["started"] != entry["started"]


def _wait(entries, seconds):
    """Wait until nothing is left of the entries; False when the time is over."""
    deadline = time.monotonic() + seconds
    while _members(entries):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
