"""
What a commit changes, line by line
===================================

Read from git in a few processes for many commits, and compared commit by commit: which old patch
became which new one is known, so nothing has to be matched. A change is ``{path: {added: [line],
removed: [line]}}`` with lines as bytes; a mode, a symbolic link, a submodule, and a binary file
count as one line, which cannot be one of a text.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`.
"""

import codecs
import collections
import os
import re

from mitx_release import git

# Commits in one process: what their diffs take in memory is bounded by it.
_AT_ONCE = 50
# As if the repository had no worktree, no attributes and no index. A .gitattributes could call a
# file binary whose lines have to be counted; and git expands the whole sparse index to look for it.
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_BARE = ("-c", "core.bare=true", "-c", f"attr.tree={_EMPTY_TREE}", "-c", "core.quotePath=false")
_COMMIT = re.compile(rb"[0-9a-f]{40}\Z")
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_OPTIONS = (
    "-r",
    "-p",
    "--root",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--full-index",
    "--submodule=short",
)


def read(run, release, folder, commits):
    """
    Yield ``(commit, change, text)`` of each of ``commits`` (shas, in their order) against its first
    parent; ``text`` is its diff as a list of lines (bytes) without line numbers and blob ids: the
    same for the same patch on another base.
    """
    for start in range(0, len(commits), _AT_ONCE):
        some = commits[start : start + _AT_ONCE]
        wanted = "".join(f"{sha}\n" for sha in some).encode()
        out = _diff(run, release, folder, "--stdin", "-m", "--first-parent", stdin=wanted)
        found = {sha: parse(lines) for sha, lines in _split(out)}
        for sha in some:
            yield sha, *found.get(sha, ({}, []))


def between(run, release, folder, before, after):
    """
    Return the change between two trees.
    """
    return parse(_diff(run, release, folder, before, after).split(b"\n"))[0]


def _diff(run, release, folder, *arguments, stdin=None):
    command = [*_BARE, "diff-tree", *_OPTIONS, *arguments]
    own = os.path.join(folder, ".git")
    repo = own if os.path.isdir(own) else folder
    no_index = {"GIT_INDEX_FILE": os.path.join(repo, "no-index")}
    answer = git.execute(
        run, release, *command, repo=repo, stdin=stdin, variables=no_index, raw=True
    )
    return answer["out"]


def parse(lines):
    """
    Return ``(change, text)`` of the lines (bytes) of a diff.
    """
    change, text, here, left = {}, [], None, [0, 0]
    for line in lines:
        if left[0] > 0 or left[1] > 0:
            _count(line, here, left)
            text.append(line)
        elif line.startswith(b"diff --git "):
            here = change.setdefault(_path(line), {"added": [], "removed": []})
            text.append(line)
        elif here is not None and (hunk := _HUNK.match(line)):
            left = [int(hunk[1] or 1), int(hunk[2] or 1)]
            text.append(b"@@")
        elif here is not None and line:
            _meta(line, here)
            if not line.startswith(b"index "):
                text.append(line)
    return change, text


def missing(old, new):
    """
    Return what ``old`` changes and ``new`` does not, as a list of ``(path, "+" or "-", line)``. In
    which file is no matter: git follows one that was moved.
    """
    found = []
    for side, sign in (("added", "+"), ("removed", "-")):
        there = collections.Counter(line for change in new.values() for line in change[side])
        for path, change in old.items():
            for line in change[side]:
                if there[line]:
                    there[line] -= 1
                elif line.strip():
                    found.append((path, sign, line))
    return found


def _split(out):
    """``(commit, its lines)`` of what ``diff-tree --stdin`` printed."""
    sha, lines, left = None, [], [0, 0]
    for line in out.split(b"\n"):
        if left[0] > 0 or left[1] > 0:
            _count(line, None, left)
        elif _COMMIT.match(line):
            if sha:
                yield sha, lines
            sha, lines = line.decode(), []
            continue
        elif hunk := _HUNK.match(line):
            left = [int(hunk[1] or 1), int(hunk[2] or 1)]
        lines.append(line)
    if sha:
        yield sha, lines


def _count(line, here, left):
    sign = line[:1]
    if sign in (b"-", b" ", b""):
        left[0] -= 1
    if sign in (b"+", b" ", b""):
        left[1] -= 1
    if here is not None and sign == b"+":
        here["added"].append(line[1:])
    elif here is not None and sign == b"-":
        here["removed"].append(line[1:])


def _meta(line, here):
    """What is no line of a text, as one: ``\\0`` is in no text's line."""
    key, _, value = line.partition(b" ")
    if line.startswith((b"new mode ", b"new file mode ")) and not line.endswith(b" 100644"):
        here["added"].append(b"\0mode " + line.rpartition(b" ")[2])
    elif key == b"index":
        here["blobs"] = value
    elif line.startswith(b"Binary files "):
        before, _, after = here.get("blobs", b"").partition(b" ")[0].partition(b"..")
        here["added"].append(b"\0binary " + after)


def _path(line):
    """The path after ``b/``: both sides are the same, since renames are not followed."""
    text = line.removeprefix(b"diff --git ")
    if text.startswith(b'"'):
        half = text[: len(text) // 2]
        text = codecs.escape_decode(half.strip(b' "'))[0]
        return text[2:].decode(errors="surrogateescape")
    return text[: len(text) // 2][2:].decode(errors="surrogateescape")
