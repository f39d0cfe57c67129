"""
The databases of a purpose: SQLite files with Django's table of applied migrations, and nothing else
in them.

``$SANDBOX/databases/<purpose>.sqlite3`` is ``default``,
``<purpose>.student_module_history.sqlite3`` the second one.
"""

import contextlib
import pathlib
import sqlite3

from sandbox.hosts import record
from sandbox.hosts import release as releases

TABLE = """CREATE TABLE IF NOT EXISTS django_migrations (
    id INTEGER PRIMARY KEY, app TEXT NOT NULL, name TEXT NOT NULL, applied TEXT NOT NULL,
    UNIQUE (app, name))"""


class Missing(Exception):
    """There is no such database."""


def seed_databases(directory, purposes, said):
    """
    Create the databases of each purpose as a release left them; those that exist stay as they are.

    directory: the sandbox's. said: the content of a ``release.json`` (see
    :mod:`sandbox.hosts.release`), for an upgrade Juniper's. Returns the paths created.
    """
    created = []
    for purpose in purposes:
        for database, names in said["migrations"].items():
            file = path(directory, purpose, database)
            if not file.exists():
                _create(file, names)
                created.append(file)
    return created


def path(directory, purpose, database):
    """Where a database of a purpose lies. ValueError for a database that Open edX does not have."""
    if database not in releases.DATABASES:
        raise ValueError(f"unknown database {database!r}, known: {', '.join(releases.DATABASES)}")
    middle = "" if database == "default" else f".{database}"
    return pathlib.Path(directory) / "databases" / f"{purpose}{middle}.sqlite3"


def applied(directory, purpose, database):
    """
    Names (``app.name``) of the migrations applied, in their order. Missing when there is no such
    database.
    """
    with connected(directory, purpose, database) as connection:
        rows = connection.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in rows]


def mismatch(directory, purpose, migrations):
    """
    What keeps code with these ``{database: [migrations]}`` from working, as one sentence; None when
    nothing does.
    """
    for database, names in migrations.items():
        there = applied(directory, purpose, database)
        lacking = [name for name in names if name not in there]
        if lacking:
            return f"database {database} of {purpose} lacks {', '.join(lacking)}"
        unknown = [name for name in there if name not in names]
        if unknown:
            return (
                f"database {database} of {purpose} has {', '.join(unknown)}, unknown to this code"
            )
    return None


@contextlib.contextmanager
def connected(directory, purpose, database):
    """A connection to an existing database, in autocommit mode, closed at the end."""
    file = path(directory, purpose, database)
    if not file.exists():
        raise Missing(f"no database {file}")
    with contextlib.closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
        yield connection


def add(connection, migration):
    """Enter one migration (``app.name``) as applied. sqlite3.IntegrityError when it already is."""
    app, _, name = migration.partition(".")
    row = (app, name, record.now())
    connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES (?, ?, ?)", row)


def _create(file, names):
    """Write the file under another name first: whoever sees it sees all of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".part")
    scratch.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        connection.execute(TABLE)
        for name in names:
            add(connection, name)
    scratch.replace(file)
