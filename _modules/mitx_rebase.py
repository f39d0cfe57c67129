"""
A rebase that checks out nothing
================================

git's own ``rebase`` runs in a small repository of its own, with the mirror's objects as alternates and a sparse index: no
file of the tree is written to disk. It lies in memory (``/dev/shm``) where there is one, or, when a human must solve a
conflict, in a folder that stays. The mirror and origin are only read.

Dates and authors are kept, the committer is fixed and dated as the author: the same patches on the same commit always
give the same shas. What a human solved once is remembered (``rerere``, in the mirror) and done again by itself.

Here, ``release`` is the map ``release`` of :py:func:`mitx_settings.get`, and a patch is what ``mitx_patches`` makes.
"""

import contextlib
import glob
import hashlib
import os
import re
import shlex
import shutil
import tempfile

from salt.exceptions import CommandExecutionError

MAP = "refs/mitx/map"
_MEMORY = "/dev/shm"
_REMEMBERED = re.compile(r"^(?:Resolved|Staged) '(.*)' using previous resolution\.$", re.MULTILINE)


def __virtual__():
    return True


def scratch(release):
    """
    Make a temporary folder for one rebase and remove it afterwards: a context manager that gives its path.
    """
    where, prefix = _scratch(release)
    user = __salt__["mitx_git.owner"](release)
    path = tempfile.mkdtemp(prefix=prefix, dir=where)
    if os.geteuid() != user["uid"]:
        os.chown(path, user["uid"], user["gid"])
    return _removed(path)


def sweep(release):
    """
    Remove the temporary folders that killed processes left. The mirror must be locked: then nobody uses them. Returns their paths.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    where, prefix = _scratch(release)
    user = __salt__["mitx_git.owner"](release)
    left = [path for path in glob.glob(os.path.join(glob.escape(where), prefix + "*")) if os.lstat(path).st_uid == user["uid"]]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return left


def _scratch(release):
    where = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else os.path.dirname(release["mirror"])
    return where, f"mitx-release-{hashlib.sha256(release['mirror'].encode()).hexdigest()[:12]}-"


@contextlib.contextmanager
def _removed(path):
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def start(release, folder, patches, onto, every=False):
    """
    Rebase those of ``patches`` whose fate is ``carry`` onto the commit ``onto`` (full sha), in the empty ``folder``.
    Returns what :py:func:`go_on` returns.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase test=True
    """
    _make(release, folder, onto)
    carried = [one for one in patches if one["fate"] == "carry"]
    if not carried:
        return {"new": onto, "map": [], "solved": [], "conflicts": []}
    todo = []
    for number, one in enumerate(carried):
        todo += [f"pick {_stand_in(release, folder, one)}\n", f"update-ref {MAP}/{number:04d}\n"]
    path = os.path.join(folder, ".git", "mitx-todo")
    with open(path, "w", encoding="ascii") as out:
        out.writelines(todo)
    options = ["--interactive", "--quiet", "--empty=drop", "--no-autosquash", "--no-autostash", "--no-rebase-merges"]
    editor = {"GIT_SEQUENCE_EDITOR": f"cp {shlex.quote(path)}"}
    answer = _git(
        release,
        folder,
        "rebase",
        *options,
        "--committer-date-is-author-date",
        *_signing(release),
        "HEAD",
        ok=(0, 1),
        variables=editor,
    )
    return go_on(release, folder, every, answer)


def go_on(release, folder, every=False, answer=None):
    """
    Continue the rebase in ``folder`` until it is done or a conflict stops it::

        {new: sha, or None if it is stopped, map: [new sha of each carried patch], solved: [{sha, paths}: by rerere],
         conflicts: [see mitx_conflict.describe]}

    every
        Go on after a conflict with git's version of it, conflict markers and all, to find all conflicts. ``new`` is then
        worth nothing.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase resume=True
    """
    solved, conflicts, seen = [], [], None
    while is_stopped(folder):
        place, patch = _place(folder), _stopped_at(release, folder)
        if place == seen:
            raise _stuck(folder, answer)
        seen = place
        if patch and unmerged(release, folder):
            conflicts.append(__salt__["mitx_conflict.describe"](release, folder, patch))
            if not every:
                return {"new": None, "map": [], "solved": solved, "conflicts": conflicts}
            _git(release, folder, "read-tree", "--reset", "-u", conflicts[-1]["tree"])
            _git(release, folder, "rerere", "clear")
        elif patch and answer:
            paths = _REMEMBERED.findall(answer["err"])
            if not paths:
                raise _stuck(folder, answer)
            solved.append({"sha": patch["sha"], "paths": sorted(set(paths))})
        answer = _git(release, folder, "rebase", _conclude(release, folder, patch), ok=(0, 1))
    if answer and answer["code"]:
        raise _stuck(folder, answer)
    return {"new": head(folder), "map": _map(release, folder), "solved": solved, "conflicts": conflicts}


def is_stopped(folder):
    """
    Return whether a rebase in ``folder`` waits to be continued.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rebase.is_stopped /var/lib/mitx/git/edx-platform-conflict
    """
    return os.path.isdir(os.path.join(folder, ".git", "rebase-merge"))


def stopped_sha(folder):
    """
    Return the sha of the patch at which the rebase in ``folder`` stopped, or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rebase.stopped_sha /var/lib/mitx/git/edx-platform-conflict
    """
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, ".git", "REBASE_HEAD"), encoding="ascii") as source:
        return source.read().strip()
    return None


def unmerged(release, folder):
    """
    Return the paths in conflict in ``folder``, sorted.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase resume=True
    """
    found = _git(release, folder, "ls-files", "--unmerged", "-z")["out"].split("\0")
    return sorted({line.partition("\t")[2] for line in found if line})


def head(folder):
    """
    Return the sha of the commit that is checked out in ``folder``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_rebase.head /var/lib/mitx/git/edx-platform-conflict
    """
    with open(os.path.join(folder, ".git", "HEAD"), encoding="ascii") as source:
        return __salt__["mitx_git.check_sha"](source.read().strip(), f"HEAD of {folder}")


def _conclude(release, folder, patch):
    """Commit what is staged as ``patch``, at which the rebase stopped. Returns how the rebase goes on."""
    if patch is None:
        return "--continue"
    if _git(release, folder, "diff", "--cached", "--quiet", "HEAD", ok=(0, 1))["code"] == 0:
        return "--skip"
    # Not left to rebase --continue: it would take lines of the message that begin with # for comments.
    options = ["--quiet", "--no-verify", "--allow-empty-message", "--cleanup=verbatim"]
    variables = {"GIT_COMMITTER_DATE": f"@{patch['date']}"}
    _git(release, folder, "commit", *options, *_signing(release), "-C", patch["sha"], variables=variables)
    return "--continue"


def _stuck(folder, answer):
    said = (answer or {}).get("err", "").strip()[-1500:]
    return CommandExecutionError(
        f"git does not go on with the rebase in {folder}; nothing was pushed. It said: {said or 'nothing'}"
    )


def _make(release, folder, onto):
    __salt__["mitx_git.run"](release, "init", "--quiet", "--template=", "--initial-branch=mitx/none", folder)
    git_dir = os.path.join(folder, ".git")
    with open(os.path.join(git_dir, "objects", "info", "alternates"), "w", encoding="utf-8") as out:
        out.write(os.path.join(release["mirror"], "objects") + "\n")
    memory = os.path.join(release["mirror"], "rr-cache")
    __salt__["mitx_mirror.make_folder"](release, memory)
    os.symlink(memory, os.path.join(git_dir, "rr-cache"))
    _git(release, folder, "update-ref", "--no-deref", "HEAD", onto)
    _git(release, folder, "sparse-checkout", "set", "--cone", "--sparse-index")
    _git(release, folder, "read-tree", "-m", "-u", "HEAD")


def _stand_in(release, folder, patch):
    """The commit to pick for a patch: itself, or for a merge's own edits a commit that makes just these."""
    if "edits" not in patch:
        return patch["sha"]
    before = __salt__["mitx_conflict.bare_commit"](release, folder, patch["edits"][0])
    name, _, email = patch["author"].rpartition(" <")
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email.rstrip(">"), "GIT_AUTHOR_DATE": f"@{patch['date']}"}
    message = patch["message"].encode()
    command = ["commit-tree", "-p", before, "-F", "-", patch["edits"][1]]
    return _git(release, folder, *command, stdin=message, variables={**author, "GIT_COMMITTER_DATE": f"@{patch['date']}"})[
        "out"
    ].strip()


def _signing(release):
    return [f"--gpg-sign={release['signing_key']}"] if release["signing_key"] else []


def _place(folder):
    """How far the rebase has come, and at what it stands: stopped twice at the same place, it will never go on."""
    found = []
    for name in ("rebase-merge/msgnum", "REBASE_HEAD", "HEAD"):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, ".git", name), encoding="ascii") as source:
            found.append(source.read().strip())
    return found


def _stopped_at(release, folder):
    """The patch that waits to be committed, or None where it is committed already."""
    if not os.path.exists(os.path.join(folder, ".git", "MERGE_MSG")):
        return None
    sha = stopped_sha(folder)
    return __salt__["mitx_patches.read"](release, [sha], repo=folder)[0] if sha else None


def _map(release, folder):
    found = __salt__["mitx_mirror.refs"](release, MAP, repo=os.path.join(folder, ".git"))
    return [found[name] for name in sorted(found)]


def _git(release, folder, *arguments, **options):
    return __salt__["mitx_git.run"](release, *arguments, repo=folder, **options)
