"""
The matrix: every Salt on every Python that this machine has. ``nox`` runs all of it,
``nox -s 'tests(3.11, Salt 3007)' -- tests/mitx_run`` a part of one, ``nox -s build`` what would be
published.
"""

import pathlib

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
# The Pythons on which each Salt runs.
MATRIX = [
    nox.param(python, salt, id=f"{python}, Salt {salt}")
    for salt, pythons in {
        "3006": ("3.10", "3.11", "3.12"),
        "3007": ("3.10", "3.11", "3.12"),
        "3008": ("3.10", "3.11", "3.12", "3.13"),
    }.items()
    for python in pythons
]
PARALLEL = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


@nox.session
@nox.parametrize(("python", "salt"), MATRIX)
def tests(session, salt):
    """Run the tests; what follows ``--`` is given to pytest."""
    session.install(f"salt~={salt}.0", "-e", ".[tests]")
    session.run("pytest", *PARALLEL, *(session.posargs or ["tests"]))


@nox.session
def build(session):
    """Build sdist and wheel, and check them as an index would."""
    session.install("build", "twine")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", folder)
    built = sorted(pathlib.Path(folder).glob("saltext_mitx-*"))
    session.run("twine", "check", "--strict", *map(str, built))


@nox.session
def changelog(session):
    """Show what changelog.d/ will make of the next version."""
    session.install("towncrier")
    session.run("towncrier", "build", "--draft", "--version", "next")
