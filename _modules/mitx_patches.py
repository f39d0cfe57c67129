"""
Which patches are ours, and what becomes of each
================================================

Ours = what the release branch holds and **no** release ref of upstream does. (Without only the one ref that we go to,
edX's own backports to the last codename would look like ours.)

A patch, everywhere in this package::

    sha, parents, tree     of the commit
    author, date, subject  as it says itself; date is "<seconds> <zone>"
    message                str
    signed                 bool
    fate                   carry      is rebased
                           upstream   onto has the same change already (same patch id): left out
                           empty      onto has all of it in some other form: came out empty and was left out
                           drop       its subject says "UPSTREAM: <drop>", or the caller says so: left out
                           merge      a merge; its commits are carried one by one, itself adds nothing
    note                   str, what one should know besides
    new                    sha after the rebase, or None

Here, ``release`` is the map ``release`` of :py:func:`mitx_settings.get`.
"""

import re

from salt.exceptions import CommandExecutionError

MOST = 2000
_MARKED = re.compile(r"UPSTREAM: <(carry|drop)>")


def __virtual__():
    return True


def find(release, tip, onto, drop=()):
    """
    Return what is to be rebased when the branch at ``tip`` goes to ``onto`` (full shas)::

        {base: sha of upstream that the branch stands on, or None if it stands on several,
         rebased: bool, whether it stands on onto (or later) already,
         patches: [oldest first], problems: [what forbids the rebase, in words], notes: [str]}

    drop
        shas of patches that a human has decided to leave out.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    shas = _ours(release, tip, onto)
    patches = read(release, shas)
    roots = [one for one in patches if not one["parents"]]
    if roots:
        raise CommandExecutionError(f"{tip[:12]} has no history in common with upstream; is release:branch right?")
    base, problems = _base(release, patches, tip)
    linear = _is_linear(patches, base)
    rebased = linear and __salt__["mitx_mirror.contains"](release, base, onto)
    _decide(release, patches, tip, onto, drop, rebased)
    problems += _unknown_drops(patches, drop)
    problems += [] if rebased else _judge_merges(release, patches)
    notes = [f"the branch stands on {base[:12]}, which is ahead of {onto[:12]}"] if rebased and base != onto else []
    return {
        "base": base,
        "rebased": rebased,
        "patches": patches,
        "problems": problems,
        "notes": notes + _withdrawn(release, tip, onto, patches),
    }


def read(release, shas, repo=None):
    """
    Return commits as patches (see the top of this file), in the order of ``shas``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    if not shas:
        return []
    wanted = "".join(f"{sha}\n" for sha in shas).encode()
    out = __salt__["mitx_git.run"](release, "cat-file", "--batch", stdin=wanted, repo=repo or release["mirror"], raw=True)["out"]
    found, position = [], 0
    for sha in shas:
        end = out.index(b"\n", position)
        kind, _, size = out[position:end].partition(b" ")[2].partition(b" ")
        if kind != b"commit":
            raise CommandExecutionError(f"{sha} is no commit in {repo or release['mirror']}")
        position = end + 1 + int(size)
        found.append(_commit(sha, out[end + 1 : position]))
        position += 1
    return found


def own_edits(release, merge):
    """
    Return the trees between which a merge made edits of its own, ``(what git makes of it, what it is)``, or ``None``
    if it made none. A merge of more than two parents cannot be told: an error.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    if len(merge["parents"]) > 2:
        raise CommandExecutionError(f"{label(merge)} merges {len(merge['parents'])} branches at once")
    answer = __salt__["mitx_git.run"](
        release, "merge-tree", "--write-tree", "-z", *merge["parents"], repo=release["mirror"], ok=(0, 1)
    )
    made = answer["out"].partition("\0")[0]
    return None if answer["code"] == 0 and made == merge["tree"] else (made, merge["tree"])


def label(patch):
    """
    Return what to call a patch in a sentence: its short sha and subject.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_patches.label '{sha: 0123456789abcdef, subject: fix}'
    """
    return f"{patch['sha'][:12]} ({patch['subject']})"


def _ours(release, tip, onto):
    # onto itself too: it may be a pinned sha which upstream's refs have left.
    command = [
        "rev-list",
        "--reverse",
        "--topo-order",
        f"--max-count={MOST + 1}",
        tip,
        f"^{onto}",
        "--not",
        "--glob=refs/mitx/upstream/*",
    ]
    shas = __salt__["mitx_git.run"](release, *command, repo=release["mirror"])["out"].split()
    if len(shas) > MOST:
        raise CommandExecutionError(
            f"{tip[:12]} holds over {MOST} commits that are in none of upstream's releases; is release:branch right?"
        )
    return shas


def _commit(sha, raw):
    head, _, body = raw.partition(b"\n\n")
    fields = {"parent": []}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"parent":
            fields["parent"].append(value.decode())
        elif key and not line.startswith(b" "):
            fields.setdefault(key.decode(), value)
    author, _, date = fields["author"].rpartition(b"> ")
    encoding = fields.get("encoding", b"utf-8").decode("ascii", "replace")
    message = _text(body, encoding)
    return {
        "sha": sha,
        "tree": fields["tree"].decode(),
        "parents": fields["parent"],
        "author": _text(author, encoding) + ">",
        "date": date.decode(),
        "subject": message.strip().partition("\n")[0],
        "message": message,
        "signed": "gpgsig" in fields or "gpgsig-sha256" in fields,
        "note": "",
        "new": None,
    }


def _text(raw, encoding):
    try:
        return raw.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        return raw.decode("latin-1")  # so does git, when it rebases a commit that is wrong about its encoding


def _base(release, patches, tip):
    """The commit of upstream that the branch stands on: the only one below ours that none of the others contains."""
    ours = {one["sha"] for one in patches}
    below = sorted({parent for one in patches for parent in one["parents"]} - ours)
    if not patches:
        return tip, []
    if len(below) > 1:
        below = __salt__["mitx_git.run"](release, "merge-base", "--independent", *below, repo=release["mirror"])["out"].split()
    if len(below) == 1:
        return below[0], []
    if release["flatten"]:
        return None, []
    problem = f"the branch stands on {len(below)} commits of upstream, none of which contains the others"
    return None, [f"{problem}: the result could not be checked. release:flatten: true rebases it all the same"]


def _is_linear(patches, base):
    below = base
    for one in patches:
        if one["parents"] != [below]:
            return False
        below = one["sha"]
    return True


def _decide(release, patches, tip, onto, drop, rebased):
    """Give each patch its fate, as far as it can be told without rebasing. On a branch that is rebased already all stay."""
    same = set() if rebased else _in_upstream(release, tip, onto)
    for one in patches:
        marked = _MARKED.match(one["subject"])
        mark = marked and marked[1]
        one["fate"] = "carry"
        if rebased:
            one["new"] = one["sha"]
            one["note"] = "will be dropped by the next rebase" if mark == "drop" else ""
        elif len(one["parents"]) > 1:
            one["fate"] = "merge"
        elif mark == "drop" or one["sha"] in drop:
            one["fate"], one["note"] = "drop", "its subject says so" if mark == "drop" else "the operator said so"
        elif one["sha"] in same and mark != "carry":
            one["fate"] = "upstream"
        elif one["sha"] in same:
            one["note"] = "upstream has, or had, the same change; carried because its subject says so"


def _in_upstream(release, tip, onto):
    command = ["rev-list", "--cherry-mark", "--right-only", "--no-merges", f"{onto}...{tip}"]
    found = __salt__["mitx_git.run"](release, *command, repo=release["mirror"])["out"].split()
    return {line[1:] for line in found if line.startswith("=")}


def _unknown_drops(patches, drop):
    known = {one["sha"] for one in patches}
    return [f"drop: {sha} is none of our patches on this branch" for sha in drop if sha not in known]


def _judge_merges(release, patches):
    """A rebase loses, in silence, what a merge commit itself changed: found here, and refused unless it may be flattened."""
    problems = []
    for one in patches:
        if one["fate"] != "merge":
            continue
        try:
            edits = own_edits(release, one)
        except CommandExecutionError as err:
            problems.append(f"{err}; rebase that by hand")
            continue
        if edits is None:
            one["note"] = "a merge that changes nothing itself"
        elif release["flatten"]:
            one["fate"], one["note"] = "carry", "a merge; what it changed itself becomes a patch (release:flatten)"
            one["edits"] = edits
        else:
            problems.append(
                f"{label(one)} is a merge with changes of its own, which a rebase would lose "
                f"(see them: git show --remerge-diff {one['sha']}); release:flatten: true makes a patch of them"
            )
    return problems


def _withdrawn(release, tip, onto, patches):
    """Mark what upstream itself once published and has withdrawn since. It is carried: nobody said to drop it."""
    seen = __salt__["mitx_mirror.refs"](release, "refs/mitx/seen")
    if not seen or not patches:
        return []
    command = ["rev-list", tip, f"^{onto}", "--not", "--glob=refs/mitx/upstream/*", "--glob=refs/mitx/seen/*"]
    really_ours = set(__salt__["mitx_git.run"](release, *command, repo=release["mirror"])["out"].split())
    gone = [one for one in patches if one["sha"] not in really_ours]
    for one in gone:
        one["note"] = (one["note"] + "; " if one["note"] else "") + "upstream's own, since withdrawn by upstream"
    carried = [one for one in gone if one["fate"] == "carry"]
    if not carried:
        return []
    return [
        f"upstream has withdrawn {len(carried)} commits that this branch holds; they are carried as if they were ours, "
        f"first {label(carried[0])}. drop=[sha, …] leaves them out"
    ]
