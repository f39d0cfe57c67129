"""
The whole upgrade in the sandbox, watched by visitors: what ``make upgrade`` runs, and with a human
at the gate ``make rehearsal``.
"""

import datetime
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

from sandbox import assembly, master, processes, report
from sandbox import config as settings

COMMAND = ["salt-run", "state.orchestrate", "orchestrate.mitx.upgrade"]
REPORT = ["salt-run", "mitx.report"]
VISITOR_SECONDS = 30
# How long the gate waits for a human.
GATE = 'pillar={"mitx": {"gate": {"required": true, "timeout": 3600}}}'


def run(directory, size=None, gate=False, given=None):
    """
    Bring the sandbox up, upgrade it, sum up; returns the exit status: salt-run's, or 1 if visitors
    saw a violation. With ``gate`` it waits at ``verify`` for ``mitx.approve``.
    given: as for :func:`sandbox.assembly.up`.
    """
    config = assembly.up(directory, size, given=given)
    assembly.enforce_policy(config)
    command = [*COMMAND, GATE] if gate else COMMAND
    if gate:
        _invite(directory)
    since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    started = time.monotonic()
    _start_visitor(config)
    try:
        print("+ " + shlex.join(command), flush=True)
        status = stream(config, command)
        took = time.monotonic() - started
    finally:
        processes.stop(config["directory"], "visitor")
    print("\n+ " + " ".join(REPORT), flush=True)
    stream(config, REPORT)
    print("\n" + report.upgrade(config, since, took, status), flush=True)
    seen = report.visitor_summary(config)
    if status == 0 and (not seen or not seen["finished"] or not seen["asked"]):
        print("sandbox: the visitor did not look to the end; see logs/visitor.log", file=sys.stderr)
        return 1
    return status or int(bool(seen and seen["violations"]))


def _invite(directory):
    """Show the watch in a second pane where this is tmux; else say what to type elsewhere."""
    sandbox = shlex.join([sys.executable, "-m", "sandbox", "--dir", str(directory)])
    print(
        f"In another terminal, in this folder:\n  {sandbox} salt-run mitx.watch\nand when it waits"
        f" at the gate:\n  {sandbox} salt-run mitx.approve note='looked at it'",
        flush=True,
    )
    if os.environ.get("TMUX") and shutil.which("tmux"):
        watch = ["tmux", "split-window", "-h", "-d", f"{sandbox} salt-run mitx.watch"]
        subprocess.run(watch, check=False)


def stream(config, words):
    """Run one of Salt's commands with its output on this terminal; returns its exit status.

    Ctrl-C reaches it from the terminal directly: this process waits for what it makes of that.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        env = {**master.environment(config), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            master.command(config, words), env=env, stdin=subprocess.DEVNULL
        ).wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _start_visitor(config):
    directory = pathlib.Path(config["directory"])
    for name in ("visitor.jsonl", "visitor-summary.json"):
        (directory / name).unlink(missing_ok=True)
    assembly.daemon(config, "visitor", "sandbox.public.visitor", "--dir", config["directory"])

    def looks():
        if not processes.alive(directory, "visitor"):
            raise settings.SandboxError(
                f"the visitor died; its log ends:\n{processes.tail(directory, 'visitor')}"
            )
        return (report.visitor_summary(config) or {}).get("asked")

    processes.wait_until(looks, VISITOR_SECONDS, "a first visitor has an answer")
