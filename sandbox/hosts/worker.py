"""
A queue worker, ``lms_worker`` or ``cms_worker``: works its purpose's jobs and logs each to
``logs/jobs.jsonl``.

A line: ``{time, host, name, role, purpose, process, release, job, evidence}``. ``evidence`` is
None, or the sentence that says why this code had no business working on this database; such a line
goes to ``logs/evidence.jsonl`` too.

Celery needs a while to load Open edX before it takes its first job: ``times.worker_start`` in
config.json, seconds (default 0).

Run by supervisord: ``python -s -S -m sandbox.hosts.worker lms_worker``.
"""

import sqlite3
import sys
import time

from sandbox.hosts import databases, process, queue, record

IDLE_SECONDS = 0.25
# On a host's disk: nothing gets from here to the queues. A firewall's rule, on a real one.
HELD = "no-route-to-queue"


def work(me, job, seconds):
    """Work one job: take ``seconds``, and say so."""
    time.sleep(seconds)
    try:
        evidence = databases.mismatch(me.sandbox, me.host["purpose"], me.release["migrations"])
    except databases.Missing as err:
        evidence = str(err)
    line = {**me.facts, "job": job, "evidence": evidence}
    record.append(me.sandbox / "logs" / "jobs.jsonl", **line)
    if evidence:
        record.append(me.sandbox / "logs" / "evidence.jsonl", **line)


def step(me):
    """Work a job if there is one. True when there may be more."""
    if (me.folder / "root" / HELD).exists():
        return False
    fault = me.fault("worker") or {}
    if fault.get("action") == "idle":
        return False
    try:
        return queue.work(
            me.sandbox, me.host["purpose"], lambda job: work(me, job, fault.get("delay", 0))
        )
    except sqlite3.OperationalError:  # the queue is locked for long, or being put in place
        return False


def main(name):
    """Work until told to end; the job in hand is finished first."""
    with process.life(name) as me:
        times = record.read(me.sandbox / "config.json").get("times", {})
        busy = me.stopping(times.get("worker_start", 0))
        while not me.stopping(0 if busy else IDLE_SECONDS):
            busy = step(me)


if __name__ == "__main__":
    main(sys.argv[1])
