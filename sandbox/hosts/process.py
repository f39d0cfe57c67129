"""What every process of the Open edX stand-in does: know its host, log its life, end when told to.

Each writes ``{time, host, name, role, purpose, process, release, pid, event: started|stopped}`` to
``logs/processes.jsonl`` of the sandbox and to ``edx/var/log/processes.jsonl`` on its host's disk,
so that the order of things can be proven. ``release`` is ``<codename>@<commit>`` of the code as it
lay on disk **when the process started**.
"""

import contextlib
import os
import pathlib
import select
import signal
import sys

from sandbox.hosts import faults, record
from sandbox.hosts import release as releases

NEVER = 10**6
LOG = "edx/var/log/processes.jsonl"
CONFIGURATION = "edx/etc/edxapp.json"


class Process:
    """
    A running process: ``facts`` (what it logs), ``host`` (host.json), ``sandbox``, ``folder``,
    ``release``.
    """

    def __init__(self, name):
        self.folder = here()
        self.sandbox = self.folder.parent.parent
        self.host = record.read(self.folder / "host.json")
        self.release = releases.read(self.folder / "root" / releases.CHECKOUT)
        self.configured = (record.read(self.folder / "root" / CONFIGURATION) or {}).get(
            "configured"
        )
        self.facts = {
            **{key: self.host[key] for key in ("name", "role", "purpose")},
            "host": self.host["id"],
            "process": name,
            "release": self.release and self.release["label"],
        }
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def stopping(self, seconds, *readable):
        """
        Wait: True when told to end; False after ``seconds``, or once one of ``readable`` has
        something to read.
        """
        ready, _, _ = select.select([self._wake, *readable], [], [], max(seconds, 0))
        return self._wake in ready

    def socket(self, name=None):
        """Path of the unix socket of this or another process of the host."""
        return os.path.join(self.host["run"], f"{name or self.facts['process']}.sock")

    def fault(self, kind, **facts):
        """A fault injected for this process, or None (see :mod:`sandbox.hosts.faults`)."""
        facts = {**self.facts, "codename": self.host["codename"], **facts}
        return faults.take(self.sandbox, kind, **facts)

    def log(self, event):
        """Write one line of the process's life."""
        fields = {**self.facts, "pid": os.getpid(), "event": event}
        for path in (self.sandbox / "logs" / "processes.jsonl", self.folder / "root" / LOG):
            record.append(path, **fields)


@contextlib.contextmanager
def life(name, needs_code=True):
    """
    The life of a process, logged; exits with a message where there is no code to run, or a fault
    says so.
    """
    process = Process(name)
    if needs_code and not process.release:
        sys.exit(f"{name}: no code in {releases.CHECKOUT}")
    fault = process.fault("process") or {}
    if fault.get("action") == "exit":
        sys.exit(f"{name}: ends at once, as the fault says")
    process.log("started")
    try:
        if fault.get("action") == "hang":
            process.stopping(NEVER)
            sys.exit(0)
        yield process
    finally:
        process.log("stopped")


def here():
    """The folder of the host that this process runs on: $SANDBOX_HOST, else where HOME lies."""
    named = os.environ.get("SANDBOX_HOST")
    folder = pathlib.Path(named) if named else pathlib.Path(os.environ.get("HOME", "/")).parent
    if not (folder / "host.json").exists():
        sys.exit(
            f"not on a host of the sandbox: {folder} has no host.json (SANDBOX_HOST and HOME say"
            " which host)"
        )
    return folder
