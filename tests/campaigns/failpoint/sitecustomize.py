"""
Kills ``salt-run`` where it changes something or writes something down. Python imports this module
by itself at its start where it is found over PYTHONPATH; the product is not changed for it.

``$MITX_FAILPOINT`` is a JSON file: ``{log, points, stages: [str], mode: group | leader, share:
float, seed: str}``. A point is a line of the journal, or the file ``run.json``. Its stages:

before   the line ``stage: before`` is on disk, the call is not made
middle   0.4 s after that: what was asked of others is on its way
effect   the call is made and answered, the line ``stage: after`` is not written
torn     half of that line is written
after    that line is written
write    before a line that is no call (a phase, a pin, a wait), or ``run.json``, is written
written  after it is
"""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import threading
import time

MIDDLE_SECONDS = 0.4
_write, _replace = os.write, os.replace


class Killer:
    """Knows the points that were struck before, and strikes each once."""

    def __init__(self, options):
        self.options = options
        self.phase = ""
        self.lock = threading.Lock()
        self.struck = {(kill["point"], kill["stage"]) for kill in self._lines("log")}

    def at(self, point, stage):
        """Die here, if this point is due at this stage."""
        self._note("points", {"point": point, "stage": stage})
        if self._is_due(point, stage):
            self._die(point, stage)

    def soon(self, point):
        """Die a moment later, while the call that begins now is under way."""
        self._note("points", {"point": point, "stage": "middle"})
        if self._is_due(point, "middle"):
            timer = threading.Timer(MIDDLE_SECONDS, self._die, (point, "middle"))
            timer.daemon = True
            timer.start()

    def write(self, descriptor, data):
        """In place of ``os.write``."""
        line = _journal_line(descriptor, data)
        if line is None:
            return _write(descriptor, data)
        if line.get("event") == "phase" and line.get("status") == "started":
            self.phase = line["phase"]
        point, stage = f"{self.phase}: {_name(line)}", line.get("stage")
        if stage == "before":
            done = _write(descriptor, data)
            self.at(point, "before")
            self.soon(point)
            return done
        if stage in ("after", "failed"):
            self.at(point, "effect")
            self._tear(point, descriptor, data)
            done = _write(descriptor, data)
            self.at(point, "after")
            return done
        self.at(point, "write")
        done = _write(descriptor, data)
        self.at(point, "written")
        return done

    def replace(self, source, target, **options):
        """In place of ``os.replace``."""
        if not str(target).endswith("run.json"):
            return _replace(source, target, **options)
        point = f"{self.phase}: run.json"
        self.at(point, "write")
        _replace(source, target, **options)
        return self.at(point, "written")

    def _tear(self, point, descriptor, data):
        self._note("points", {"point": point, "stage": "torn"})
        if self._is_due(point, "torn"):
            _write(descriptor, data[: len(data) // 2])
            self._die(point, "torn")

    def _is_due(self, point, stage):
        if stage not in self.options["stages"] or (point, stage) in self.struck:
            return False
        digest = hashlib.sha256(f"{self.options['seed']}|{point}|{stage}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < self.options["share"]

    def _die(self, point, stage):
        with self.lock:
            self._note("log", {"point": point, "stage": stage, "time": time.time()})
            if self.options["mode"] == "group":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, name, line):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.options[name], flags, 0o600)
        _write(descriptor, (json.dumps(line) + "\n").encode())
        os.fsync(descriptor)
        os.close(descriptor)

    def _lines(self, name):
        try:
            with open(self.options[name], encoding="utf-8") as source:
                return [json.loads(line) for line in source]
        except FileNotFoundError:
            return []


def _journal_line(descriptor, data):
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        line = json.loads(data) if path.endswith("journal.jsonl") else None
    except (OSError, ValueError, TypeError):
        return None
    return line if isinstance(line, dict) else None


def _name(line):
    """What a line of the journal is about: the same in each run, so without ids that are made."""
    event = line.get("event")
    if event == "aws":
        asked = line.get("parameters") or {}
        to_page = "page" if "cloudfront" in json.dumps(asked) else "site"
        where = asked.get("LoadBalancerName") or (
            to_page if line["operation"] == "change_resource_record_sets" else ""
        )
        return f"{line['service']}.{line['operation']} {where}".strip()
    if event == "minions":
        return f"minions {line.get('label')} ({len(line.get('minions') or ())})"
    if event == "git":
        words = str(line.get("command")).split()
        return "git " + " ".join(word for word in words[:4] if len(word) < 40)
    facts = (line.get(key) for key in ("phase", "status", "name", "sls", "what", "operation"))
    return " ".join([str(event), *(str(fact)[:40] for fact in facts if fact)])


def _install():
    path = os.environ.get("MITX_FAILPOINT")
    if path and "salt-run" in " ".join([*sys.argv[:1], *sys.orig_argv[:3]]):
        with open(path, encoding="utf-8") as source:
            killer = Killer(json.load(source))
        os.write, os.replace = killer.write, killer.replace


def _next():
    """Run the module of this name that this one hides; the sandbox has one for salt-extensions."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_install()
_next()
