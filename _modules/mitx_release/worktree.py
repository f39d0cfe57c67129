"""
The folder in which a rebase works, and what git says of one that has stopped
=============================================================================

Small and short-lived: in memory where that is possible (``/dev/shm``), and removed with the
process.
"""

import contextlib
import glob
import hashlib
import os
import shutil
import tempfile

from mitx_release import git

_MEMORY = "/dev/shm"


def folder(release):
    """
    Make a temporary folder for one rebase and remove it afterwards: a context manager that gives
    its path.
    """
    where, prefix = _folder(release)
    user = git.owner(release)
    path = tempfile.mkdtemp(prefix=prefix, dir=where)
    if os.geteuid() != user["uid"]:
        os.chown(path, user["uid"], user["gid"])
    return _removed(path)


def remove_stale(release):
    """
    Remove the temporary folders that killed processes left. The mirror must be locked: then nobody
    uses them. Returns their paths.
    """
    where, prefix = _folder(release)
    user = git.owner(release)
    left = [
        path
        for path in glob.glob(os.path.join(glob.escape(where), prefix + "*"))
        if os.lstat(path).st_uid == user["uid"]
    ]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return left


def _folder(release):
    where = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else os.path.dirname(release["mirror"])
    return where, f"mitx-release-{hashlib.sha256(release['mirror'].encode()).hexdigest()[:12]}-"


@contextlib.contextmanager
def _removed(path):
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def is_stopped(folder):
    """
    Return whether a rebase in ``folder`` waits to be continued.
    """
    return os.path.isdir(os.path.join(folder, ".git", "rebase-merge"))


def stopped_sha(folder):
    """
    Return the sha of the patch at which the rebase in ``folder`` stopped, or ``None``.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        open(os.path.join(folder, ".git", "REBASE_HEAD"), encoding="ascii") as source,
    ):
        return source.read().strip()
    return None


def unmerged(run, release, folder):
    """
    Return the paths in conflict in ``folder``, sorted.
    """
    found = run_git(run, release, folder, "ls-files", "--unmerged", "-z")["out"].split("\0")
    return sorted({line.partition("\t")[2] for line in found if line})


def head(folder):
    """
    Return the sha of the commit that is checked out in ``folder``.
    """
    with open(os.path.join(folder, ".git", "HEAD"), encoding="ascii") as source:
        return git.check_sha(source.read().strip(), f"HEAD of {folder}")


def place(folder):
    """
    Return at what the rebase stands. Stopped twice at the same patch on the same commit it will
    never go on, however often it is told to: what git refuses before it merges (a tree that holds
    ``.git``) it puts back into its list each time.
    """
    found = []
    for name in ("REBASE_HEAD", "HEAD"):
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(folder, ".git", name), encoding="ascii") as source,
        ):
            found.append(source.read().strip())
    return tuple(found)


def run_git(run, release, folder, *arguments, **options):
    return git.execute(run, release, *arguments, repo=folder, **options)
