"""
A rebase that checks out nothing
================================

git's own ``rebase`` runs in a small repository of its own, with the mirror's objects as alternates
and a sparse index: no file of the tree is written to disk. It lies in memory (``/dev/shm``) where
there is one, or, when a human must solve a conflict, in a folder that stays. The mirror and origin
are only read.

Dates and authors are kept, the committer is fixed and dated as the author: the same patches on the
same commit always give the same shas. What a human solved once is remembered (``rerere``, in the
mirror) and done again by itself.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`, and a patch is what ``patches``
makes.
"""

import os
import re
import shlex

from salt.exceptions import CommandExecutionError

from mitx_release import conflict, git, mirror, patches, worktree

MAP = "refs/mitx/map"

_REMEMBERED = re.compile(r"^(?:Resolved|Staged) '(.*)' using previous resolution\.$", re.MULTILINE)


def start(run, release, folder, patches, onto, every=False, forget=()):
    """
    Rebase those of ``patches`` whose fate is ``carry`` onto the commit ``onto`` (full sha), in the
    empty ``folder``. Returns what :py:func:`go_on` returns.
    """
    _make(run, release, folder, onto)
    carried = [one for one in patches if one["fate"] == "carry"]
    if not carried:
        return {"new": onto, "map": [], "solved": [], "conflicts": []}
    todo = []
    for number, one in enumerate(carried):
        todo += [
            f"pick {_stand_in(run, release, folder, one)}\n",
            f"update-ref {MAP}/{number:04d}\n",
        ]
    path = os.path.join(folder, ".git", "mitx-todo")
    with open(path, "w", encoding="ascii") as out:
        out.writelines(todo)
    options = [
        "--interactive",
        "--quiet",
        "--empty=drop",
        "--no-autosquash",
        "--no-autostash",
        "--no-rebase-merges",
    ]
    editor = {"GIT_SEQUENCE_EDITOR": f"cp {shlex.quote(path)}"}
    answer = worktree.run_git(
        run,
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
    return continue_(run, release, folder, every, answer, forget)


def continue_(run, release, folder, every=False, answer=None, forget=()):
    """
    Continue the rebase in ``folder`` until it is done or a conflict stops it::

        {new: sha, or None if it is stopped, map: [new sha of each carried patch], solved: [{sha,
         paths}: by rerere],
         conflicts: [see conflict.describe]}

    every
        Go on after a conflict with git's version of it, conflict markers and all, to find all
        conflicts. ``new`` is then worth nothing.
    forget
        Paths, or shas of patches, of which a solution that git remembers is forgotten: it stops
        there.
    """
    solved, conflicts, seen = [], [], set()
    while worktree.is_stopped(folder):
        place, patch = worktree.place(folder), _stopped_at(run, release, folder)
        if place in seen:
            raise _stuck(folder, answer, patch)
        seen.add(place)
        _forget(run, release, folder, patch, answer, forget)
        if patch and worktree.unmerged(run, release, folder):
            conflicts.append(conflict.describe(run, release, folder, patch))
            if not every:
                return {"new": None, "map": [], "solved": solved, "conflicts": conflicts}
            worktree.run_git(
                run, release, folder, "read-tree", "--reset", "-u", conflicts[-1]["tree"]
            )
            worktree.run_git(run, release, folder, "rerere", "clear")
        elif patch and answer:
            paths = _REMEMBERED.findall(answer["err"])
            if not paths:
                raise _stuck(folder, answer, patch)
            solved.append({"sha": patch["sha"], "paths": sorted(set(paths))})
        answer = worktree.run_git(
            run, release, folder, "rebase", _conclude(run, release, folder, patch), ok=(0, 1)
        )
    if answer and answer["code"]:
        raise _stuck(folder, answer)
    return {
        "new": worktree.head(folder),
        "map": _map(run, release, folder),
        "solved": solved,
        "conflicts": conflicts,
    }


def _forget(run, release, folder, patch, answer, forget):
    """
    Take back what git has solved by itself at this stop, where that is not wanted any more: the
    conflict is there again.
    """
    paths = sorted(set(_REMEMBERED.findall(answer["err"]))) if patch and answer else []
    paths = [path for path in paths if patch["sha"] in forget or path in forget]
    if paths:
        worktree.run_git(run, release, folder, "checkout", "--merge", "--", *paths)
        worktree.run_git(run, release, folder, "rerere", "forget", "--", *paths)


def _conclude(run, release, folder, patch):
    """
    Commit what is staged as ``patch``, at which the rebase stopped. Returns how the rebase goes on.
    """
    if patch is None:
        return "--continue"
    if (
        worktree.run_git(run, release, folder, "diff", "--cached", "--quiet", "HEAD", ok=(0, 1))[
            "code"
        ]
        == 0
    ):
        return "--skip"
    # Not left to rebase --continue: it would take lines of the message that begin with # for
    # comments.
    options = ["--quiet", "--no-verify", "--allow-empty-message", "--cleanup=verbatim"]
    variables = {"GIT_COMMITTER_DATE": f"@{patch['date']}"}
    worktree.run_git(
        run,
        release,
        folder,
        "commit",
        *options,
        *_signing(release),
        "-C",
        patch["sha"],
        variables=variables,
    )
    return "--continue"


def _stuck(folder, answer, patch=None):
    said = (answer or {}).get("err", "").strip()[-1500:]
    at = patches.label(patch) if patch else (worktree.stopped_sha(folder) or "a patch")[:12]
    return CommandExecutionError(
        f"git does not continue the rebase at {at}; nothing was pushed. It said:"
        f" {said or 'nothing'}"
    )


def _make(run, release, folder, onto):
    git.execute(
        run, release, "init", "--quiet", "--template=", "--initial-branch=mitx/none", folder
    )
    git_dir = os.path.join(folder, ".git")
    with open(os.path.join(git_dir, "objects", "info", "alternates"), "w", encoding="utf-8") as out:
        out.write(os.path.join(release["mirror"], "objects") + "\n")
    memory = os.path.join(release["mirror"], "rr-cache")
    mirror.make_folder(release, memory)
    os.symlink(memory, os.path.join(git_dir, "rr-cache"))
    worktree.run_git(run, release, folder, "update-ref", "--no-deref", "HEAD", onto)
    worktree.run_git(run, release, folder, "sparse-checkout", "set", "--cone", "--sparse-index")
    worktree.run_git(run, release, folder, "read-tree", "-m", "-u", "HEAD")


def _stand_in(run, release, folder, patch):
    """
    The commit to pick for a patch: itself, or for a merge's own edits a commit that makes just
    these.
    """
    if "edits" not in patch:
        return patch["sha"]
    before = conflict.bare_commit(run, release, folder, patch["edits"][0])
    name, _, email = patch["author"].rpartition(" <")
    author = {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email.rstrip(">"),
        "GIT_AUTHOR_DATE": f"@{patch['date']}",
    }
    message = patch["message"].encode()
    command = ["commit-tree", "-p", before, "-F", "-", patch["edits"][1]]
    return worktree.run_git(
        run,
        release,
        folder,
        *command,
        stdin=message,
        variables={**author, "GIT_COMMITTER_DATE": f"@{patch['date']}"},
    )["out"].strip()


def _signing(release):
    return [f"--gpg-sign={release['signing_key']}"] if release["signing_key"] else []


def _stopped_at(run, release, folder):
    """The patch that waits to be committed, or None where it is committed already."""
    if not os.path.exists(os.path.join(folder, ".git", "MERGE_MSG")):
        return None
    sha = worktree.stopped_sha(folder)
    return patches.read(run, release, [sha], repo=folder)[0] if sha else None


def _map(run, release, folder):
    found = mirror.refs(run, release, MAP, repo=os.path.join(folder, ".git"))
    return [found[name] for name in sorted(found)]
