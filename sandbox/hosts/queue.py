"""The job queue of a purpose (Celery's place): ``$SANDBOX/queues/<purpose>.sqlite3``.

``python -m sandbox.hosts.queue [--dir $SANDBOX] push PURPOSE [N] | depth [PURPOSE]``: ``depth``
prints one number, jobs that wait or are being worked. On a host, folder and purpose are by default
the host's. A purpose that has neither queue nor database is an error, not an empty queue.
"""

import argparse
import contextlib
import os
import pathlib
import sqlite3
import sys

from sandbox.hosts import databases, process, record

TABLE = "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, pushed_by TEXT)"


def push(directory, purpose, count=1, by="operator"):
    """Add ``count`` jobs; ``by`` says who did."""
    with _connected(directory, purpose) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO jobs (pushed_by) VALUES (?)", [(by,)] * count)
        connection.execute("COMMIT")


def depth(directory, purpose):
    """How many jobs are not done yet. databases.Missing for a purpose that does not exist."""
    if not _path(directory, purpose).exists():
        databases.applied(directory, purpose, "default")
        return 0
    with _connected(directory, purpose) as connection:
        return connection.execute("SELECT count(*) FROM jobs").fetchone()[0]


def work(directory, purpose, do):
    """
    Let ``do(job id)`` work the oldest job; it is taken off the queue when ``do`` returned. False
    when there is none.

    The job stays on the queue when the worker dies half-way: whoever comes next works it again.
    """
    if not _path(directory, purpose).exists():
        return False
    with _connected(directory, purpose) as connection:
        connection.execute("BEGIN IMMEDIATE")
        job = connection.execute("SELECT min(id) FROM jobs").fetchone()[0]
        if job is not None:
            do(job)
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))
        connection.execute("COMMIT")
        return job is not None


def main(argv=None):
    """The command line above."""
    parser = argparse.ArgumentParser(
        prog="sandbox.hosts.queue", description="The sandbox's job queues."
    )
    parser.add_argument("--dir", default=os.environ.get("SANDBOX"), help="the sandbox's folder")
    commands = parser.add_subparsers(dest="command", required=True)
    pushing = commands.add_parser("push", help="add jobs to a purpose's queue")
    pushing.add_argument("purpose")
    pushing.add_argument("count", type=int, nargs="?", default=1)
    depths = commands.add_parser("depth", help="print how many jobs are not done")
    depths.add_argument("purpose", nargs="?", help="default: the purpose of the host this runs on")
    options = parser.parse_args(argv)
    directory = options.dir or process.here().parent.parent
    options.purpose = options.purpose or record.read(process.here() / "host.json")["purpose"]
    if options.command == "push":
        return push(directory, options.purpose, options.count)
    try:
        print(depth(directory, options.purpose))
    except databases.Missing as err:
        sys.exit(f"queue of {options.purpose}: {err}")


def _path(directory, purpose):
    return pathlib.Path(directory) / "queues" / f"{purpose}.sqlite3"


@contextlib.contextmanager
def _connected(directory, purpose):
    file = _path(directory, purpose)
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
        connection.execute(
            "PRAGMA synchronous = OFF"
        )  # a queue that outlives a power cut is not what is tested
        connection.execute(TABLE)
        yield connection


if __name__ == "__main__":
    main()
