"""
``manage.py`` of the Open edX stand-in, as Django's speaks: what a host's
``…/venvs/edxapp/bin/python manage.py`` runs.

::

    manage.py <lms|cms> migrate --noinput --fake-initial --settings=production [--database
    student_module_history]
    manage.py <lms|cms> showmigrations [--list|--plan] --settings=production [--database …]

Each migration applied is a line in ``logs/migrations.jsonl``: ``{time, host, name, purpose,
release, database, migration, alive}``. ``alive`` lists every process of the purpose that lived at
that moment, on whatever host: ``[{host, name, process, pid}]``; in an upgrade worth the name it is
empty.
"""

import argparse
import os
import signal
import sys
import time

from sandbox.hosts import databases, faults, proc, process, record
from sandbox.hosts import release as releases


def main(argv=None):
    """Run one command on the host this runs on; returns the exit status."""
    options = _parser().parse_args(argv)
    folder = process.here()
    host = record.read(folder / "host.json")
    code = releases.read(folder / "root" / releases.CHECKOUT)
    if code is None:
        sys.exit(f"no code in ~/{releases.CHECKOUT}")
    command = Migrate if options.command == "migrate" else ShowMigrations
    try:
        return command(folder.parent.parent, host, code, options).run()
    except databases.Missing as err:
        print(
            f"django.db.utils.OperationalError: unable to open database file: {err}",
            file=sys.stderr,
        )
        return 1


class Command:
    """What both commands know: the purpose's database, what it has and what the code has."""

    def __init__(self, sandbox, host, code, options):
        self.sandbox, self.host, self.code, self.options = sandbox, host, code, options
        self.database = options.database
        self.applied = databases.applied(sandbox, host["purpose"], self.database)
        self.known = code["migrations"][self.database]
        self.facts = {
            "host": host["id"],
            "name": host["name"],
            "purpose": host["purpose"],
            "database": self.database,
        }


class ShowMigrations(Command):
    """``showmigrations``."""

    def run(self):
        """
        Print what is applied (``[X]``) and what is not (``[ ]``): ``[ ]  app.name``, or in a list
        `` [ ] name`` by app.
        """
        heading = None
        for migration in self.known:
            app, _, name = migration.partition(".")
            mark = "X" if migration in self.applied else " "
            if self.options.plan:
                print(f"[{mark}]  {migration}")
                continue
            print(f" [{mark}] {name}" if app == heading else f"{app}\n [{mark}] {name}")
            heading = app
        return 0


class Migrate(Command):
    """``migrate``."""

    def run(self):
        """
        Apply what is not applied, one by one. Exit status 1 when one fails; those before it stay
        applied.
        """
        print("Operations to perform:")
        print(
            "  Apply all migrations:"
            f" {', '.join(sorted({name.partition('.')[0] for name in self.known}))}"
        )
        print("Running migrations:")
        pending = [name for name in self.known if name not in self.applied]
        if not pending:
            print("  No migrations to apply.")
        return 0 if all(map(self.apply, pending)) else 1

    def apply(self, name):
        """Apply one migration and log who was alive. True when it worked."""
        print(f"  Applying {name}...", end="", flush=True)
        alive = self.alive()
        with databases.connected(self.sandbox, self.host["purpose"], self.database) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not self.survive(name):
                connection.execute("ROLLBACK")
                return False
            databases.add(connection, name)
            connection.execute("COMMIT")
        log = self.sandbox / "logs" / "migrations.jsonl"
        record.append(log, **self.facts, release=self.code["label"], migration=name, alive=alive)
        print(" OK", flush=True)
        return True

    def survive(self, name):
        """Suffer the fault injected for this migration; False when it fails by it."""
        action = (faults.take(self.sandbox, "migrate", **self.facts, migration=name) or {}).get(
            "action"
        )
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while action == "hang":
            time.sleep(60)
        if action == "fail":
            print(f"\ndjango.db.utils.OperationalError: {name}: as the fault says", file=sys.stderr)
        return action != "fail"

    def alive(self):
        """
        Every process of this purpose that is alive anywhere: ``[{host, name, process, pid}]``.
        """
        found = []
        for identity, rows in sorted(proc.of_hosts(self.sandbox / "hosts").items()):
            host = record.read(self.sandbox / "hosts" / identity / "host.json") or {}
            if host.get("purpose") == self.host["purpose"]:
                found += [
                    {"host": identity, "name": host["name"], **row}
                    for row in rows
                    if row["process"]
                ]
        return found


def _parser():
    parser = argparse.ArgumentParser(prog="manage.py")
    parser.add_argument("service", choices=["lms", "cms"])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("migrate", "showmigrations"):
        command = commands.add_parser(name)
        command.add_argument("--settings")
        command.add_argument("--database", choices=sorted(releases.DATABASES), default="default")
        command.add_argument("--noinput", action="store_true")
        command.add_argument("--fake-initial", action="store_true")
        command.add_argument("--list", action="store_true")
        command.add_argument("--plan", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
