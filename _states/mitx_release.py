"""
Ensure the release branch
=========================

The code that a run deploys: rebased onto upstream's release and pushed, or, where it comes from another environment's AMIs,
proven to be there.
"""

from salt.exceptions import CommandExecutionError

_FATES = {"upstream": "upstream has it", "empty": "nothing left of it", "drop": "dropped", "merge": "merge, flattened"}


def __virtual__():
    if "mitx_release.sync" in __salt__:
        return True
    return False, "The mitx_release execution module is not available"


def rebased(name, onto_sha=None, drop=None, accept=None):
    """
    Ensure that the release branch on origin stands on upstream's release ``release:onto`` with all our patches, and record its
    sha in the run (``release_sha``). A conflict stops the state; when it is solved, the same state goes on.

    onto_sha, drop, accept
        See ``mitx_release.sync``.

    .. code-block:: yaml

        release branch:
          mitx_release.rebased: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        if __opts__["test"]:
            return _predict(ret, __salt__["mitx_release.plan"](onto_sha=onto_sha, drop=drop or ()))
        answer = __salt__["mitx_release.sync"](onto_sha=onto_sha, drop=drop or (), accept=accept)
        ret["changes"] = _changes(answer)
        ret["comment"] = _comment(answer)
        if __salt__["mitx_run.read"]():
            # By itself, outside of any run, there is nowhere to record it and nobody to act on it.
            __salt__["mitx_run.pin"]("release_sha", answer["new"])
    except CommandExecutionError as err:
        # What was pushed stays in changes: only recording it can still have failed.
        ret |= {"result": False, "comment": str(err)}
    return ret


def copied(name, branches=None):
    """
    Ensure that origin has upstream's release branches under the same names, never by force.

    branches
        Which branches or tags; by default every branch of this codename. (``names`` would be Salt's: a state for each.)

    .. code-block:: yaml

        upstream's branches:
          mitx_release.copied:
            - branches: [open-release/koa.rc3]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        answer = __salt__["mitx_branch.copy"](names=branches)
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    ret["changes"] = {branch: {"old": None, "new": sha} for branch, sha in answer["created"].items()}
    ret["changes"] |= {branch: {"old": old, "new": new} for branch, (old, new) in answer["updated"].items()}
    if answer["diverged"]:
        told = ", ".join(
            f"{branch} (origin {old[:12]}, upstream {new[:12]})" for branch, (old, new) in answer["diverged"].items()
        )
        return {
            **ret,
            "result": False,
            "comment": f"diverged, left alone: {told}. What origin has was pushed by someone, or upstream rewrote it",
        }
    if not ret["changes"]:
        return {**ret, "comment": f"origin has all of it: {', '.join(answer['same']) or 'upstream has no such branch'}"}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"{len(ret['changes'])} branches would be copied"}
    return {**ret, "comment": f"{len(ret['changes'])} branches were copied"}


def created(name):
    """
    Ensure that origin has the release branch ``mitx/<codename>``; where it has none, from upstream's first
    ``open-release/<codename>.master``. One that is there is left alone.

    .. code-block:: yaml

        release branch:
          mitx_release.created: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        answer = __salt__["mitx_branch.create"]()
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    if not answer["changed"]:
        return {**ret, "comment": f"origin has {answer['branch']} ({answer['old'][:12]}) already"}
    onto = f"{answer['onto']['ref']} ({answer['onto']['sha']})"
    ret["changes"] = {answer["branch"]: {"old": None, "new": answer["new"], "onto": onto, **_pushed(answer)}}
    return _told(ret, f"{answer['branch']} {{}} created from {onto}")


def restored(name, backup=None):
    """
    Ensure that the release branch on origin is where it was: at one of ``mitx_branch.backups``. Where it is now becomes a backup
    itself, in the same push.

    backup
        Name or sha of the backup.

    .. code-block:: yaml

        release branch:
          mitx_release.restored:
            - backup: 20201220T014502Z-0123456789abcdef0123456789abcdef01234567
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        answer = __salt__["mitx_branch.restore"](backup=backup)
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    if not answer["changed"]:
        return {**ret, "comment": f"{answer['branch']} is at {answer['new'][:12]} already"}
    ret["changes"] = {
        answer["branch"]: {"old": answer["old"], "new": answer["new"], "backup": answer["backup"], **_pushed(answer)}
    }
    return _told(ret, f"{answer['branch']} {{}} put back to {answer['new'][:12]}; where it was is kept as {answer['backup']}")


def proven(name):
    """
    Ensure that the release of the environment ``release:from`` is there to be used: its recorded commit on origin, both its AMIs
    available. Records the commit in the run (``release_sha``). Pushes and changes nothing.

    .. code-block:: yaml

        QA's release:
          mitx_release.proven: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        proof = __salt__["mitx_release.proof"]()
        if not __opts__["test"]:
            __salt__["mitx_run.pin"]("release_sha", proof["sha"])
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    images = ", ".join(f"{role}: {image['id']} ({image['name']})" for role, image in proof["images"].items())
    return {**ret, "comment": f"{proof['from']} was built from {proof['sha']}; {images}, available"}


def _predict(ret, plan):
    ret["changes"] = _changes(plan)
    ret["comment"] = _comment(plan)
    if plan["problems"]:
        return {**ret, "result": False, "changes": {}, "comment": "; ".join(plan["problems"])}
    if plan["conflicts"]:
        ret["warnings"] = [f"{len(plan['conflicts'])} conflict(s) that a human must solve: the rebase would stop at the first"]
    if plan["check"] and plan["check"]["unexplained"]:
        ret["warnings"] = [f"the result would be refused: not what a merge gives in {', '.join(plan['check']['unexplained'])}"]
    if ret["changes"]:
        ret["result"] = None
    return ret


def _changes(answer):
    if not answer["changed"]:
        return {}
    what = {"old": answer["old"], "new": answer["new"], "onto": f"{answer['onto']['ref']} ({answer['onto']['sha']})"}
    what["patches"] = {f"{one['sha'][:12]} {one['subject']}": _fate(one) for one in answer["patches"]}
    if answer["conflicts"]:
        what["conflicts"] = answer["conflicts"]
    return {answer["branch"]: {**what, **_pushed(answer)}}


def _pushed(answer):
    return {"push": [" ".join(["git", *push["command"]]) for push in answer["pushes"]]} if answer["pushes"] else {}


def _told(ret, text):
    test = __opts__["test"]
    return {**ret, "result": None if test else True, "comment": text.format("would be" if test else "was")}


def _fate(patch):
    text = _FATES.get(patch["fate"]) or (patch["new"] or "carried")
    return f"{text} ({patch['note']})" if patch["note"] else text


def _comment(answer):
    lines = []
    if not answer["changed"]:
        lines.append(f"{answer['branch']} ({answer['new'][:12]}) stands on {answer['onto']['ref']} already")
    elif answer["conflicts"]:
        told = "; ".join(f"{one['sha'][:12]} {one['subject']}: {', '.join(one['paths'])}" for one in answer["conflicts"])
        lines.append(f"{answer['branch']}: in conflict with {answer['onto']['ref']}: {told}")
    else:
        lines.append(
            f"{answer['branch']}: {answer['old'][:12]} -> {(answer['new'] or 'unknown')[:12]} onto {answer['onto']['ref']}"
        )
    if answer.get("report"):
        lines.append(f"Every patch, old and new: {answer['report']}")
    return "\n".join([*lines, *answer["notes"]])
