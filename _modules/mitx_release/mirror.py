"""
The mirror: a bare repository that keeps what upstream and origin hold
======================================================================

It is a cache and nothing else: it may be deleted at any time (where no conflict waits for a human),
the next command fetches it again. Its refs::

    refs/mitx/upstream/heads/open-release/koa.master     refs/mitx/upstream/tags/open-release/koa.1
    refs/mitx/origin/heads/mitx/koa                      refs/mitx/origin/backup/koa/<UTC
                                                         time>-<sha>
    refs/mitx/seen/<sha>                                 what upstream once published and has
                                                         withdrawn since

Here, ``release`` is the map ``release`` of :py:func:`settings.get`.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import time

from salt.exceptions import CommandExecutionError

from mitx_release import git
from mitx_run import errors

LOCK_TIMEOUT = 60

UPSTREAM = "refs/mitx/upstream"

ORIGIN = "refs/mitx/origin"

SEEN = "refs/mitx/seen"


def locked(release):
    """
    Hold ``release:mirror`` as a context manager, waiting up to a minute for whoever holds it.

    The lock is a ``flock`` that git's processes inherit: when this process is killed, a fetch or
    push of its own that still runs keeps the lock until it has ended, so the next one never meets
    it.

    .. code-block:: python

        with mirror.locked(release):
            …
    """
    path = f"{release['mirror']}.lock"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.geteuid() == 0:
            os.fchown(descriptor, git.owner(release)["uid"], -1)
    except OSError as err:
        raise CommandExecutionError(
            f"The lock of the mirror, {path}: {err.strerror}; see pillar release:mirror"
        ) from err
    return _locked(release, descriptor, path)


def make_folder(release, path):
    """
    Make the folder ``path`` for the user that runs git; it must not be anyone else's. Returns
    ``path``.
    """
    user = git.owner(release)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
            if os.geteuid() != user["uid"]:
                os.chown(path, user["uid"], user["gid"])
        found = os.stat(path)
    except OSError as err:
        raise CommandExecutionError(
            f"{path} cannot be made for {user['name']}: {err.strerror}; see pillar release:mirror"
        ) from err
    if found.st_uid != user["uid"] or found.st_mode & 0o002:
        # Its configuration could make git run anything: git checks no ownership of a folder that it
        # is told explicitly.
        raise CommandExecutionError(
            f"{path} must belong to {user['name']}, who runs git, and be writable by no stranger;"
            f" it belongs to user id {found.st_uid} with mode {found.st_mode & 0o777:o}. git was"
            " not called in it"
        )
    return path


def fetch(run, release):
    """
    Bring the mirror up to date with upstream's release branches and tags and with origin's
    ``mitx/*``, ``open-release/*`` and backups. To be called with the mirror locked. Returns
    :py:func:`refs` of it.
    """
    _prepare(run, release)
    before = refs(run, release, UPSTREAM)
    _fetch(
        run,
        release,
        "upstream",
        [
            f"+{kind}/{family}/*:{UPSTREAM}/{kind[5:]}/{family}/*"
            for family in _families(release)
            for kind in _KINDS
        ],
    )
    _remember_withdrawn(run, release, before, refs(run, release, UPSTREAM))
    heads = [
        f"+refs/heads/{family}/*:{ORIGIN}/heads/{family}/*"
        for family in ("mitx", *_families(release))
    ]
    _fetch(run, release, "origin", [*heads, f"+refs/mitx/backup/*:{ORIGIN}/backup/*"])
    return refs(run, release)


def refs(run, release, prefix="refs/mitx", repo=None):
    """
    Return the refs of the mirror (or of ``repo``) below ``prefix``: ``{full name: sha of the
    commit}``.
    """
    shape = "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end) %(refname)"
    found = git.execute(
        run, release, "for-each-ref", shape, prefix, repo=repo or release["mirror"]
    )["out"]
    return dict(reversed(line.split(" ", 1)) for line in found.splitlines())


def contains(run, release, commit, other):
    """
    Return whether the history of ``commit`` contains the commit ``other``, both being in the
    mirror.
    """
    command = ["merge-base", "--is-ancestor", other, commit]
    return git.execute(run, release, *command, repo=release["mirror"], ok=(0, 1))["code"] == 0


def remote_refs(run, release, *patterns):
    """
    Ask origin itself for its refs: ``{full name: sha}`` of those that match one of ``patterns``
    exactly or as a glob.
    """
    where = git.url(release, "origin")
    found = git.execute(run, release, "ls-remote", "--end-of-options", where, *patterns)["out"]
    listed = dict(reversed(line.split("\t", 1)) for line in found.splitlines())
    return {name: sha for name, sha in listed.items() if not name.endswith("^{}")}


def push_command(release, updates):
    """
    Return the arguments of the git command that pushes ``updates`` to origin, all or none. An
    update is ``{ref, new, lease}``: full name; full sha, or ``None`` to delete; what origin must
    hold now: a full sha, ``None`` for "nothing", or ``False`` for an ordinary push that can only go
    forward.
    """
    leases = [
        f"--force-with-lease={one['ref']}:{one['lease'] or ''}"
        for one in updates
        if one["lease"] is not False
    ]
    refspecs = [f"{one['new'] or ''}:{one['ref']}" for one in updates]
    # --no-verify: no pre-push hook. Never -f and no "+ref": each would override the lease beside
    # it.
    options = ["--atomic", "--porcelain", "--no-verify", "--no-signed", "--recurse-submodules=no"]
    return ["push", *options, *leases, "--end-of-options", git.url(release, "origin"), *refspecs]


def push(run, release, updates, repo=None):
    """
    Push ``updates`` (see :py:func:`push_command`) from the mirror, or from ``repo``: all of them
    land, or none. A refusal is a ``CommandExecutionError`` that gives origin's reason for each ref.
    If the connection was lost, origin is asked whether the push has landed.
    """
    command = push_command(release, updates)
    try:
        git.execute(run, release, *command, repo=repo or release["mirror"], change=True)
    except errors.GitFailed as err:
        if not _landed(run, release, updates):
            raise CommandExecutionError(_refusal(release, updates, err.answer)) from err
    return updates


def refused(porcelain):
    """
    Return what ``git push --porcelain`` printed about refs that were refused: ``{ref: reason}``.
    """
    found = {}
    for line in porcelain.splitlines():
        flag, _, rest = line.partition("\t")
        refspec, _, summary = rest.partition("\t")
        if flag == "!":
            found[refspec.rpartition(":")[2]] = summary.strip()
    return found


_KINDS = ("refs/heads", "refs/tags")

_MEANINGS = {
    "stale info": "someone has pushed to it since it was read",
    "fetch first": "origin has something newer",
    "non-fast-forward": "it would not only go forward",
    "pre-receive hook declined": "a rule of the server forbids it",
    "hook declined": "a rule of the server forbids it",
    "protected branch hook declined": "the branch is protected on the server",
}


@contextlib.contextmanager
def _locked(release, descriptor, path):
    try:
        _take(descriptor, path)
        os.ftruncate(descriptor, 0)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.pwrite(descriptor, f"process {os.getpid()} since {now}".encode(), 0)
        release["lock"] = descriptor  # for git.execute, which lets git inherit it
        yield
    finally:
        release.pop("lock", None)
        os.close(descriptor)


def _take(descriptor, path):
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
                raise CommandExecutionError(
                    f"The mirror is in use by {holder}, or by a git that it started (lock {path});"
                    f" waited {LOCK_TIMEOUT} s. Nothing was changed; run it again when that has"
                    " ended"
                ) from err
        time.sleep(0.1)


def _prepare(run, release):
    """
    A mirror that is there, is ours, and holds nothing that a killed git left behind: the lock says
    that none is alive.
    """
    path = pathlib.Path(make_folder(release, release["mirror"]))
    if not (path / "HEAD").is_file() or not (path / "config").is_file():
        git.execute(
            run,
            release,
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--initial-branch=mitx/none",
            str(path),
        )
    for stale in (
        *path.glob("*.lock"),
        *(path / "refs").rglob("*.lock"),
        *(path / "objects/info").rglob("*.lock"),
        *path.glob("objects/pack/tmp_*"),
    ):
        stale.unlink(missing_ok=True)


def _families(release):
    """
    What stands before the slash in names of upstream's releases: open-release, and that of ``onto``
    if it is another.
    """
    onto = re.sub(r"\Arefs/(heads|tags)/", "", release["onto"])
    family, slash, _ = git.check_name(onto, "release:onto").rpartition("/")
    if not slash:
        raise CommandExecutionError(
            f"release:onto: {onto!r} must be one of upstream's releases, such as"
            " open-release/koa.master, or release/teak"
        )
    return sorted({"open-release", family})


def _fetch(run, release, remote, refspecs):
    where = git.url(release, remote)
    options = [
        "--quiet",
        "--prune",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
    ]
    try:
        git.execute(
            run,
            release,
            "fetch",
            *options,
            "--end-of-options",
            where,
            *refspecs,
            repo=release["mirror"],
        )
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{remote} cannot be fetched: {err}") from err


def _remember_withdrawn(run, release, before, after):
    """
    Keep a ref on what upstream has rewritten or deleted, so that its commits below our patches are
    recognised and told.
    """
    moved = {sha: after.get(name) for name, sha in before.items() if after.get(name) != sha}
    gone = [
        sha for sha, now in moved.items() if now is None or not contains(run, release, now, sha)
    ]
    for sha in gone:
        git.execute(run, release, "update-ref", f"{SEEN}/{sha}", sha, repo=release["mirror"])


def _landed(run, release, updates):
    """
    Whether origin holds all of ``updates`` though git reported a failure: the connection may have
    broken too late.
    """
    try:
        found = remote_refs(run, release, *(one["ref"] for one in updates))
    except CommandExecutionError:
        return False
    return all(found.get(one["ref"]) == one["new"] for one in updates)


def _refusal(release, updates, answer):
    reasons = refused(answer["out"])
    lines = []
    for one in updates:
        reason = reasons.get(one["ref"])
        if reason and "atomic push failed" not in reason:
            meaning = next((text for word, text in _MEANINGS.items() if word in reason), "")
            lines.append(f"{one['ref']}: {reason}{f': {meaning}' if meaning else ''}")
    said = [
        line
        for line in answer["err"].splitlines()
        if line.startswith(("remote:", "fatal:", "ssh:"))
    ]
    return (
        f"{git.redact(release, release['origin'])} refused the push; nothing of it landed. "
        + "; ".join(lines or ["no reason was given for a single ref"])
        + (f". It said: {' '.join(said)[-1500:]}" if said else "")
        + ". Run it again to see what is true now: salt-run mitx.plan"
    )
