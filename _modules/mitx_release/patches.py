"""
Which patches are ours, and what becomes of each
================================================

Ours = what the release branch holds and **no** release ref of upstream does. (Without only the one
ref that we go to, edX's own backports to the last codename would look like ours.)

A patch, everywhere in this package::

    sha, parents, tree     of the commit
    author, date, subject  as it says itself; date is "<seconds> <zone>"
    message                str
    signed                 bool
    fate                   carry      is rebased
                           upstream   onto has exactly this change now, or the operator said that it
                                      does: left out
                           empty      onto has all of it in some other form: came out empty and was
                                      left out
                           drop       its subject says "UPSTREAM: <drop>", or the caller says so:
                                      left out
                           merge      a merge; its commits are carried one by one, itself adds
                                      nothing
    note                   str, what one should know besides
    new                    sha after the rebase, or None

Here, ``release`` is the map ``release`` of :py:func:`settings.get`.
"""

import re

from salt.exceptions import CommandExecutionError

from mitx_release import conflict, diffs, git, mirror

MOST = 2000

# Lines of each side that a question shows.
_MOST_LINES = 12

_MARKED = re.compile(r"UPSTREAM: <(carry|drop)>")


def find(run, release, tip, onto, drop=(), carry=(), accept=()):
    """
    Return what is to be rebased when the branch at ``tip`` goes to ``onto`` (full shas)::

        {base: sha of upstream that the branch stands on, or None if it stands on several,
         rebased: bool, whether it stands on onto (or later) already,
         patches: [oldest first], problems: [what forbids the rebase, in words], notes: [str],
         questions: [{sha, text}: patches of which a human must decide what becomes of them]}

    drop, carry, accept
        shas of patches of which a human has decided that they are left out, rebased, or in onto in
        another form.
    """
    shas = _ours(run, release, tip, onto)
    patches = read(run, release, shas)
    roots = [one for one in patches if not one["parents"]]
    if roots:
        raise CommandExecutionError(
            f"{tip[:12]} has no history in common with upstream; is release:branch right?"
        )
    base, problems = _base(run, release, patches, tip)
    linear = _is_linear(patches, base)
    rebased = linear and mirror.contains(run, release, base, onto)
    said = {
        **dict.fromkeys(accept, "accept"),
        **dict.fromkeys(carry, "carry"),
        **dict.fromkeys(drop, "drop"),
    }
    questions = _decide(run, release, patches, tip, onto, said, rebased)
    problems += _unknown(patches, drop, carry)
    problems += [] if rebased else _judge_merges(run, release, patches)
    notes = (
        [f"the branch stands on {base[:12]}, which is ahead of {onto[:12]}"]
        if rebased and base != onto
        else []
    )
    return {
        "base": base,
        "rebased": rebased,
        "patches": patches,
        "problems": problems,
        "questions": questions,
        "notes": notes + _withdrawn(run, release, tip, onto, patches),
    }


def read(run, release, shas, repo=None):
    """
    Return commits as patches (see the top of this file), in the order of ``shas``.
    """
    if not shas:
        return []
    wanted = "".join(f"{sha}\n" for sha in shas).encode()
    out = git.execute(
        run, release, "cat-file", "--batch", stdin=wanted, repo=repo or release["mirror"], raw=True
    )["out"]
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


def own_edits(run, release, merge):
    """
    Return the trees between which a merge made edits of its own, ``(what git makes of it, what it
    is)``, or ``None`` if it made none. A merge of more than two parents cannot be
    determined: an error.
    """
    if len(merge["parents"]) > 2:
        raise CommandExecutionError(
            f"{label(merge)} merges {len(merge['parents'])} branches at once"
        )
    answer = git.execute(
        run,
        release,
        "merge-tree",
        "--write-tree",
        "-z",
        *merge["parents"],
        repo=release["mirror"],
        ok=(0, 1),
    )
    made = answer["out"].partition("\0")[0]
    return None if answer["code"] == 0 and made == merge["tree"] else (made, merge["tree"])


def contained(run, release, patch, commit, repo=None):
    """
    Return whether merging the patch into ``commit`` changes nothing there, without a conflict: then
    all of it is there, as it is.
    """
    repo = repo or release["mirror"]
    before, after = patch.get("edits") or (f"{patch['sha']}^^{{tree}}", f"{patch['sha']}^{{tree}}")
    command = ["rev-parse", before, f"{commit}^{{tree}}", after]
    base, there, ours = git.execute(run, release, *command, repo=repo)["out"].split()
    merged = conflict.merge(run, release, repo, base, there, ours)
    return merged["tree"] == there and not merged["stages"]


def label(patch):
    """
    Return what to call a patch in a sentence: its short sha and subject.
    """
    return f"{patch['sha'][:12]} ({patch['subject']})"


def _ours(run, release, tip, onto):
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
    shas = git.execute(run, release, *command, repo=release["mirror"])["out"].split()
    if len(shas) > MOST:
        raise CommandExecutionError(
            f"{tip[:12]} holds over {MOST} commits that are in none of upstream's releases; is"
            " release:branch right?"
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
        return raw.decode(
            "latin-1"
        )  # so does git, when it rebases a commit that is wrong about its encoding


def _base(run, release, patches, tip):
    """
    The commit of upstream that the branch stands on: the only one below ours that none of the
    others contains.
    """
    ours = {one["sha"] for one in patches}
    below = sorted({parent for one in patches for parent in one["parents"]} - ours)
    if not patches:
        return tip, []
    if len(below) > 1:
        below = git.execute(
            run, release, "merge-base", "--independent", *below, repo=release["mirror"]
        )["out"].split()
    if len(below) == 1:
        return below[0], []
    if release["flatten"]:
        return None, []
    problem = (
        f"the branch stands on {len(below)} commits of upstream, none of which contains the others"
    )
    return None, [
        f"{problem}: the result could not be checked. release:flatten: true rebases it anyway"
    ]


def _is_linear(patches, base):
    below = base
    for one in patches:
        if one["parents"] != [below]:
            return False
        below = one["sha"]
    return True


def _decide(run, release, patches, tip, onto, said, rebased):
    """
    Give each patch its fate, as far as it can be told without rebasing; return the questions. On a
    branch that is rebased already all stay.
    """
    same = {} if rebased else _in_upstream(run, release, {one["sha"] for one in patches}, tip, onto)
    questions = []
    for one in patches:
        marked = _MARKED.match(one["subject"])
        mark = marked and marked[1]
        answer = said.get(one["sha"])
        one["fate"] = "carry"
        if rebased:
            one["new"] = one["sha"]
            one["note"] = "will be dropped by the next rebase" if mark == "drop" else ""
        elif len(one["parents"]) > 1:
            one["fate"] = "merge"
        elif mark == "drop" or answer == "drop":
            one["fate"], one["note"] = (
                "drop",
                ("its subject says so" if mark == "drop" else "the operator said so"),
            )
        elif one["sha"] in same and mark == "carry":
            one["note"] = (
                "upstream has, or had, the same change; carried because its subject says so"
            )
        elif one["sha"] in same and answer == "carry":
            one["note"] = (
                f"upstream's {same[one['sha']][:12]} is like it; carried because the operator"
                " said so"
            )
        elif one["sha"] in same and answer == "accept":
            one["fate"], one["note"] = (
                "upstream",
                f"the operator accepted upstream's {same[one['sha']][:12]} in its place",
            )
        elif one["sha"] in same and contained(run, release, one, onto):
            one["fate"] = "upstream"
        elif one["sha"] in same:
            questions.append(
                {"sha": one["sha"], "text": _question(run, release, one, same[one["sha"]], onto)}
            )
    return questions


def _in_upstream(run, release, ours, tip, onto):
    """
    ``{sha of ours: sha of upstream's with the same patch id}``. A hint, no proof: a patch id knows
    neither white space, nor the place in the file, nor what was reverted later.
    """
    command = ["rev-list", "--cherry-mark", "--no-merges", f"{onto}...{tip}"]
    marked = git.execute(run, release, *command, repo=release["mirror"])["out"].split()
    ids = _patch_ids(run, release, [line[1:] for line in marked if line.startswith("=")])
    theirs = {patch_id: sha for sha, patch_id in ids.items() if sha not in ours}
    return {
        sha: theirs[patch_id] for sha, patch_id in ids.items() if sha in ours and patch_id in theirs
    }


def _patch_ids(run, release, shas):
    if not shas:
        return {}
    wanted = "".join(f"{sha}\n" for sha in shas).encode()
    text = git.execute(
        run,
        release,
        "diff-tree",
        "--stdin",
        "-p",
        "-r",
        repo=release["mirror"],
        stdin=wanted,
        raw=True,
    )["out"]
    lines = git.execute(run, release, "patch-id", "--stable", repo=release["mirror"], stdin=text)[
        "out"
    ].splitlines()
    return dict(reversed(line.split()) for line in lines)


def _question(run, release, patch, theirs, onto):
    """Both changes, and the three answers."""
    shown = {}
    for sha, _, text in diffs.read(run, release, release["mirror"], [patch["sha"], theirs]):
        lines = [
            line.decode(errors="replace")
            for line in text
            if line[:1] in b"+-" and not line.startswith((b"+++", b"---"))
        ]
        shown[sha] = [f"      {line}" for line in lines[:_MOST_LINES]] + (
            ["      …"] if len(lines) > _MOST_LINES else []
        )
    sha = patch["sha"]
    return "\n".join(
        [
            (
                f"{label(patch)}: upstream had much the same change, but {onto[:12]} does not have"
                " exactly this one now"
            ),
            "    ours:",
            *shown[sha],
            f"    upstream's {theirs[:12]}:",
            *shown[theirs],
            (
                f"    carry={sha} rebases it, drop={sha} leaves it out, accept={sha} takes"
                " upstream's in its place"
            ),
        ]
    )


def _unknown(patches, drop, carry):
    known = {one["sha"] for one in patches}
    said = [*(("drop", sha) for sha in drop), *(("carry", sha) for sha in carry)]
    return [
        f"{word}: {sha} is none of our patches on this branch"
        for word, sha in said
        if sha not in known
    ]


def _judge_merges(run, release, patches):
    """
    A rebase loses, in silence, what a merge commit itself changed: found here, and refused unless
    it may be flattened.
    """
    problems = []
    for one in patches:
        if one["fate"] != "merge":
            continue
        try:
            edits = own_edits(run, release, one)
        except CommandExecutionError as err:
            problems.append(f"{err}; rebase that by hand")
            continue
        if edits is None:
            one["note"] = "a merge that changes nothing itself"
        elif release["flatten"]:
            one["fate"], one["note"] = (
                "carry",
                "a merge; what it changed itself becomes a patch (release:flatten)",
            )
            one["edits"] = edits
        else:
            problems.append(
                f"{label(one)} is a merge with changes of its own, which a rebase would lose (see"
                f" them: git show --remerge-diff {one['sha']}); release:flatten: true makes a patch"
                " of them"
            )
    return problems


def _withdrawn(run, release, tip, onto, patches):
    """
    Mark what upstream itself once published and has withdrawn since. It is carried: nobody said to
    drop it.
    """
    seen = mirror.refs(run, release, "refs/mitx/seen")
    if not seen or not patches:
        return []
    command = [
        "rev-list",
        tip,
        f"^{onto}",
        "--not",
        "--glob=refs/mitx/upstream/*",
        "--glob=refs/mitx/seen/*",
    ]
    really_ours = set(git.execute(run, release, *command, repo=release["mirror"])["out"].split())
    gone = [one for one in patches if one["sha"] not in really_ours]
    for one in gone:
        one["note"] = (
            one["note"] + "; " if one["note"] else ""
        ) + "upstream's own, since withdrawn by upstream"
    carried = [one for one in gone if one["fate"] == "carry"]
    if not carried:
        return []
    return [
        f"upstream has withdrawn {len(carried)} commits that this branch holds; they are carried as"
        f" if they were ours, first {label(carried[0])}. drop=[sha, …] leaves them out"
    ]
