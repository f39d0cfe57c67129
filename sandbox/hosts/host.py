"""One host: made from an instance and its image, booted, ended."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
import zlib

from sandbox.hosts import files, proc, process, record, shims

PORT = 8443
END_SECONDS = 10


class Host:
    """A host by its instance id; ``facts`` is what host.json says, None before its first boot."""

    def __init__(self, sandbox, config, identity):
        self.sandbox, self.config, self.identity = pathlib.Path(sandbox), config, identity
        self.folder = self.sandbox / "hosts" / identity
        self.facts = record.read(self.folder / "host.json")
        self.deadline = None
        self.not_before = 0.0

    def alive(self):
        """Whether its init, the very one on record, runs."""
        return bool(self.facts) and proc.alive(self.facts.get("init"))

    def boot(self, instance):
        """
        Bring it up: disk, files, init. instance: as :func:`sandbox.hosts.aws.instances` gives it.

        Whatever a killed watcher left half-made is made again.
        """
        self.deadline = None
        self._make_disk(instance["image"])
        self.facts = {**self._known(instance), "state": "starting", "init": None}
        self._save()
        files.write(self.config, self.facts, self.sandbox, self.folder)
        with open(self.folder / "logs" / "init.log", "ab") as log:
            init = subprocess.Popen(
                [self.config["python"], "-s", "-S", "-m", "sandbox.hosts.init"],
                env=files.environment(self.config, self.sandbox, self.folder),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.facts.update(state="running", init=proc.entry(init.pid))
        self._save()

    def end(self, rows):
        """Bring it down, a step at each call; True when nothing of it is left.

        rows: its live processes now, of :func:`sandbox.hosts.proc.of_hosts`. Everything is asked to
        end at once (init asks its units), and killed by pid after ``END_SECONDS``.
        """
        if not rows:
            return self._gone()
        if self.deadline is None:
            self.deadline = time.monotonic() + END_SECONDS
            self.facts["state"] = "ending"
            self._save()
            orderly = self.alive()
            proc.kill([self.facts["init"]["pid"]] if orderly else [row["pid"] for row in rows], 15)
        elif time.monotonic() > self.deadline:
            proc.kill(row["pid"] for row in rows)
        return False

    def _gone(self):
        for line in self._unfinished():
            for path in (
                self.sandbox / "logs" / "processes.jsonl",
                self.folder / "root" / process.LOG,
            ):
                record.append(path, **{**line, "event": "stopped", "by": "watcher"})
        shutil.rmtree(self.facts["run"], ignore_errors=True)
        self.facts.update(state="gone", init=None)
        self._save()
        return True

    def _unfinished(self):
        """Log lines of processes that were killed before they could say that they stopped."""
        begun = {}
        for line in record.lines(self.folder / "root" / process.LOG):
            line.pop("time")
            if line["event"] == "started":
                begun[line["pid"]] = line
            else:
                begun.pop(line["pid"], None)
        return list(begun.values())

    def _make_disk(self, image):
        """
        The image's disk, whole or not at all; an image without one is an empty disk. What a boot
        resets is reset.
        """
        root, source = self.folder / "root", self.sandbox / "images" / image / "root"
        if not root.exists():
            part = self.folder / "root.part"
            shutil.rmtree(part, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, part, symlinks=True) if source.exists() else part.mkdir()
            for log in part.glob("edx/var/log/*.jsonl"):
                log.unlink()  # the evidence of another host
            part.rename(root)
        shutil.rmtree(root / "tmp", ignore_errors=True)
        for folder in ("tmp/edx_config", "edx/var/log/supervisor", "edx/etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        shims.link(self.sandbox, root)

    def _known(self, instance):
        tags = instance["tags"]
        address, port = self._place()
        return {
            "id": self.identity,
            "name": tags.get("Name", self.identity),
            "role": tags["role"],
            "environment": tags.get("environment"),
            "purpose": tags.get("purpose"),
            "codename": tags.get("edx_codename"),
            "release": (
                int(tags["release-version"]) if tags.get("release-version", "").isdigit() else None
            ),
            "base": tags.get("Name", "").endswith("-base"),
            "address": address,
            "port": port,
            "private_ip": instance["private_ip"],
            "image": instance["image"],
            "tags": tags,
            "grains": instance.get("grains") or files.grains(tags),
            "run": self._run(),
        }

    def _run(self):
        """
        The folder of its sockets, by as short a path as can be: a minion's have names of 32
        characters, of 107 at most.
        """
        folder = pathlib.Path(self.config["paths"]["short"]) / "s" / self.identity
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _place(self):
        """
        A loopback address of its own, and a port that is free there; those of an earlier boot where
        there was one.
        """
        if self.facts:
            return self.facts["address"], self.facts["port"]
        hosts = filter(None, (record.read(path) for path in self.folder.parent.glob("*/host.json")))
        taken = {host["address"] for host in hosts}
        network = (
            20 + zlib.crc32(str(self.sandbox).encode()) % 200
        )  # two sandboxes on a machine keep out of each other's way
        wanted = self.config["ports"].get("host", PORT)
        for number in range(len(taken) + 1, 255 * 255):
            address = f"127.{network}.{number // 254}.{number % 254 + 1}"
            if address not in taken:
                for port in (wanted, wanted + 1, wanted + 2):
                    if _is_free(address, port):
                        return address, port
        raise OSError(f"no free address in 127.{network}.0.0/16 for {self.identity}")

    def _save(self):
        record.write(self.folder / "host.json", self.facts)


def _is_free(address, port):
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def folders(sandbox):
    """Instance ids that have a host.json, and what it says: ``{id: facts}``."""
    found = {}
    for path in sorted(pathlib.Path(sandbox).glob("hosts/*/host.json")):
        found[os.path.basename(path.parent)] = record.read(path)
    return found
