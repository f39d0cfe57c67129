"""
Ensure the release branch
=========================

The code that a run deploys: rebased onto upstream's release and pushed, or, where it comes from
another environment's AMIs, proven to be there.
"""

from salt.exceptions import CommandExecutionError

from mitx_release import branches, release
from mitx_run import change, record

_FATES = {
    "upstream": "upstream has it",
    "empty": "nothing left of it",
    "drop": "dropped",
    "merge": "merge, flattened",
}


@change.state
def rebased(run, ret, onto_sha=None, drop=None, carry=None, accept=None, forget=None, resume=False):
    options = {
        "onto_sha": onto_sha,
        "drop": drop or (),
        "carry": carry or (),
        "accept": accept or (),
    }
    if resume:
        options = release.decided(run, accept or ())
    if run.test:
        _tell(ret, release.plan(run, **options), forget)
        return
    answer = release.sync(run, **options, forget=forget or ())
    # What was pushed stays in changes: only recording it can still fail.
    ret["changes"] = _changes(answer)
    if record.read(run):
        # By itself, outside of any run, there is nowhere to record it and nobody to act on it.
        record.pin(run, "release_sha", answer["new"])
    ret["comment"] = _comment(answer)


@change.state
def copied(run, ret, names=None):
    answer = branches.copy(run, names=names)
    ret["changes"] = {
        branch: {"old": None, "new": sha} for branch, sha in answer["created"].items()
    }
    ret["changes"] |= {
        branch: {"old": old, "new": new} for branch, (old, new) in answer["updated"].items()
    }
    if answer["diverged"]:
        left = ", ".join(
            f"{branch} (origin {old[:12]}, upstream {new[:12]})"
            for branch, (old, new) in answer["diverged"].items()
        )
        raise CommandExecutionError(
            f"diverged, left alone: {left}. What origin has was pushed by someone, or upstream"
            " rewrote it"
        )
    if not ret["changes"]:
        same = ", ".join(answer["same"]) or "upstream has no such branch"
        ret["comment"] = f"origin has all of it: {same}"
        return
    count = len(ret["changes"])
    _told(run, ret, f"{count} branches {{}} copied")


@change.state
def created(run, ret):
    answer = branches.create(run)
    if not answer["changed"]:
        ret["comment"] = f"origin has {answer['branch']} ({answer['old'][:12]}) already"
        return
    onto = f"{answer['onto']['ref']} ({answer['onto']['sha']})"
    ret["changes"] = {
        answer["branch"]: {"old": None, "new": answer["new"], "onto": onto, **_pushed(answer)}
    }
    _told(run, ret, f"{answer['branch']} {{}} created from {onto}")


@change.state
def restored(run, ret, backup=None):
    answer = branches.restore(run, backup=backup)
    if not answer["changed"]:
        ret["comment"] = f"{answer['branch']} is at {answer['new'][:12]} already"
        return
    ret["changes"] = {
        answer["branch"]: {
            "old": answer["old"],
            "new": answer["new"],
            "backup": answer["backup"],
            **_pushed(answer),
        }
    }
    _told(
        run,
        ret,
        f"{answer['branch']} {{}} put back to {answer['new'][:12]}; where it was is kept as"
        f" {answer['backup']}. What was solved by hand is done again by the next rebase; if it was"
        " wrong: salt-run mitx.rebase forget=<path or sha>",
    )


@change.state
def proven(run, ret):
    proof = release.proof(run)
    if not run.test:
        record.pin(run, "release_sha", proof["sha"])
    images = ", ".join(
        f"{role}: {image['id']} ({image['name']})" for role, image in proof["images"].items()
    )
    ret["comment"] = f"{proof['from']} was built from {proof['sha']}; {images}, available"


def _tell(ret, plan, forget=None):
    ret["comment"] = _comment(plan)
    if forget:
        ret["comment"] += (
            f"\nWhat was solved the last time would be forgotten first, and asked anew: {forget}"
        )
    if plan["problems"]:
        raise CommandExecutionError("\n".join(plan["problems"]))
    ret["changes"] = _changes(plan)
    if plan["conflicts"]:
        ret["warnings"] = [
            f"{len(plan['conflicts'])} conflict(s) that a human must solve: the rebase would stop"
            " at the first"
        ]
        ret["result"] = False
    elif ret["changes"]:
        ret["result"] = None


def _changes(answer):
    if not answer["changed"]:
        return {}
    what = {
        "old": answer["old"],
        "new": answer["new"],
        "onto": f"{answer['onto']['ref']} ({answer['onto']['sha']})",
    }
    what["patches"] = {
        f"{one['sha'][:12]} {one['subject']}": _fate(one) for one in answer["patches"]
    }
    if answer["conflicts"]:
        what["conflicts"] = answer["conflicts"]
    return {answer["branch"]: {**what, **_pushed(answer)}}


def _pushed(answer):
    return (
        {"push": [" ".join(["git", *push["command"]]) for push in answer["pushes"]]}
        if answer["pushes"]
        else {}
    )


def _told(run, ret, text):
    ret["result"] = None if run.test else True
    ret["comment"] = text.format("would be" if run.test else "was")


def _fate(patch):
    text = _FATES.get(patch["fate"]) or (patch["new"] or "carried")
    return f"{text} ({patch['note']})" if patch["note"] else text


def _comment(answer):
    lines = []
    if not answer["changed"]:
        lines.append(
            f"{answer['branch']} ({answer['new'][:12]}) stands on {answer['onto']['ref']} already"
        )
    elif answer["conflicts"]:
        told = "; ".join(
            f"{one['sha'][:12]} {one['subject']}: {', '.join(one['paths'])}"
            for one in answer["conflicts"]
        )
        lines.append(f"{answer['branch']}: in conflict with {answer['onto']['ref']}: {told}")
    else:
        lines.append(
            f"{answer['branch']}: {answer['old'][:12]} -> {(answer['new'] or 'unknown')[:12]} onto"
            f" {answer['onto']['ref']}"
        )
    if answer.get("report"):
        lines.append(f"Every patch, old and new: {answer['report']}")
    return "\n".join([*lines, *answer["notes"]])
