"""
Is the rebased branch what it should be?
========================================

Four proofs, before anything is pushed: each patch is accounted for; every line that it adds or
removes is in the result, or known to be left out, by whom; author, date and message of each are
what they were; and the tree of the result is the one that *merging* the branch gives, which a
rebase reaches by another way. After the push comes the report that a human reads: each patch with
what became of it, and how the new one differs.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`, a patch is what ``patches``
makes, and ``folder`` the repository in which ``rebase`` has rebased.
"""

import difflib

from salt.exceptions import CommandExecutionError

from mitx_release import conflict, diffs, git, patches

# Lines of a patch that are compared for the report, and of the comparison that are shown.
_LONGEST_DIFF, _MOST_SHOWN = 1500, 60


def accounted(run, release, folder, patches, onto, result, stops=()):
    """
    Write into ``patches`` what became of each (``fate``, ``new``, ``note``), from ``result`` of
    ``rebase.start`` or ``go_on`` and the ``stops`` at which a human decided. A patch of which it
    cannot be determined is an error.
    """
    carried = [one for one in patches if one["fate"] == "carry"]
    if len(result["map"]) != len(carried):
        raise CommandExecutionError(
            f"Of {len(carried)} patches {len(result['map'])} came back from the rebase. Nothing was"
            " pushed. Was the rebase ended by hand? salt-run mitx.rebase abort=True, then run it"
            " again"
        )
    by_human = {stop["sha"] for stop in stops}
    by_memory = {solved["sha"] for solved in result["solved"]}
    below = onto
    for one, new in zip(carried, result["map"], strict=True):
        if new == below:
            skipped = one["sha"] in by_human
            one["fate"], one["new"] = ("drop" if skipped else "empty"), None
            _note(
                one,
                (
                    "skipped by hand"
                    if skipped
                    else "nothing of it is left: onto has all of it in another form"
                ),
            )
            continue
        one["new"] = below = new
        if one["sha"] in by_human:
            _note(one, "a conflict, solved by hand")
        elif one["sha"] in by_memory:
            _note(one, "a conflict, solved as it was the last time")
    _none_unaccounted(run, release, folder, patches, onto, result["new"], by_human)


def metadata(run, release, folder, ours, stops=()):
    """
    Raise ``CommandExecutionError`` unless author, date and message of each carried patch are what
    they were. A message that a human changed while solving a conflict is noted.
    """
    by_human = {stop["sha"] for stop in stops}
    carried = [one for one in ours if one["new"] and one["new"] != one["sha"]]
    rebased = patches.read(run, release, [one["new"] for one in carried], repo=folder)
    for one, new in zip(carried, rebased, strict=True):
        differ = [
            what for what in ("author", "date", "message") if _plain(one[what]) != _plain(new[what])
        ]
        if differ and one["sha"] in by_human:
            _note(one, f"{' and '.join(differ)} changed by hand")
        elif differ:
            raise CommandExecutionError(
                f"{patches.label(one)}: the rebase changed its {' and '.join(differ)}. Nothing was"
                " pushed"
            )
        if one["signed"] and not new["signed"]:
            _note(one, "its signature is lost")


def tree(run, release, folder, survey, old, onto, new, stops=()):
    """
    Compare the tree of ``new`` with that of a merge of ``old`` into ``onto``, with what the branch
    stood on as the base::

        {equal: bool, unexplained: [paths], explained: {path: why}, skipped: None or why it could
         not be made}

    A path may differ where the merge as a whole is in conflict, where a human (or git's memory of
    one)
    decided, or where a patch was left out on purpose; nowhere else.
    """
    if survey["base"] is None:
        return {
            "equal": False,
            "unexplained": [],
            "explained": {},
            "skipped": "the branch stands on several commits of upstream",
        }
    command = ["rev-parse", *(f"{commit}^{{tree}}" for commit in (survey["base"], onto, old, new))]
    base, ours, theirs, made = _git(run, release, folder, *command)["out"].split()
    merged = conflict.merge(run, release, folder, base, ours, theirs)
    if merged["tree"] == made:
        return {"equal": True, "unexplained": [], "explained": {}, "skipped": None}
    reasons = dict.fromkeys(merged["stages"], "the branch as a whole is in conflict here")
    reasons |= {path: "decided in a conflict" for stop in stops for path in stop["paths"]}
    by_human = {stop["sha"] for stop in stops if "head" in stop}
    for one in survey["patches"]:
        if one["sha"] in by_human and one["new"]:
            # Wherever the solution lies: it is the human's.
            reasons |= dict.fromkeys(
                _paths(run, release, folder, f"{one['new']}^", one["new"]), "decided by hand"
            )
        if one["fate"] == "drop":
            reasons |= dict.fromkeys(
                _paths(run, release, folder, f"{one['sha']}^", one["sha"]),
                f"{one['sha'][:12]} was left out",
            )
    differ = _paths(run, release, folder, merged["tree"], made)
    explained = {path: reasons[path] for path in differ if path in reasons}
    return {
        "equal": False,
        "unexplained": [path for path in differ if path not in reasons],
        "explained": explained,
        "skipped": None,
    }


def lines(run, release, folder, survey, onto, stops=()):
    """
    Return the lines of our patches that the result does not have although nobody decided so:
    ``[sentence]``. Those that somebody did decide are noted at their patch; so is, as
    ``differs``, how the new patch differs from the old, as lines to be shown.

    What is missing in the new patch is in the commit that it became all the same where merging the
    old patch into that commit changes nothing; else, line by line, where the file has what it adds
    already, and has not what it removes.
    """
    decided = {
        stop["sha"]: "as it was solved the last time" for stop in stops if "head" not in stop
    }
    decided |= {stop["sha"]: "by hand" for stop in stops if "head" in stop}
    ours = [
        one
        for one in survey["patches"]
        if one["fate"] in ("carry", "empty") and one["new"] != one["sha"]
    ]
    before = diffs.read(run, release, folder, [one["sha"] for one in ours if "edits" not in one])
    after = diffs.read(run, release, folder, [one["new"] for one in ours if one["new"]])
    problems, below = [], onto
    for one in ours:
        if "edits" in one:
            old, old_text = diffs.between(run, release, folder, *one["edits"]), None
        else:
            _, old, old_text = next(before)
        _, new, new_text = next(after) if one["new"] else (None, {}, None)
        if None not in (old_text, new_text) and old_text != new_text:
            one["differs"] = _compared(old_text, new_text)
        below = one["new"] or below
        left = _left_out(run, release, folder, one, below, diffs.missing(old, new))
        if left and one["sha"] in decided:
            _note(one, f"{len(left)} of its lines are left out, {decided[one['sha']]}")
            one["left_out"] = left
        elif left:
            problems += [f"{patches.label(one)}: {line}" for line in left]
    return problems


def _left_out(run, release, folder, patch, commit, missing):
    """
    Of the changes that are ``missing`` in the new patch, those that are not in ``commit`` in
    another way; as they are shown.
    """
    if not missing or patches.contained(run, release, patch, commit, folder):
        return []
    paths = {path for path, _, _ in missing}
    contents = {path: _contents(run, release, folder, commit, path) for path in paths}
    return [
        _shown(change)
        for change in missing
        if (change[2] in contents[change[0]]) is not (change[1] == "+")
    ]


def report(release, survey, old, onto, new):
    """
    Return ``{text, counts: {kept, changed, absorbed, dropped, merges}}``: every patch with what
    became of it, and how the new one differs (as :py:func:`lines` found). ``kept`` is the same
    patch on another base; ``changed`` has other lines or other surroundings.
    """
    listed, counts = [], {"kept": 0, "changed": 0, "absorbed": 0, "dropped": 0, "merges": 0}
    for one in survey["patches"]:
        kind = _kind(one)
        counts[kind] += 1
        note = f"   ({one['note']})" if one["note"] else ""
        listed.append(
            f"{kind:<9} {one['sha'][:12]} -> {(one['new'] or '-')[:12]:<12} {one['subject']}{note}"
        )
        listed += [f"          left out: {line}" for line in one.get("left_out", ())]
    for one in survey["patches"]:
        if "differs" in one:
            listed += ["", f"{patches.label(one)} -> {one['new'][:12]}:", *one["differs"]]
    summary = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    head = (
        f"{release['branch']}: {old} -> {new}\nonto {onto}\n{len(survey['patches'])} patches:"
        f" {summary}\n"
    )
    return {"text": "\n".join([head, *listed, ""]), "counts": counts}


def _compared(first, second):
    """The difference of two diffs, as far as it can be read."""
    if len(first) + len(second) > _LONGEST_DIFF:
        return [f"    too long to compare here: {len(first)} and {len(second)} lines"]
    old = [line.decode(errors="replace") for line in first]
    new = [line.decode(errors="replace") for line in second]
    found = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
    more = [f"    … {len(found)} lines"] if len(found) > _MOST_SHOWN else []
    return [f"    {line}" for line in found[:_MOST_SHOWN]] + more


def _contents(run, release, folder, commit, path):
    """
    What a file holds in a commit, as ``diffs`` tells it: its lines, mode, and blob; nothing where
    there is no such file.
    """
    entry = git.execute(run, release, "ls-tree", "-z", commit, "--", path, repo=folder, raw=True)[
        "out"
    ]
    if not entry:
        return set()
    mode, kind, blob = entry.partition(b"\t")[0].split(b" ")
    if kind != b"blob":
        return {b"Subproject commit " + blob, b"\0mode " + mode}
    text = git.execute(run, release, "cat-file", "blob", blob.decode(), repo=folder, raw=True)[
        "out"
    ]
    return {*text.split(b"\n"), b"\0mode " + mode, b"\0binary " + blob}


def _shown(change):
    path, sign, line = change
    text = line.replace(b"\0", b"").decode(errors="replace")
    return f"{path}: {sign}{text[:200]}"


def _kind(patch):
    if patch["fate"] == "carry":
        return "changed" if "differs" in patch or "edits" in patch else "kept"
    return {"upstream": "absorbed", "empty": "absorbed", "drop": "dropped", "merge": "merges"}[
        patch["fate"]
    ]


def _none_unaccounted(run, release, folder, patches, onto, new, by_human):
    """
    The commits of the result are those of the patches, in their order; more of them only where a
    human was at work.
    """
    made = _git(run, release, folder, "rev-list", "--reverse", "--topo-order", f"{onto}..{new}")[
        "out"
    ].split()
    known = [one["new"] for one in patches if one["new"]]
    if made == known:
        return
    extra = [sha for sha in made if sha not in known]
    if not by_human or [sha for sha in made if sha in known] != known:
        raise CommandExecutionError(
            f"The rebase made {len(made)} commits of {len(known)} patches, {len(extra)} of them of"
            f" no patch ({', '.join(sha[:12] for sha in extra[:5])}). Nothing was pushed"
        )
    for sha in extra:
        after = (
            next(one for one in patches if one["new"] and made.index(one["new"]) > made.index(sha))
            if sha != made[-1]
            else None
        )
        if after is None:
            raise CommandExecutionError(
                f"{sha[:12]} was committed by hand after the last patch. Commit it on origin"
                " instead. Nothing was pushed"
            )
        _note(after, f"split by hand, {sha[:12]} is a part of it")


def _plain(text):
    # A message in another encoding is recoded by git, and ends in one newline afterwards; its words
    # stay.
    return text.strip()


def _note(patch, text):
    patch["note"] = f"{patch['note']}; {text}" if patch["note"] else text


def _paths(run, release, folder, before, after):
    out = _git(
        run, release, folder, "diff-tree", "-r", "-z", "--name-only", "--no-renames", before, after
    )["out"]
    return [path for path in out.split("\0") if path]


def _git(run, release, folder, *arguments, **options):
    return git.execute(run, release, *arguments, repo=folder, **options)
