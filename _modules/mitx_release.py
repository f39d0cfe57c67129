"""
The release branch: MIT's patches on edX's code
===============================================

``mitx/<codename>`` is what AMIs are built from: a release of upstream with our patches on top. :py:func:`plan` says what a
rebase onto a new release would do, :py:func:`sync` does it and pushes, and origin is never left in between: one atomic push
moves the branch, only from where it was seen to be, and writes down where that was.

The modules below this one: ``mitx_git`` runs git, ``mitx_mirror`` keeps what upstream and origin hold, ``mitx_patches`` finds
our patches, ``mitx_rebase`` rebases them, ``mitx_compare`` proves the result, ``mitx_conflict`` hands a conflict to a human,
``mitx_branch`` names, backs up, creates, copies and restores branches. ``docs/release.md`` tells it from the engineer's side.
"""

import json
import pathlib
import time

from salt.exceptions import CommandExecutionError

_SHOWN = ("sha", "author", "date", "subject", "fate", "note", "new", "signed")


def __virtual__():
    if "mitx_git.run" not in __salt__:
        return False, "The mitx_release module needs git"
    return True


def patches(environment=None, onto_sha=None, drop=()):
    """
    Return our patches, oldest first, with what a rebase would make of each: a list of ``{sha, author, date, subject,
    fate: carry | upstream | empty | drop | merge, note, new, signed}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    return plan(environment, onto_sha, drop)["patches"]


def plan(environment=None, onto_sha=None, drop=()):
    """
    Return what :py:func:`sync` would do. Nothing but the mirror is touched::

        {branch, old: sha, onto: {ref, sha}, new: sha, or None where it cannot be told, changed: bool,
         patches: see patches(), conflicts: [{sha, subject, author, paths, details: [{paths, type, message, hunks}]}],
         problems: [what forbids it], notes: [str], check: None or see mitx_compare.check_tree,
         pushes: [{url, updates: [{ref, new, lease}], command}], backup: ref or None,
         waiting: None or the folder in which a conflict waits for a human, seconds: {step: float}}

    onto_sha
        A commit to rebase onto, instead of what the ref ``release:onto`` is now.
    drop
        Full shas of patches to leave out.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_release.plan with_pillar=True
    """
    release = _release(environment)
    with __salt__["mitx_mirror.locked"](release):
        job = _job(release, onto_sha, drop)
        if not job["problems"] and not job["survey"]["rebased"]:
            with __salt__["mitx_rebase.scratch"](release) as folder:
                result = __salt__["mitx_rebase.start"](release, folder, job["survey"]["patches"], job["onto"], every=True)
                job["conflicts"] = result["conflicts"]
                if not job["conflicts"]:
                    _prove(release, folder, job, result)
        return _answer(release, job)


def sync(environment=None, onto_sha=None, drop=(), accept=None):
    """
    Rebase the release branch and push it. Returns what :py:func:`plan` does, and ``report``: the path of git's range-diff in
    the folder of the run, ``counts``: ``{kept, changed, absorbed, dropped, merges}``. A branch that is rebased already is left
    alone: ``changed`` is False.

    A conflict raises ``CommandExecutionError`` with attribute ``conflict``; nothing was pushed then, and the rebase waits in
    the folder that the message names. When it is solved there, the same call goes on from it.

    onto_sha, drop
        As in :py:func:`plan`.
    accept
        Full sha of a result that was refused because its tree is not that of a merge, after a human has looked at it.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase
    """
    release = _release(environment, push=True)
    with __salt__["mitx_mirror.locked"](release):
        job = _job(release, onto_sha, drop)
        if job["survey"]["rebased"]:
            return _answer(release, job)
        if job["problems"]:
            listed = "\n  - ".join(job["problems"])
            raise CommandExecutionError(
                f"{release['branch']} cannot be rebased onto {job['ref']}; nothing was pushed:\n  - {listed}"
            )
        with __salt__["mitx_rebase.scratch"](release) as folder:
            _rebase(release, folder, job)
            _refuse_mismatch(release, job, accept)
            _publish(release, folder, job)
        return _answer(release, job)


def resume(environment=None, accept=None):
    """
    Go on after a human has solved a conflict; returns what :py:func:`sync` does. No conflict waiting is an error.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase resume=True
    """
    waiting = __salt__["mitx_conflict.pending"](_release(environment, push=True))
    if not waiting:
        raise CommandExecutionError("No conflict waits to be solved; salt-run mitx.rebase begins a rebase")
    return sync(environment, onto_sha=waiting["onto"], drop=waiting["drop"], accept=accept)


def abort(environment=None):
    """
    Throw away the rebase that waits for a human. What he has solved and ``resume`` has taken is remembered for the next time.
    Returns ``{removed: path or None}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase abort=True
    """
    release = _release(environment)
    with __salt__["mitx_mirror.locked"](release):
        return {"removed": __salt__["mitx_conflict.remove"](release)}


def proof(environment=None):
    """
    Prove, without changing anything, what a release needs that comes from another environment's AMIs (``release:from``): the
    commit that it recorded, or else ``release:sha``, is on origin, and both AMIs that it recorded exist and are available.
    Returns ``{from, sha, where: [branch or backups that contain it], images: {role: {id, name, state}}}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_release.proof with_pillar=True
    """
    settings = __salt__["mitx_settings.get"](environment)
    release, source = settings["release"], settings["release"]["from"]
    if not source:
        raise CommandExecutionError(f"{settings['environment']} has no release:from; its release branch is rebased here")
    sha = __salt__["mitx_git.check_sha"](release.get("sha") or _recorded_sha(source), f"the commit of {source}'s release")
    with __salt__["mitx_mirror.locked"](release):
        where = __salt__["mitx_branch.holders"](release, __salt__["mitx_mirror.fetch"](release), sha)
    if not where:
        raise CommandExecutionError(
            f"{source} recorded {sha}, which neither {release['branch']} on origin nor a backup of it contains"
        )
    images = {
        role: _image(source, uri, settings["source"]["amis"][role]) for role, uri in settings["source"]["sdb"]["ami"].items()
    }
    return {"from": source, "sha": sha, "where": where, "images": images}


def _release(environment, push=False):
    settings = __salt__["mitx_settings.get"](environment)
    release = settings["release"]
    if push and release["from"]:
        raise CommandExecutionError(
            f"The release of {settings['environment']} comes from the AMIs of {release['from']} (release:from): nothing is rebased or "
            "pushed for it. salt-run salt.cmd mitx_release.proof with_pillar=True shows what there is"
        )
    return release


def _job(release, onto_sha, drop):
    """Everything that is known before a rebase, from a fresh look at upstream and origin."""
    started = time.monotonic()
    __salt__["mitx_rebase.sweep"](release)
    refs = __salt__["mitx_mirror.fetch"](release)
    fetched = time.monotonic()
    old = __salt__["mitx_branch.tip"](release, refs)
    ref, onto = __salt__["mitx_branch.resolve"](release, refs, onto_sha)
    drop = sorted(__salt__["mitx_git.check_sha"](sha, "drop") for sha in drop or ())
    survey = __salt__["mitx_patches.find"](release, old, onto, drop)
    waiting = __salt__["mitx_conflict.pending"](release)
    job = {
        "refs": refs,
        "old": old,
        "ref": ref,
        "onto": onto,
        "drop": drop,
        "survey": survey,
        "waiting": waiting,
        "solved": [],
        "stops": [],
    }
    job |= {
        "new": old if survey["rebased"] else None,
        "conflicts": [],
        "check": None,
        "updates": [],
        "notes": list(survey["notes"]),
    }
    job |= {"problems": survey["problems"], "seconds": {"fetch": fetched - started, "survey": time.monotonic() - fetched}}
    if waiting and survey["rebased"]:
        job["notes"].append(
            f"what waits in {__salt__['mitx_conflict.folder'](release)} is overtaken; salt-run mitx.rebase abort=True removes it"
        )
    elif waiting:
        _compare_waiting(release, job)
    return job


def _compare_waiting(release, job):
    """What waits for a human was begun from certain commits. Is it still the rebase that is asked for now?"""
    waiting = job["waiting"]
    now = {"old": job["old"], "onto": job["onto"], "drop": job["drop"]}
    moved = [f"{name} was {waiting[name]}, is {value}" for name, value in now.items() if waiting[name] != value]
    if moved:
        job["problems"].append(
            f"a conflict of another rebase waits in {__salt__['mitx_conflict.folder'](release)} ({'; '.join(moved)}). Finish it with "
            "salt-run mitx.rebase resume=True, or throw it away with salt-run mitx.rebase abort=True; what was solved is remembered"
        )


def _rebase(release, folder, job):
    """Rebase in ``folder``, from the start or from where a human has solved a conflict; a conflict is handed over."""
    started = time.monotonic()
    waiting = job["waiting"]
    if waiting:
        __salt__["mitx_conflict.check_solved"](release, waiting)
        job["survey"] |= {"patches": waiting["patches"], "base": waiting["base"]}
        job |= {"stops": waiting["stops"], "solved": waiting["solved"]}
        __salt__["mitx_conflict.take_back"](release, folder)
        result = __salt__["mitx_rebase.go_on"](release, folder)
    else:
        result = __salt__["mitx_rebase.start"](release, folder, job["survey"]["patches"], job["onto"])
    job["seconds"]["rebase"] = time.monotonic() - started
    if result["conflicts"]:
        state = {key: job[key] for key in ("old", "onto", "drop", "stops")} | {
            "branch": release["branch"],
            "base": job["survey"]["base"],
        }
        state |= {"patches": job["survey"]["patches"], "solved": job["solved"] + result["solved"]}
        __salt__["mitx_conflict.hand_over"](release, folder, state, result["conflicts"][0])
    _prove(release, folder, job, result)


def _prove(release, folder, job, result):
    started = time.monotonic()
    patches_, stops = job["survey"]["patches"], job["stops"]
    job["solved"] += result["solved"]
    __salt__["mitx_compare.account"](release, folder, patches_, job["onto"], {**result, "solved": job["solved"]}, stops)
    __salt__["mitx_compare.unchanged"](release, folder, patches_, stops)
    job["check"] = __salt__["mitx_compare.check_tree"](
        release, folder, job["survey"], job["old"], job["onto"], result["new"], stops + job["solved"]
    )
    job["new"] = result["new"]
    job["notes"] += _signatures(release, patches_)
    job["seconds"]["check"] = time.monotonic() - started
    if job["new"] != job["old"]:
        job["updates"] = __salt__["mitx_branch.updates"](release, job["old"], job["new"])


def _signatures(release, found):
    signed = [one for one in found if one["signed"] and one["new"] not in (None, one["sha"])]
    if not signed:
        return []
    if release["signing_key"]:
        return [f"{len(signed)} patches were signed; all that were rebased are signed with {release['signing_key']}"]
    return [
        f"{len(signed)} patches were signed; a rebase takes the signature away, and no release:signing_key says how to sign anew"
    ]


def _refuse_mismatch(release, job, accept):
    if not job["check"]["unexplained"] or accept == job["new"]:
        return
    raise CommandExecutionError(
        f"The rebase of {release['branch']} has another tree than a merge would have, in: {', '.join(job['check']['unexplained'][:20])}. "
        f"Nothing was pushed. Patches that undo each other, or upstream's own revert, can be the reason. Compare by hand; if {job['new']} is "
        f"right all the same: accept={job['new']}"
    )


def _publish(release, folder, job):
    """Push, keep the report, and clear away what is no longer needed. From here on origin has the new branch."""
    started = time.monotonic()
    report = __salt__["mitx_compare.report"](release, folder, job["survey"], job["old"], job["onto"], job["new"])
    reported = time.monotonic()
    if job["updates"]:
        __salt__["mitx_mirror.push"](release, job["updates"], folder)
        job["notes"] += __salt__["mitx_branch.prune"](release, job["refs"])
    job["seconds"] |= {"report": reported - started, "push": time.monotonic() - reported}
    job["counts"] = report["counts"]
    job["report"] = __salt__["mitx_run.capture"](f"release/{job['old'][:12]}-{job['new'][:12]}.txt", report["text"])
    if job["waiting"]:
        __salt__["mitx_conflict.remove"](release)
        job["waiting"] = None


def _answer(release, job):
    survey = job["survey"]
    answer = {
        "branch": release["branch"],
        "old": job["old"],
        "onto": {"ref": job["ref"], "sha": job["onto"]},
        "new": job["new"],
        "changed": bool(job["updates"]) or job["new"] is None,
        "patches": [{key: one[key] for key in _SHOWN} for one in survey["patches"]],
        "conflicts": job["conflicts"],
        "problems": job["problems"],
        "notes": job["notes"],
        "check": job["check"],
        "pushes": __salt__["mitx_branch.pushes"](release, job["updates"]),
        "backup": next((one["ref"] for one in job["updates"] if one["ref"].startswith("refs/mitx/backup/")), None),
        "waiting": __salt__["mitx_conflict.folder"](release) if job["waiting"] else None,
        "seconds": {step: round(seconds, 2) for step, seconds in job["seconds"].items()},
    }
    return {**answer, **{key: job[key] for key in ("report", "counts") if key in job}}


def _recorded_sha(source):
    """The commit that the last run of ``source`` on this master recorded."""
    runs = pathlib.Path(__salt__["mitx_run.folder"]("any")).parent.parent / source
    found = []
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("facts", {}).get("release_sha"):
            found.append((record["began"], record["facts"]["release_sha"]))
    if not found:
        raise CommandExecutionError(
            f"No run of {source} recorded its commit under {runs}; if {source} has a master of its own, copy release_sha from "
            "its record to pillar release:sha"
        )
    return max(found)[1]


def _image(source, uri, name):
    """The AMI that the environment ``source`` recorded for a role: it exists, is available, and bears the right name."""
    ami = __salt__["sdb.get"](uri)
    if not str(ami).startswith("ami-"):
        raise CommandExecutionError(f"{uri} holds no AMI of {source}: {ami!r}")
    absent = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidAMIID.Malformed")
    answer = __salt__["mitx_aws.call"]("ec2", "describe_images", absent=absent, ImageIds=[ami])
    found = (answer or {}).get("Images") or [None]
    if not found[0]:
        raise CommandExecutionError(f"{ami}, which {source} recorded in {uri}, does not exist")
    image = {"id": ami, "name": found[0].get("Name"), "state": found[0].get("State")}
    if image["state"] != "available" or not str(image["name"]).startswith(name.partition("{release}")[0]):
        raise CommandExecutionError(
            f"{ami}, which {source} recorded in {uri}, is {image['state']} and called {image['name']}; wanted: {name}"
        )
    return image
