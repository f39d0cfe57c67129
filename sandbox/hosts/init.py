"""``init``: the first process of a host, and its stand-in for systemd.

It runs the units of ``units.json`` (``{name: {argv, environment, enabled, stop_seconds}}``), each
in a session of its own. It restarts what ends (``Restart=always``, sooner the longer it had lived)
unless it was stopped through here, and answers on its socket: one JSON line in, ``{"do":
"start|stop|restart|enable|disable|list", "unit": name}``; one out once it is so, ``{"units": {name:
{"running", "enabled", "pid"}}}`` or ``{"error": text}``. SIGTERM ends the units, and then init.

Run by the watcher: ``python -s -S -m sandbox.hosts.init``, with the host's folder in SANDBOX_INIT.
"""

import contextlib
import json
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import time

from sandbox.hosts import proc, record

RESTART_SECONDS = (0.1, 5.0)  # shortest, longest
STEADY_SECONDS = 2


class Unit:
    """One unit: wanted or not, running or not."""

    def __init__(self, folder, name, said):
        self.folder, self.name, self.said = folder, name, said
        self.enabled = self.wanted = said["enabled"]
        self.process = None
        self.due = self.started = 0.0
        self.delay = RESTART_SECONDS[0]

    def start(self):
        """Want it, at once."""
        self.wanted, self.due, self.delay = True, 0.0, RESTART_SECONDS[0]

    def stop(self):
        """Want it no more: SIGTERM now, SIGKILL when its time is over."""
        self.wanted = False
        self.due = time.monotonic() + self.said["stop_seconds"]
        if self.process:
            self.process.terminate()

    def step(self):
        """
        Bring what is nearer to what is wanted; returns seconds until there is more to do, or None.
        """
        if self.process and self.process.poll() is not None:
            self._ended()
        left = self.due - time.monotonic()
        if self.wanted and not self.process:
            return left if left > 0 else self._spawn()
        if self.process and not self.wanted:
            return left if left > 0 else self.process.kill()
        return None

    def settled(self):
        """Whether it is as wanted."""
        return bool(self.process) == self.wanted

    def state(self):
        """``{running, enabled, pid}``."""
        pid = self.process.pid if self.process else None
        return {"running": bool(self.process), "enabled": self.enabled, "pid": pid}

    def _spawn(self):
        with open(self.folder / "logs" / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.said["argv"],
                env={**os.environ, **self.said["environment"]},
                cwd=self.folder / "root",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def _ended(self):
        """
        Its session goes with it, as a cgroup does: no second supervisord beside orphans of the
        first.
        """
        proc.kill(proc.session(self.process.pid, self.folder))
        self.process = None
        steady = time.monotonic() - self.started > STEADY_SECONDS
        self.delay = RESTART_SECONDS[0] if steady else min(self.delay * 2, RESTART_SECONDS[1])
        self.due = time.monotonic() + self.delay


class Init:
    """All units of a host, and the socket."""

    def __init__(self, folder):
        self.folder = folder
        self.units = {
            name: Unit(folder, name, said)
            for name, said in record.read(folder / "units.json").items()
        }
        self.ending = False
        self.waiting = []  # (connection, units that must settle before it is answered)
        self.selector = selectors.DefaultSelector()
        self.server = self._listen(
            os.path.join(record.read(folder / "host.json")["run"], "init.sock")
        )
        self.selector.register(self.server, selectors.EVENT_READ)
        self.selector.register(self._signals(), selectors.EVENT_READ)

    def run(self):
        """Until SIGTERM, and everything has ended."""
        while True:
            pauses = [
                pause
                for pause in (unit.step() for unit in self.units.values())
                if pause is not None
            ]
            self._answer_settled()
            if self.ending and all(unit.settled() for unit in self.units.values()):
                return
            for key, _ in self.selector.select(max(0.01, min(pauses)) if pauses else None):
                self._accept() if key.fileobj is self.server else os.read(key.fd, 4096)

    def end(self):
        """Stop every unit; ``run`` returns once they are gone."""
        self.ending = True
        for unit in self.units.values():
            unit.stop()

    def do(self, what, name=None):
        """
        Begin what a request asks; returns the units that must settle. LookupError for what is not
        known.
        """
        units = [] if what == "list" else [self.units[name]]
        if what in ("start", "stop"):
            getattr(units[0], what)()
        elif what == "restart":
            units[0].stop()
            self._wait_gone(units[0])
            units[0].start()
        elif what in ("enable", "disable"):
            units[0].enabled = units[0].said["enabled"] = what == "enable"
            record.write(
                self.folder / "units.json", {unit.name: unit.said for unit in self.units.values()}
            )
        elif what != "list":
            raise LookupError(what)
        return units if what in ("start", "stop", "restart") else []

    def _wait_gone(self, unit):
        while unit.process:
            unit.step()
            time.sleep(0.01)

    def _accept(self):
        connection, _ = self.server.accept()
        connection.settimeout(2)
        try:
            asked = json.loads(connection.makefile().readline())
            self.waiting.append((connection, self.do(asked["do"], asked.get("unit"))))
        except (OSError, ValueError, LookupError) as err:
            self._answer(connection, {"error": f"{type(err).__name__}: {err}"})

    def _answer_settled(self):
        for one in [one for one in self.waiting if all(unit.settled() for unit in one[1])]:
            self.waiting.remove(one)
            self._answer(
                one[0], {"units": {name: unit.state() for name, unit in self.units.items()}}
            )

    def _answer(self, connection, said):
        with contextlib.suppress(OSError), connection:
            connection.sendall(json.dumps(said).encode() + b"\n")

    def _listen(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen()
        return server

    def _signals(self):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        return reading


if __name__ == "__main__":
    Init(pathlib.Path(os.environ["SANDBOX_INIT"])).run()
