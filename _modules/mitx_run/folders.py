"""
Where the record of an environment and of a run lies
====================================================

``<run_dir>/<environment>/`` holds what concerns the environment, ``<run_dir>/<environment>/<run>/``
what concerns one run: the files are listed in ``record.py``.
"""

import contextlib
import getpass
import os
import pathlib
import re
import shlex
import stat

from salt.exceptions import CommandExecutionError

from mitx_run.dunders import __opts__, __pillar__

_RUN_DIR = "/var/lib/mitx"

# For the master's user and its group, whatever the umask.
_FILE, _FOLDER = 0o640, 0o750

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


def environment(environment=None):
    """
    Return the name of the environment to work on: the argument, else pillar ``mitx:environment``,
    else the variable ``ENVIRONMENT`` as the existing orchestrations use it; else an error that
    lists those in pillar.
    """
    known = pillar().get("environments") or {}
    if not isinstance(known, dict):
        raise CommandExecutionError(f"mitx:environments: must be a map, is {known!r}")
    known = sorted(map(str, known))
    name = environment or pillar().get("environment") or os.environ.get("ENVIRONMENT")
    if not known:
        raise CommandExecutionError(
            "Pillar has no mitx:environments: the pillar top file must serve it to the master's"
            f" own pillar, {__opts__.get('id')}"
        )
    if not name:
        raise CommandExecutionError(
            "Which environment? Say environment=…, or set pillar mitx:environment. In pillar:"
            f" {', '.join(known)}"
        )
    if not _NAME.match(str(name)):
        raise CommandExecutionError(
            f"environment: {name!r} is no plain name; in pillar: {', '.join(known)}"
        )
    if name not in known:
        raise CommandExecutionError(
            f"There is no environment {name!r} in pillar mitx:environments. In pillar:"
            f" {', '.join(known)}"
        )
    return name


def pillar():
    """
    Return what pillar holds under ``mitx``.
    """
    found = __pillar__.get("mitx") or {}
    if not isinstance(found, dict):
        raise CommandExecutionError(f"Pillar mitx: must be a map, is {found!r}")
    return found


def folder(run, run_id=None):
    """
    Return the path (str) of the folder of ``run_id``; without it, of the run that is under way;
    outside of any run, of the environment. It may not exist yet.
    """
    run_id = run_id or run.id
    if run_id and run_id != "." and not _NAME.match(str(run_id)):
        raise CommandExecutionError(
            f"mitx:run: {run_id!r} is no name of a run, such as 20261220T020000Z-koa-1a2b3c"
        )
    base = environment_path(run.environment)
    return str(base / run_id) if run_id else str(base)


def use(run, run_id):
    """
    Let everything that follows in this orchestration belong to ``run_id``, unless pillar has named
    a run. Returns it.
    """
    run.id = pillar().get("run") or run_id
    return run_id


def operator():
    """
    Return the name of the user who works here; through sudo, both: ``ann as root``.
    """
    login, user = os.environ.get("SUDO_USER"), getpass.getuser()
    return f"{login} as {user}" if login and login != user else user


def environment_path(name=None):
    """
    Return the path of the folder that holds the environment's runs. It may not exist yet.
    """
    return pathlib.Path(pillar().get("run_dir") or _RUN_DIR) / environment(name)


def problem(path, err):
    """
    Return what is wrong with a file of the record, given the ``OSError``; where the master's user
    has been changed, whose it is and the command that gives it to the user of now.
    """
    said = f"{path}: {err.strerror}"
    if not isinstance(err, PermissionError):
        return said
    run_dir, user = shlex.quote(str(pillar().get("run_dir") or _RUN_DIR)), getpass.getuser()
    return f"{said}. Salt runs as {user} here: chown -R {user}: {run_dir}"


@contextlib.contextmanager
def allowed(path):
    """
    Tell whoever may not open a file of the record what to do, in place of a traceback.
    """
    try:
        yield
    except PermissionError as err:
        what = problem(path, err)
        raise CommandExecutionError(f"The record of the run cannot be opened: {what}") from err


def make(path):
    """
    Create a folder of the record, with those above it.
    """
    path = pathlib.Path(path)
    try:
        missing = [one for one in (path, *path.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            one.chmod(_FOLDER)
    except OSError as err:
        raise CommandExecutionError(
            f"The record of the run cannot be kept: {path}: {err.strerror}. "
            f"Create it for the user {getpass.getuser()}, or set pillar mitx:run_dir"
        ) from err


def open_file(path, flags):
    """
    Open a file of the record, made if it is not there, and return its descriptor. A symlink in its
    place is refused.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, _FILE)
    found = os.fstat(descriptor)
    if stat.S_IMODE(found.st_mode) != _FILE and found.st_uid == os.geteuid():
        os.fchmod(descriptor, _FILE)
    return descriptor


def replace(path, text):
    """
    Replace a file of the record whole: a kill, or a disk that is full, leaves what was there.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with written(path):
        try:
            scratch.unlink(missing_ok=True)
            with open(open_file(scratch, os.O_WRONLY | os.O_EXCL), "w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            os.replace(scratch, path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def written(path):
    """
    Tell whoever cannot write a file of the record what to do, in place of a traceback.
    """
    try:
        yield
    except OSError as err:
        raise CommandExecutionError(
            f"The record of the run cannot be written: {problem(path, err)}. It is as it was; put"
            " that right, then run the same command again"
        ) from err
