"""
Faults to try: ``python -m sandbox break <fault>``, and ``python -m sandbox mend``.

Each is what can happen in the night. What the upgrade says then, and what it says to do next, is
what there is to see.
"""

import json
import os
import pathlib
import signal
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import assembly, processes
from sandbox.aws import AWS
from sandbox.config import SandboxError
from sandbox.hosts import faults, proc, queue

LIVE = "next-residential-live"
# So many that no worker is through with them while somebody looks.
JOBS = 500
_UPGRADE = "salt-run mitx.upgrade"


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong: what it is, how it is done, and what to type then."""

    what: str
    do: Callable
    then: str = _UPGRADE


def _throttle(config):
    aws(config).fault(agent="saltext-mitx", error="Throttling", status=400, times=None)


def _deny(config):
    aws(config).fault(
        agent="saltext-mitx",
        operation="deregister_instances_from_load_balancer",
        error="AccessDenied",
        status=403,
        times=None,
    )


def aws(config):
    """Return the fake AWS of a sandbox."""
    return AWS(f"http://{config['addresses']['aws']}:{config['ports']['aws']}")


def _host(kind, **fault):
    return lambda config: faults.put(config["directory"], kind, fault)


def _fill_queue(config):
    faults.put(config["directory"], "worker", {"match": {"purpose": LIVE}, "action": "idle"})
    queue.push(config["directory"], LIVE, JOBS, by="sandbox break")


def _stop_minion(config):
    host = next(
        (h for h in assembly.hosts(config) if (h["purpose"], h["state"]) == (LIVE, "running")), None
    )
    pids = _minions(config, host["id"]) if host else []
    if not pids:
        raise SandboxError(f"No host of {LIVE} runs a minion: python -m sandbox status")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    path = _stopped_before(config)
    stopped = json.loads(path.read_text()) if path.exists() else []
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*stopped, *map(proc.entry, pids)]))
    print(f"The minion of {host['name']} does not answer.")


def _stopped_before(config):
    return pathlib.Path(config["directory"]) / "faults" / "stopped-minions.json"


def _minions(config, host):
    rows = proc.of_hosts(config["paths"]["hosts"]).get(host, ())
    return [row["pid"] for row in rows if b"salt-minion" in _command_line(row["pid"])]


def _command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill_run(config):
    conf = os.fsencode(config["paths"]["master"])
    mine = [
        pid for pid in proc.pids() if b"salt-run" in (words := _command_line(pid)) and conf in words
    ]
    if not mine:
        raise SandboxError("No salt-run of the sandbox runs; start one in another terminal")
    proc.kill(mine)


FAULTS = {
    "minion": Fault("the minion of a host answers no more", _stop_minion),
    "queue": Fault(f"{JOBS} jobs wait, and no worker takes any", _fill_queue),
    "500": Fault(
        "the new release answers 500", _host("web", match={"codename": "koa"}, status=500)
    ),
    "migration": Fault("the next migration fails", _host("migrate", action="fail", times=1)),
    "ansible": Fault("the next playbook fails", _host("ansible", action="fail", times=1)),
    "program": Fault(
        "the LMS of the new fleet does not start",
        _host("process", match={"process": "lms", "codename": "koa"}, action="exit"),
    ),
    "dns": Fault(
        "the name servers do not answer",
        lambda config: processes.stop(config["directory"], "dns"),
    ),
    "throttle": Fault("AWS throttles every call of this package", _throttle),
    "deny": Fault("AWS does not allow to take instances out of load balancers", _deny),
    "kill": Fault("salt-run is killed, now", _kill_run, "salt-run mitx.status"),
}


def listed():
    """Return the faults as lines."""
    return [f"  {name:<10} {fault.what}" for name, fault in FAULTS.items()]


def put(config, name):
    """Let a fault happen; prints what to try."""
    fault = FAULTS[name]
    fault.do(config)
    print(f"Now: {fault.what}.\nTry: {fault.then}\nThen: python -m sandbox mend, and {_UPGRADE}")


def mend(config):
    """Take every fault away."""
    directory = pathlib.Path(config["directory"])
    for kind in faults.KINDS:
        faults.put(directory, kind)
    aws(config).clear_faults()
    stopped = _stopped_before(config)
    for entry in json.loads(stopped.read_text()) if stopped.exists() else ():
        if proc.alive(entry):
            os.kill(entry["pid"], signal.SIGCONT)
    stopped.unlink(missing_ok=True)
    # What was stopped is started.
    assembly.up(directory, say=lambda _: None)
    print("Everything is mended; jobs that were put into a queue stay there.")
