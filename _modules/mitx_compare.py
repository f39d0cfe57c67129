"""
Is the rebased branch what it should be?
========================================

Three proofs, before anything is pushed: each patch is accounted for; author, date and message of each are what they were;
and the tree of the result is the one that *merging* the branch gives, which a rebase reaches by another way. Then the
report that a human reads: ``git range-diff`` of the old patches and the new.

Here, ``release`` is the map ``release`` of :py:func:`mitx_settings.get`, a patch is what ``mitx_patches`` makes, and
``folder`` the repository in which ``mitx_rebase`` has rebased.
"""

import re

from salt.exceptions import CommandExecutionError

# "  7:  56b955e4c =   9:  4938581d4 subject": the seventh of the old patches is the same as the ninth of the new.
_KEPT = re.compile(r"^ *\d+:  ([0-9a-f]{7,40}) = ", re.MULTILINE)


def __virtual__():
    return True


def account(release, folder, patches, onto, result, stops=()):
    """
    Write into ``patches`` what became of each (``fate``, ``new``, ``note``), from ``result`` of ``mitx_rebase.start`` or
    ``go_on`` and the ``stops`` at which a human decided. A patch of which it cannot be told is an error.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase test=True
    """
    carried = [one for one in patches if one["fate"] == "carry"]
    if len(result["map"]) != len(carried):
        raise CommandExecutionError(
            f"Of {len(carried)} patches {len(result['map'])} came back from the rebase. Nothing was pushed. "
            "Was the rebase ended by hand? salt-run mitx.rebase abort=True, then run it again"
        )
    by_human = {stop["sha"] for stop in stops}
    by_memory = {solved["sha"] for solved in result["solved"]}
    below = onto
    for one, new in zip(carried, result["map"], strict=True):
        if new == below:
            skipped = one["sha"] in by_human
            one["fate"], one["new"] = ("drop" if skipped else "empty"), None
            _note(one, "skipped by hand" if skipped else "nothing of it is left: onto has all of it in another form")
            continue
        one["new"] = below = new
        if one["sha"] in by_human:
            _note(one, "a conflict, solved by hand")
        elif one["sha"] in by_memory:
            _note(one, "a conflict, solved as it was the last time")
    _none_unaccounted(release, folder, patches, onto, result["new"], by_human)


def unchanged(release, folder, patches, stops=()):
    """
    Raise ``CommandExecutionError`` unless author, date and message of each carried patch are what they were. A message that a
    human changed while he solved a conflict is noted.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase test=True
    """
    by_human = {stop["sha"] for stop in stops}
    carried = [one for one in patches if one["new"] and one["new"] != one["sha"]]
    rebased = __salt__["mitx_patches.read"](release, [one["new"] for one in carried], repo=folder)
    for one, new in zip(carried, rebased, strict=True):
        differ = [what for what in ("author", "date", "message") if _plain(one[what]) != _plain(new[what])]
        if differ and one["sha"] in by_human:
            _note(one, f"{' and '.join(differ)} changed by hand")
        elif differ:
            raise CommandExecutionError(
                f"{__salt__['mitx_patches.label'](one)}: the rebase changed its {' and '.join(differ)}. Nothing was pushed"
            )
        if one["signed"] and not new["signed"]:
            _note(one, "its signature is lost")


def check_tree(release, folder, survey, old, onto, new, stops=()):
    """
    Compare the tree of ``new`` with that of a merge of ``old`` into ``onto``, with what the branch stood on as the base::

        {equal: bool, unexplained: [paths], explained: {path: why}, skipped: None or why it could not be made}

    A path may differ where the merge as a whole is in conflict, where a human (or his memory) decided, or where a patch was
    left out on purpose; nowhere else.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase test=True
    """
    if survey["base"] is None:
        return {"equal": False, "unexplained": [], "explained": {}, "skipped": "the branch stands on several commits of upstream"}
    command = ["rev-parse", *(f"{commit}^{{tree}}" for commit in (survey["base"], onto, old, new))]
    base, ours, theirs, made = _git(release, folder, *command)["out"].split()
    merged = __salt__["mitx_conflict.merge"](release, folder, base, ours, theirs)
    if merged["tree"] == made:
        return {"equal": True, "unexplained": [], "explained": {}, "skipped": None}
    reasons = dict.fromkeys(merged["stages"], "the branch as a whole is in conflict here")
    reasons |= {path: "decided in a conflict" for stop in stops for path in stop["paths"]}
    for one in survey["patches"]:
        if one["fate"] == "drop":
            reasons |= dict.fromkeys(_paths(release, folder, f"{one['sha']}^", one["sha"]), f"{one['sha'][:12]} was left out")
    differ = _paths(release, folder, merged["tree"], made)
    explained = {path: reasons[path] for path in differ if path in reasons}
    return {
        "equal": False,
        "unexplained": [path for path in differ if path not in reasons],
        "explained": explained,
        "skipped": None,
    }


def report(release, folder, survey, old, onto, new):
    """
    Return ``{text, counts: {kept, changed, absorbed, dropped, merges}}``: every patch with what became of it, and git's
    range-diff. ``kept`` is the same patch on another base; ``changed`` has other lines or other surroundings.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase
    """
    base = survey["base"]
    text = ""
    if base not in (None, old) and onto != new:
        text = _git(release, folder, "range-diff", "--no-color", f"{base}..{old}", f"{onto}..{new}")["out"]
    kept = tuple(_KEPT.findall(text))
    lines, counts = [], {"kept": 0, "changed": 0, "absorbed": 0, "dropped": 0, "merges": 0}
    for one in survey["patches"]:
        kind = _kind(one, kept)
        counts[kind] += 1
        note = f"   ({one['note']})" if one["note"] else ""
        lines.append(f"{kind:<9} {one['sha'][:12]} -> {(one['new'] or '-')[:12]:<12} {one['subject']}{note}")
    summary = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    head = f"{release['branch']}: {old} -> {new}\nonto {onto}\n{len(survey['patches'])} patches: {summary}\n"
    return {"text": "\n".join([head, *lines, "", text]), "counts": counts}


def _kind(patch, kept):
    if patch["fate"] == "carry":
        return "kept" if patch["new"] == patch["sha"] or (kept and patch["sha"].startswith(kept)) else "changed"
    return {"upstream": "absorbed", "empty": "absorbed", "drop": "dropped", "merge": "merges"}[patch["fate"]]


def _none_unaccounted(release, folder, patches, onto, new, by_human):
    """The commits of the result are those of the patches, in their order; more of them only where a human was at work."""
    made = _git(release, folder, "rev-list", "--reverse", "--topo-order", f"{onto}..{new}")["out"].split()
    known = [one["new"] for one in patches if one["new"]]
    if made == known:
        return
    extra = [sha for sha in made if sha not in known]
    if not by_human or [sha for sha in made if sha in known] != known:
        raise CommandExecutionError(
            f"The rebase made {len(made)} commits of {len(known)} patches, {len(extra)} of them of no patch "
            f"({', '.join(sha[:12] for sha in extra[:5])}). Nothing was pushed"
        )
    for sha in extra:
        after = (
            next(one for one in patches if one["new"] and made.index(one["new"]) > made.index(sha)) if sha != made[-1] else None
        )
        if after is None:
            raise CommandExecutionError(
                f"{sha[:12]} was committed by hand after the last patch. Commit it on origin instead. Nothing was pushed"
            )
        _note(after, f"split by hand, {sha[:12]} is a part of it")


def _plain(text):
    # A message in another encoding is recoded by git, and ends in one newline afterwards; its words stay.
    return text.strip()


def _note(patch, text):
    patch["note"] = f"{patch['note']}; {text}" if patch["note"] else text


def _paths(release, folder, before, after):
    out = _git(release, folder, "diff-tree", "-r", "-z", "--name-only", "--no-renames", before, after)["out"]
    return [path for path in out.split("\0") if path]


def _git(release, folder, *arguments, **options):
    return __salt__["mitx_git.run"](release, *arguments, repo=folder, **options)
