"""
A conflict: described exactly, and handed to a human
====================================================

The human gets a folder with git's own rebase stopped in it, the files in conflict on disk and
nothing else of the tree. It lies beside the mirror, outlives everything, and is thrown away by
``abort`` or when the rebase is pushed.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`, and a patch is what ``patches``
makes.
"""

import contextlib
import json
import os
import posixpath
import pwd
import re
import shlex
import shutil

from salt.exceptions import CommandExecutionError

from mitx_release import git, mirror, worktree
from mitx_run import errors, journal

_STATE = "mitx-release.json"

_MOST_HUNKS, _MOST_LINES = 20, 80

_KINDS = {"binary": "a binary file", "submodule": "a submodule"}

_MARKER = re.compile(r"<<<<<<< |>>>>>>> [0-9a-f]{7,} \(")


def describe(run, release, folder, patch):
    """
    Return the conflict at which the rebase in ``folder`` stopped, at ``patch``::

        {sha, subject, author, paths: [all that need a decision],
         details: [{paths, type: "contents" | "modify/delete" | "rename/delete" | …, message: git's
         own words, hunks: [str]}],
         tree: what git made of it, with conflict markers}
    """
    command = ["rev-parse", f"{patch['sha']}^^{{tree}}", "HEAD^{tree}", f"{patch['sha']}^{{tree}}"]
    found = merge(run, release, folder, *_git(run, release, folder, *command)["out"].split())
    names = {found["ours"]: "onto", found["theirs"]: patch["sha"][:12]}
    told = [message for message in found["messages"] if message["type"].startswith("CONFLICT")]
    return {
        "sha": patch["sha"],
        "subject": patch["subject"],
        "author": patch["author"],
        "paths": sorted(found["stages"]),
        "details": [
            _detail(run, release, folder, found["tree"], message, names) for message in told
        ],
        "tree": found["tree"],
    }


def merge(run, release, folder, base, ours, theirs):
    """
    Merge two trees with a third as their base. Returns what :py:func:`parse` does, and the names
    that git gave the two sides in messages and conflict markers: ``{tree, stages, messages, ours,
    theirs}``.
    """
    # By way of three commits, because merge-tree takes a base of one's choice only from git 2.40
    # on.
    below = bare_commit(run, release, folder, base)
    sides = [bare_commit(run, release, folder, tree, below) for tree in (ours, theirs)]
    out = _git(
        run, release, folder, "merge-tree", "--write-tree", "--messages", "-z", *sides, ok=(0, 1)
    )["out"]
    return {**parse(out), "ours": sides[0], "theirs": sides[1]}


def parse(text):
    """
    Return what ``git merge-tree --write-tree --messages -z`` printed: ``{tree, stages: {path:
    [stage]}, messages: [{paths, type, text}]}``.
    """
    fields = text.split("\0")
    found = {"tree": fields[0], "stages": {}, "messages": []}
    position = 1
    while position < len(fields) and fields[position]:
        entry, _, path = fields[position].partition("\t")
        found["stages"].setdefault(path, []).append(int(entry.rpartition(" ")[2]))
        position += 1
    position += 1
    while position < len(fields) and fields[position].isdigit():
        count = int(fields[position])
        paths, (kind, message) = (
            fields[position + 1 : position + 1 + count],
            fields[position + 1 + count : position + 3 + count],
        )
        found["messages"].append({"paths": paths, "type": kind, "text": message.strip()})
        position += 3 + count
    return found


def bare_commit(run, release, folder, tree, parent=None):
    """
    Return the sha of a commit of ``tree`` made for a merge, always the same for the same arguments.
    """
    date = "@1000000000 +0000"
    command = ["commit-tree", "-m", "made for a merge", *(["-p", parent] if parent else []), tree]
    return _git(
        run,
        release,
        folder,
        *command,
        variables={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
    )["out"].strip()


def folder(release):
    """
    Return the path of the folder in which a human solves conflicts of this mirror.
    """
    return f"{release['mirror'].removesuffix('.git')}-conflict"


def pending(release):
    """
    Return what was handed to a human and not taken back yet, or ``None``: ``{branch, old, onto,
    base, patches, stops: [{sha, paths, head}], …}``.
    """
    path = folder(release)
    if not os.path.isdir(path) and os.path.isfile(os.path.join(f"{path}.new", ".git", _STATE)):
        os.rename(f"{path}.new", path)  # a kill came between the two renames of hand_over
    try:
        with open(os.path.join(path, ".git", _STATE), encoding="utf-8") as source:
            return json.load(source)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise CommandExecutionError(
            f"{path} cannot be read: {err}. {commands(release)['abort']} throws it away"
        ) from err


def park(run, release, scratch, state, conflict):
    """
    Give the rebase that stopped in ``scratch`` to a human: open the files in conflict, copy it to
    :py:func:`folder`, with ``state`` (see :py:func:`pending`). Raises ``CommandExecutionError``,
    with attribute ``conflict``, that says what to do.
    """
    path = folder(release)
    whole = _whole(run, release, scratch, conflict)
    stop = {
        "sha": conflict["sha"],
        "paths": conflict["paths"],
        "head": worktree.head(scratch),
        "whole": whole,
    }
    moved = _moved(run, release, scratch, conflict)
    state = {
        **state,
        "stops": [one for one in state["stops"] if one["sha"] != stop["sha"]] + [stop],
    }
    above = sorted({posixpath.dirname(one) for one in [*conflict["paths"], *moved.values()]} - {""})
    if above:
        # Or else git refuses to add them: they lie outside of what is checked out.
        names = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in above)
        _git(run, release, scratch, "sparse-checkout", "add", "--stdin", stdin=names.encode())
    with journal.gateway(
        run, "git", change=True, command=f"hand the conflict over in {path}", sha=conflict["sha"]
    ):
        _replace(release, scratch, path, state)
    instructions = _instructions(release, state, conflict, moved, whole)
    raise errors.Conflict(instructions, {**conflict, "folder": path})


def remember(run, release):
    """
    Let git record what a human has solved in the folder, before it is refused or thrown away: the
    next attempt does it again by itself.
    """
    path = folder(release)
    if os.path.isdir(path) and worktree.is_stopped(path):
        # 128: there is nothing that it could record.
        worktree.run_git(run, release, path, "rerere", ok=(0, 1, 128, 255))


def resume(release, scratch):
    """
    Copy what the human did to the empty folder ``scratch``. His own folder stays as it is until the
    rebase is pushed: a kill, or a push that is refused, costs nothing.
    """
    _copy(release, folder(release), scratch)


def check_solved(run, release, state, accept=()):
    """
    Raise ``CommandExecutionError`` unless the human has decided everything in the folder: nothing
    unmerged, nothing left unstaged, no conflict marker staged, and something left of the patch.
    accept: shas of patches of which a human has said that what is staged is right.
    """
    path, how = folder(release), commands(release)
    remember(run, release)
    open_paths = worktree.unmerged(run, release, path)
    if open_paths:
        raise CommandExecutionError(
            f"In {path} these are still in conflict: {', '.join(open_paths)}. Solve them, then:"
            f" {how['add']}"
        )
    unstaged = (
        _git(run, release, path, "diff", "--name-only", "-z")["out"].replace("\0", " ").strip()
    )
    if unstaged:
        raise CommandExecutionError(
            f"In {path} these are changed but not staged: {unstaged}. Then: {how['add']}"
        )
    left = _markers(run, release, path, state["stops"])
    if left:
        raise CommandExecutionError(
            f"In {path} conflict markers are still staged in: {', '.join(left)}. Solve them, then:"
            f" {how['add']}"
        )
    last = state["stops"][-1]
    here = worktree.is_stopped(path) and worktree.head(path) == last["head"]
    if here:
        _require_chosen(run, release, path, last, accept)
    if (
        here
        and _git(run, release, path, "diff", "--cached", "--quiet", "HEAD", ok=(0, 1))["code"] == 0
    ):
        raise CommandExecutionError(
            f"In {path} nothing of {last['sha'][:12]} is staged, so all of it would be lost. Do it"
            f" where the code is now, and stage that: {how['add']}\nIf it is to be left out on"
            f" purpose: {how['abort']}, then salt-run mitx.rebase drop={last['sha']}"
        )


def commands(release):
    """
    Return the commands for the human: ``{program, look, add, resume, abort}``.
    """
    owner = git.owner(release)["name"]
    human = (
        os.environ.get("SUDO_USER") or os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
    )
    program = (
        "" if owner == human else f"sudo -u {owner} "
    ) + f"git -C {shlex.quote(folder(release))}"
    return {
        "program": program,
        "look": f"{program} status",
        # Without --sparse git refuses what lies in a folder that is not checked out.
        "add": f"{program} add --sparse <path>   (or: {program} rm --sparse <path>)",
        "resume": "salt-run mitx.rebase resume=True",
        "abort": "salt-run mitx.rebase abort=True",
    }


def remove(run, release):
    """
    Remove the folder in which conflicts are solved. Returns its path, or ``None`` if there was
    none.
    """
    path = folder(release)
    there = [one for one in (path, f"{path}.new", f"{path}.old") if os.path.isdir(one)]
    if not there:
        return None
    with journal.gateway(run, "git", change=True, command=f"remove {path}"):
        for one in there:
            _throw_away(one)
    return path


def _detail(run, release, folder, tree, message, names):
    hunks = []
    for path in (
        message["paths"] if "contents" in message["type"] or "add/add" in message["type"] else ()
    ):
        answer = _git(
            run, release, folder, "cat-file", "blob", f"{tree}:{path}", ok=(0, 128), raw=True
        )
        if not answer["code"]:
            hunks += _hunks(answer["out"], names)
    text = message["text"]
    for sha, name in names.items():
        text = text.replace(sha, name)
    return {
        "paths": message["paths"],
        "type": message["type"].removeprefix("CONFLICT (").removesuffix(")"),
        "message": text,
        "hunks": hunks[:_MOST_HUNKS],
    }


def _hunks(content, names):
    """
    The parts between conflict markers, the markers included, with names instead of the shas of the
    made-up commits.
    """
    if b"\0" in content:
        return []
    hunks, inside = [], None
    for line in content.decode(errors="replace").splitlines():
        if line.startswith("<<<<<<< "):
            inside = []
        if inside is not None:
            inside.append(line)
        if line.startswith(">>>>>>> ") and inside is not None:
            text = "\n".join(
                inside
                if len(inside) <= _MOST_LINES
                else [*inside[:_MOST_LINES], f"… {len(inside)} lines"]
            )
            for sha, name in names.items():
                text = text.replace(sha, name)
            hunks.append(text)
            inside = None
    return hunks


def _markers(run, release, path, stops):
    """
    The files with conflict markers. A line that a patch, or what it is applied to, holds itself is
    none.
    """
    found = set()
    for stop in stops:
        for one in stop["paths"]:
            staged = _marked(run, release, path, f":0:{one}")
            held = (stop["sha"], f"{stop['sha']}^", "HEAD") if staged else ()
            if staged.difference(*(_marked(run, release, path, f"{sha}:{one}") for sha in held)):
                found.add(one)
    return sorted(found)


def _marked(run, release, path, blob):
    answer = _git(run, release, path, "cat-file", "blob", blob, ok=(0, 128))
    lines = answer["out"].splitlines() if not answer["code"] else ()
    return {line for line in lines if _MARKER.match(line)}


def _replace(release, scratch, path, state):
    """
    Put a copy of ``scratch`` in the place of ``path`` so that a kill leaves the one or the other,
    whole.
    """
    for left in (f"{path}.new", f"{path}.old"):
        _throw_away(left)
    mirror.make_folder(release, f"{path}.new")
    _copy(release, scratch, f"{path}.new")
    # Last, because with it the folder counts.
    with open(os.path.join(f"{path}.new", ".git", _STATE), "w", encoding="utf-8") as out:
        json.dump(state, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    if os.path.isdir(path):
        os.rename(path, f"{path}.old")
    os.rename(f"{path}.new", path)
    _throw_away(f"{path}.old")


def _throw_away(path):
    # The record first: without it a folder is nobody's, however little of it a kill leaves.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, ".git", _STATE))
    shutil.rmtree(path, ignore_errors=True)


def _copy(release, source, target):
    """
    Copy a repository with its worktree, for the user that runs git; locks of a git that was killed
    stay behind.
    """
    shutil.copytree(
        source,
        target,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.lock", _STATE),
    )
    user = git.owner(release)
    if os.geteuid() == user["uid"]:
        return
    for here, folders, files in os.walk(target):
        for name in (*folders, *files):
            os.chown(os.path.join(here, name), user["uid"], user["gid"], follow_symlinks=False)


def _moved(run, release, folder, conflict):
    """
    ``{path in conflict: where its code is now}``, as far as git finds it: upstream has moved or
    renamed it.
    """
    base = f"{conflict['sha']}^"
    options = ["-r", "-z", "--name-status", "--find-renames=30%", "--diff-filter=R"]
    out = _git(run, release, folder, "diff-tree", *options, base, "HEAD", ok=(0, 128))["out"].split(
        "\0"
    )
    found = dict(zip(out[1::3], out[2::3], strict=False))
    return {path: found[path] for path in conflict["paths"] if path in found}


def _whole(run, release, scratch, conflict):
    """
    What cannot be merged line by line, only taken whole: ``{path: {kind, ours, theirs}}`` with
    ``kind`` ``binary`` or ``submodule`` and the objects of edX and of the patch, ``None`` where a
    side has none.
    """
    kinds = {}
    for one in conflict["details"]:
        kind = next((kind for kind in ("binary", "submodule") if kind in one["type"]), None)
        kinds |= dict.fromkeys(one["paths"], kind) if kind else {}
    found = {path: {"kind": kind, "ours": None, "theirs": None} for path, kind in kinds.items()}
    listed = _git(run, release, scratch, "ls-files", "--unmerged", "-z")["out"]
    for entry in filter(None, listed.split("\0")):
        (_, sha, stage), path = entry.partition("\t")[0].split(), entry.partition("\t")[2]
        side = {"2": "ours", "3": "theirs"}.get(stage)
        if path in found and side:
            found[path][side] = sha
    return found


def _choices(release, whole):
    """The commands that take the one side or the other, as they can be pasted."""
    program, lines = commands(release)["program"], []
    for path, one in whole.items():
        lines.append(f"    {path} is {_KINDS[one['kind']]}, and taken whole; one of:")
        for side, whose in (("theirs", "MIT's"), ("ours", "edX's")):
            lines.append(f"        {_take(program, path, one, side)}   # {whose}")
    return "".join(f"{line}\n" for line in lines)


def _take(program, path, one, side):
    quoted = shlex.quote(path)
    if one[side] is None:
        return f"{program} rm --cached --sparse -- {quoted}"
    if one["kind"] == "submodule":
        return f"{program} update-index --cacheinfo 160000,{one[side]},{quoted}"
    return f"{program} checkout --{side} -- {quoted} && {program} add --sparse -- {quoted}"


def _require_chosen(run, release, path, last, accept):
    """With ``git add`` alone the file is edX's, as git left it: nobody has decided that."""
    for name, one in last.get("whole", {}).items():
        staged = _git(run, release, path, "rev-parse", f":0:{name}", ok=(0, 128))
        same = staged["code"] == 0 and staged["out"].strip() == one["ours"]
        if same and last["sha"] not in accept:
            raise CommandExecutionError(
                f"In {path} {name} is staged as edX has it, as git left it: MIT's change of it, in"
                f" {last['sha'][:12]}, would be lost. Take MIT's:"
                f" {_take(commands(release)['program'], name, one, 'theirs')}\nIf edX's is right:"
                f" salt-run mitx.rebase resume=True accept={last['sha']}"
            )


def _instructions(release, state, conflict, moved, whole):
    how = commands(release)
    said = "\n".join(f"    {one['message']}" for one in conflict["details"])
    said += "".join(
        f"\n    {old} is {new} now: the change belongs there" for old, new in moved.items()
    )
    return "\n".join(
        [
            f"{state['branch']}: {conflict['sha'][:12]} ({conflict['subject']}) by"
            f" {conflict['author']} is in conflict with {state['onto'][:12]}. Nothing was pushed;"
            f" {state['branch']} on origin is still {state['old'][:12]}.",
            said,
            f"It waits for you in {folder(release)}:",
            f"    {how['look']}",
            f"{_choices(release, whole)}    (edit)   {how['add']}",
            f"    {how['resume']}",
            f"To give up: {how['abort']}. To leave this patch out, after that: salt-run mitx.rebase"
            f" drop={conflict['sha']}",
        ]
    )


def _git(run, release, path, *arguments, **options):
    return git.execute(run, release, *arguments, repo=path, **options)
