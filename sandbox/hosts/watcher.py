"""The watcher: makes the hosts what the instances say, again and again.

It keeps nothing in memory that matters: hosts live on when it is killed, and the next watcher takes
them over by what host.json and /proc say. Only one watcher runs in a sandbox (a lock held by its
process).
"""

import contextlib
import fcntl
import os
import pathlib
import signal
import sys
import time

from sandbox.hosts import minion_site, proc, record, shims
from sandbox.hosts.host import Host, folders

POLL_SECONDS = 0.3
BOOT_SECONDS = 2
END_SECONDS = 30


class Busy(Exception):
    """Another watcher runs."""


class Watcher:
    """
    ``source()`` gives the running instances (see :func:`sandbox.hosts.aws.instances`); ``config``
    is config.json.
    """

    def __init__(self, sandbox, config, source):
        self.sandbox = pathlib.Path(sandbox).resolve()
        self.config, self.source = config, source
        self.hosts = {}
        self.stopping = False
        self._said = {}
        shims.install(self.sandbox, config)
        minion_site.install(config)

    def run(self):
        """Watch until ``stopping``; then end every host."""
        while not self.stopping:
            started = time.monotonic()
            self.tick()
            # A look at many instances on a busy machine takes long: leave nearly all of the time to
            # others.
            time.sleep(max(POLL_SECONDS, 8 * (time.monotonic() - started)))
        self.end_all()

    def tick(self):
        """
        One look at the instances, and one step towards them. Without an answer from AWS nothing is
        touched.
        """
        try:
            instances = self.source()
        except Exception as err:  # noqa: BLE001 - whatever keeps AWS from answering, the hosts live on
            self._say("aws", f"no list of instances: {type(err).__name__}: {err}")
        else:
            self._say("aws", None)
            self.reconcile({one["id"]: one for one in instances})

    def reconcile(self, instances):
        """
        Boot what should run and does not, end what runs and should not. instances: by id. True when
        all is so.
        """
        _reap()
        there = folders(self.sandbox)
        ending = [
            one for one, facts in there.items() if one not in instances and facts["state"] != "gone"
        ]
        booting = [one for one in instances if not self._host(one).alive()]
        processes = proc.of_hosts(self.sandbox / "hosts") if ending or booting else {}
        ended = [self._attempt(self._host(one).end, one, processes.get(one, [])) for one in ending]
        for one in booting:
            self._attempt(self._boot, one, instances[one], processes.get(one, []))
        return all(ended) and not booting

    def end_all(self, seconds=END_SECONDS):
        """
        End every host; TimeoutError naming those of which something is left after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not self.reconcile({}):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"still there after {seconds} s: {proc.of_hosts(self.sandbox / 'hosts')}"
                )
            time.sleep(0.1)

    def _boot(self, instance, rows):
        """
        Boot a host once nothing of an earlier life is left of it; one whose init dies at once, not
        again and again.
        """
        host = self._host(instance["id"])
        if rows:
            proc.kill(row["pid"] for row in rows)
        elif time.monotonic() > host.not_before:
            host.not_before = time.monotonic() + BOOT_SECONDS
            host.boot(instance)

    def _host(self, identity):
        if identity not in self.hosts:
            self.hosts[identity] = Host(self.sandbox, self.config, identity)
        return self.hosts[identity]

    def _attempt(self, do, identity, *arguments):
        """
        Do something to one host: whatever goes wrong with it is said once, tried again, and keeps
        no other waiting.
        """
        try:
            done = do(*arguments)
            self._say(identity, None)
            return bool(done)
        except Exception as err:  # noqa: BLE001
            self._say(identity, f"{identity}: {type(err).__name__}: {err}")
            return False

    def _say(self, about, message):
        if message and self._said.get(about) != message:
            print(f"{record.now()} {message}", file=sys.stderr, flush=True)
        self._said[about] = message


def watch(sandbox, config, source):
    """
    Be the sandbox's watcher until SIGTERM or SIGINT, then end all hosts. Busy when there is one.
    """
    with _lock(sandbox):
        watcher = Watcher(sandbox, config, source)

        def stop(*_):
            watcher.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        watcher.run()


def stop(sandbox, config):
    """
    End the watcher, if there is one, and every host. Returns when nothing of them is left;
    TimeoutError if it is.
    """
    deadline = time.monotonic() + END_SECONDS
    while True:
        with contextlib.suppress(Busy), _lock(sandbox):
            return Watcher(sandbox, config, list).end_all()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the watcher is still there after {END_SECONDS} s")
        known = record.read(pathlib.Path(sandbox) / "hosts" / "watcher.json")
        proc.kill([known["pid"]] if proc.alive(known) else [], signal.SIGTERM)
        time.sleep(0.1)


@contextlib.contextmanager
def _lock(sandbox):
    """Hold the right to touch the hosts, for as long as this process lives at most."""
    folder = pathlib.Path(sandbox) / "hosts"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another watcher runs: {record.read(folder / 'watcher.json')}") from None
        record.write(folder / "watcher.json", proc.entry(os.getpid()))
        yield


def _reap():
    """Inits started by this watcher that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
