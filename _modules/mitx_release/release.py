"""
The release branch: MIT's patches on edX's code
===============================================

``mitx/<codename>`` is what AMIs are built from: a release of upstream with our patches on top.
:py:func:`plan` says what a rebase onto a new release would do, :py:func:`sync` does it and pushes,
and origin is never left in between: one atomic push moves the branch, only from where it was seen
to be, and writes down where that was.

The modules below this one: ``git`` runs git, ``mirror`` keeps what upstream and origin hold,
``patches`` finds our patches, ``rebase`` rebases them, ``compare`` proves the result, ``conflict``
hands a conflict to a human, ``branches`` names, backs up, creates, copies and restores branches.
``docs/release.md`` tells it from the engineer's side.
"""

import json
import pathlib
import time

from salt.exceptions import CommandExecutionError

from mitx_release import branches, compare, conflict, git, mirror, patches, rebase, worktree
from mitx_run import aws, folders, record
from mitx_run.dunders import __salt__

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("ec2:DescribeImages",)

# Lines that a refusal lists.
_MOST_LINES = 40

_SHOWN = ("sha", "author", "date", "subject", "fate", "note", "new", "signed")


def list_patches(run, onto_sha=None, drop=(), carry=(), accept=()):
    """
    Return our patches, oldest first, with what a rebase would make of each: a list of ``{sha,
    author, date, subject, fate: carry | upstream | empty | drop | merge, note, new, signed}``.
    """
    return plan(run, onto_sha, drop, carry, accept)["patches"]


def plan(run, onto_sha=None, drop=(), carry=(), accept=()):
    """
    Return what :py:func:`sync` would do. Nothing but the mirror is touched::

        {branch, old: sha, onto: {ref, sha}, new: sha, or None where it is not known, changed:
         bool,
         patches: see patches(), conflicts: [{sha, subject, author, paths, details: [{paths, type,
         message, hunks}]}],
         problems: [what forbids it], notes: [str], check: None or see compare.tree,
         pushes: [{url, updates: [{ref, new, lease}], command}], backup: ref or None,
         waiting: None or the folder in which a conflict waits for a human, seconds: {step: float}}

    onto_sha
        A commit to rebase onto, instead of what the ref ``release:onto`` is now.
    drop, carry, accept
        Full shas of patches: left out, rebased, or taken in upstream's form. The last two answer
        what was asked.
    """
    release = _release(run)
    with mirror.locked(release):
        job = _job(run, release, onto_sha, {"drop": drop, "carry": carry, "accept": accept})
        if not job["problems"] and not job["survey"]["rebased"]:
            with worktree.folder(release) as folder:
                result = rebase.start(
                    run, release, folder, job["survey"]["patches"], job["onto"], every=True
                )
                job["conflicts"] = result["conflicts"]
                if not job["conflicts"]:
                    _prove(run, release, folder, job, result)
                    job["problems"] += filter(None, [_mismatch(release, job)])
        return _answer(release, job)


def sync(run, onto_sha=None, drop=(), carry=(), accept=(), forget=()):
    """
    Rebase the release branch and push it. Returns what :py:func:`plan` does, and ``report``: the
    path of git's range-diff in the folder of the run, ``counts``: ``{kept, changed, absorbed,
    dropped, merges}``. A branch that is rebased already is left alone: ``changed`` is False.

    A conflict raises :py:class:`errors.Conflict`; nothing was pushed
    then, and the rebase waits in the folder that the message names. When it is solved there, the
    same call goes on from it.

    onto_sha, drop, carry
        As in :py:func:`plan`.
    accept
        As there; or the full sha of a result that was refused because it is not what it should be,
        after a human has looked at it.
    forget
        Paths, or full shas of patches: what was solved there the last time was wrong, and is asked
        anew.
    """
    release = _release(run, push=True)
    with mirror.locked(release):
        job = _job(run, release, onto_sha, {"drop": drop, "carry": carry, "accept": accept})
        if job["survey"]["rebased"]:
            return _answer(release, job)
        if job["problems"]:
            listed = "\n  - ".join(job["problems"])
            raise CommandExecutionError(
                f"{release['branch']} cannot be rebased onto {job['ref']}; nothing was pushed:\n  -"
                f" {listed}"
            )
        with worktree.folder(release) as folder:
            _rebase(run, release, folder, job, _listed(forget))
            mismatch = _mismatch(release, job)
            if mismatch:
                raise CommandExecutionError(mismatch)
            _publish(run, release, folder, job)
        return _answer(release, job)


def resume(run, accept=(), forget=()):
    """
    Go on after a human has solved a conflict; returns what :py:func:`sync` does. No conflict
    waiting is an error.
    """
    return sync(run, **decided(run, accept), forget=forget)


def decided(run, accept=()):
    """
    Return what was said when the rebase began that waits for a human, as arguments of
    :py:func:`sync`: it goes on as it began. No conflict waiting is an error.
    """
    waiting = require_waiting(run)
    said = {"onto_sha": waiting["onto"], "drop": waiting["drop"], "carry": waiting.get("carry", [])}
    return {**said, "accept": [*waiting.get("accept", []), *_listed(accept)]}


def require_waiting(run):
    """
    Return the rebase that waits for a human (see ``conflict.pending``). None is an error.
    """
    waiting = conflict.pending(_release(run, push=True))
    if not waiting:
        raise CommandExecutionError(
            "No conflict waits to be solved; salt-run mitx.rebase begins a rebase"
        )
    return waiting


def abort(run):
    """
    Throw away the rebase that waits for a human. What was solved and ``resume`` has taken is
    remembered for the next time. Returns ``{removed: path or None}``.
    """
    release = _release(run)
    with mirror.locked(release):
        conflict.remember(run, release)
        return {"removed": conflict.remove(run, release)}


def proof(run):
    """
    Prove, without changing anything, what a release needs that comes from another environment's
    AMIs (``release:from``): the commit that it recorded, or else ``release:sha``, is on origin, and
    both AMIs that it recorded exist and are available. Returns ``{from, sha, where: [branch or
    backups that contain it], images: {role: {id, name, state}}}``.
    """
    release, source = run.settings["release"], run.settings["release"]["from"]
    if not source:
        raise CommandExecutionError(
            f"{run.settings['environment']} has no release:from; its release branch is rebased here"
        )
    sha = git.check_sha(
        release.get("sha") or _recorded_sha(run, source), f"the commit of {source}'s release"
    )
    with mirror.locked(release):
        where = branches.holders(run, release, mirror.fetch(run, release), sha)
    if not where:
        raise CommandExecutionError(
            f"{source} recorded {sha}, which neither {release['branch']} on origin nor a backup of"
            " it contains"
        )
    images = {
        role: _image(run, source, uri, run.settings["source"]["amis"][role])
        for role, uri in run.settings["source"]["sdb"]["ami"].items()
    }
    return {"from": source, "sha": sha, "where": where, "images": images}


def _release(run, push=False):
    release = run.settings["release"]
    if push and release["from"]:
        raise CommandExecutionError(
            f"The release of {run.settings['environment']} comes from the AMIs of {release['from']}"
            " (release:from): nothing is rebased or pushed for it. salt-run salt.cmd"
            " mitx_release.proof with_pillar=True shows what there is"
        )
    return release


def _job(run, release, onto_sha, said):
    """Everything that is known before a rebase, from a fresh look at upstream and origin."""
    started = time.monotonic()
    worktree.remove_stale(release)
    refs = mirror.fetch(run, release)
    fetched = time.monotonic()
    old = branches.tip(release, refs)
    ref, onto = branches.resolve(run, release, refs, onto_sha)
    said = {word: _shas(word, shas) for word, shas in said.items()}
    survey = patches.find(run, release, old, onto, **said)
    waiting = conflict.pending(release)
    job = {
        "refs": refs,
        "old": old,
        "ref": ref,
        "onto": onto,
        **said,
        "survey": survey,
        "waiting": waiting,
        "solved": [],
        "stops": [],
        "left_out": [],
    }
    job |= {
        "new": old if survey["rebased"] else None,
        "conflicts": [],
        "check": None,
        "updates": [],
        "notes": list(survey["notes"]),
    }
    questions = [one["text"] for one in survey["questions"]]
    job |= {
        "problems": survey["problems"] + questions,
        "seconds": {"fetch": fetched - started, "survey": time.monotonic() - fetched},
    }
    if waiting:
        _take_up(run, release, job)
    return job


def _take_up(run, release, job):
    """What waits for a human since the last rebase: kept, or overtaken."""
    if job["survey"]["rebased"]:
        job["notes"].append(
            f"what waits in {conflict.folder(release)} is overtaken; salt-run mitx.rebase"
            " abort=True removes it"
        )
        return
    conflict.remember(run, release)
    _compare_waiting(release, job)


def _shas(word, shas):
    return sorted(git.check_sha(sha, word) for sha in _listed(shas))


def _compare_waiting(release, job):
    """
    What waits for a human was begun from certain commits. Is it still the rebase that is asked for
    now?
    """
    waiting = job["waiting"]
    now = {key: job[key] for key in ("old", "onto", "drop", "carry")}
    # A version before this one did not write down what is carried.
    moved = [
        f"{key} was {waiting[key]}, is {value}"
        for key, value in now.items()
        if waiting.get(key, value) != value
    ]
    if moved:
        job["problems"].append(
            f"a conflict of another rebase waits in {conflict.folder(release)}"
            f" ({'; '.join(moved)}). What was solved there is recorded, and is done again by"
            " itself: salt-run mitx.rebase abort=True, then salt-run mitx.rebase"
        )


def _rebase(run, release, folder, job, forget):
    """
    Rebase in ``folder``, from the start or from where a human has solved a conflict; a conflict is
    handed over.
    """
    started = time.monotonic()
    waiting = job["waiting"]
    if waiting:
        conflict.check_solved(run, release, waiting, job["accept"])
        job["survey"] |= {"patches": waiting["patches"], "base": waiting["base"]}
        job |= {"stops": waiting["stops"], "solved": waiting["solved"]}
        conflict.resume(release, folder)
        result = rebase.continue_(run, release, folder, forget=forget)
    else:
        result = rebase.start(
            run, release, folder, job["survey"]["patches"], job["onto"], forget=forget
        )
    job["seconds"]["rebase"] = time.monotonic() - started
    if result["conflicts"]:
        state = {key: job[key] for key in ("old", "onto", "drop", "carry", "accept", "stops")} | {
            "branch": release["branch"],
            "base": job["survey"]["base"],
        }
        state |= {"patches": job["survey"]["patches"], "solved": job["solved"] + result["solved"]}
        conflict.park(run, release, folder, state, result["conflicts"][0])
    _prove(run, release, folder, job, result)


def _prove(run, release, folder, job, result):
    started = time.monotonic()
    patches_, stops = job["survey"]["patches"], job["stops"]
    job["solved"] += result["solved"]
    compare.accounted(
        run, release, folder, patches_, job["onto"], {**result, "solved": job["solved"]}, stops
    )
    compare.metadata(run, release, folder, patches_, stops)
    job["left_out"] = compare.lines(
        run, release, folder, job["survey"], job["onto"], stops + job["solved"]
    )
    job["check"] = compare.tree(
        run,
        release,
        folder,
        job["survey"],
        job["old"],
        job["onto"],
        result["new"],
        stops + job["solved"],
    )
    job["new"] = result["new"]
    job["notes"] += _replayed(job)
    job["notes"] += _signatures(release, patches_)
    job["seconds"]["check"] = time.monotonic() - started
    if job["new"] != job["old"]:
        job["updates"] = branches.updates(release, job["old"], job["new"])


def _replayed(job):
    """
    What was solved by hand once and was done again by itself is told each time, with its
    difference: it may have been wrong.
    """
    by_hand = {stop["sha"] for stop in job["stops"]}
    told = []
    for solved in job["solved"]:
        one = next(patch for patch in job["survey"]["patches"] if patch["sha"] == solved["sha"])
        if one["sha"] not in by_hand:
            told += [
                (
                    f"{patches.label(one)} was solved as it was the last time, in"
                    f" {', '.join(solved['paths'])}; if that was wrong: salt-run"
                    f" mitx.restore_release, then salt-run mitx.rebase forget={one['sha']}"
                ),
                *one.get("differs", ()),
            ]
    return told


def _signatures(release, found):
    signed = [one for one in found if one["signed"] and one["new"] not in (None, one["sha"])]
    if not signed:
        return []
    if release["signing_key"]:
        return [
            f"{len(signed)} patches were signed; all that were rebased are signed with"
            f" {release['signing_key']}"
        ]
    return [
        f"{len(signed)} patches were signed; a rebase takes the signature away, and no"
        " release:signing_key says how to sign anew"
    ]


def _mismatch(release, job):
    """Why the result may not be pushed before a human has looked at it, or ``None``."""
    if job["new"] in job["accept"]:
        return None
    if job["left_out"]:
        listed = "\n  - ".join(job["left_out"][:_MOST_LINES])
        return (
            f"Of {release['branch']} {len(job['left_out'])} lines of our patches are not in the"
            f" result, and nobody decided so. Nothing was pushed:\n  - {listed}\nCompare by hand;"
            f" if {job['new']} is right anyway: accept={job['new']}"
        )
    if job["check"]["unexplained"]:
        return (
            f"The rebase of {release['branch']} has another tree than a merge would have, in:"
            f" {', '.join(job['check']['unexplained'][:20])}. Nothing was pushed. Patches that undo"
            " each other, or upstream's own revert, can be the reason. Compare by hand; if"
            f" {job['new']} is right anyway: accept={job['new']}"
        )
    return None


def _publish(run, release, folder, job):
    """
    Push, then save the report, and clear away what is no longer needed. From here on origin has the
    new branch.
    """
    started = time.monotonic()
    if job["updates"]:
        mirror.push(run, release, job["updates"], folder)
        job["notes"] += branches.prune(run, release, job["refs"])
    pushed = time.monotonic()
    try:
        report = compare.report(release, job["survey"], job["old"], job["onto"], job["new"])
        job["counts"] = report["counts"]
        job["report"] = record.capture(
            run, f"release/{job['old'][:12]}-{job['new'][:12]}.txt", report["text"]
        )
    except (CommandExecutionError, OSError, ValueError) as err:
        # The branch is right whether somebody can read about it or not.
        job["notes"].append(f"The report of what became of each patch could not be made: {err}")
    job["seconds"] |= {"push": pushed - started, "report": time.monotonic() - pushed}
    if job["waiting"]:
        conflict.remove(run, release)
        job["waiting"] = None


def _listed(shas):
    """What was said on a command line: one, several with commas between them, or a list."""
    return (
        [sha.strip() for sha in shas.split(",") if sha.strip()]
        if isinstance(shas, str)
        else list(shas or ())
    )


def _answer(release, job):
    survey = job["survey"]
    answer = {
        "branch": release["branch"],
        "old": job["old"],
        "onto": {"ref": job["ref"], "sha": job["onto"]},
        "new": job["new"],
        "changed": bool(job["updates"]) or job["new"] is None,
        "patches": [_shown(patch) for patch in survey["patches"]],
        "conflicts": job["conflicts"],
        "problems": job["problems"],
        "notes": job["notes"],
        "check": job["check"],
        "pushes": branches.pushes(release, job["updates"]),
        "backup": next(
            (one["ref"] for one in job["updates"] if one["ref"].startswith("refs/mitx/backup/")),
            None,
        ),
        "waiting": conflict.folder(release) if job["waiting"] else None,
        "seconds": {step: round(seconds, 2) for step, seconds in job["seconds"].items()},
    }
    return {**answer, **{key: job[key] for key in ("report", "counts") if key in job}}


def _shown(patch):
    return {key: patch[key] for key in _SHOWN}


def _recorded_sha(run, source):
    """The commit that the last run of ``source`` on this master recorded."""
    runs = pathlib.Path(folders.folder(run, "any")).parent.parent / source
    found = []
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("facts", {}).get("release_sha"):
            found.append((record["began"], record["facts"]["release_sha"]))
    if not found:
        raise CommandExecutionError(
            f"No run of {source} recorded its commit under {runs}; if {source} has a master of its"
            " own, copy release_sha from its record to pillar release:sha"
        )
    return max(found)[1]


def _image(run, source, uri, name):
    """
    The AMI that the environment ``source`` recorded for a role: it exists, is available, and bears
    the right name.
    """
    ami = __salt__["sdb.get"](uri)
    if not str(ami).startswith("ami-"):
        raise CommandExecutionError(f"{uri} holds no AMI of {source}: {ami!r}")
    absent = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidAMIID.Malformed")
    answer = aws.call(run, "ec2", "describe_images", absent=absent, ImageIds=[ami])
    found = (answer or {}).get("Images") or [None]
    if not found[0]:
        raise CommandExecutionError(f"{ami}, which {source} recorded in {uri}, does not exist")
    image = {"id": ami, "name": found[0].get("Name"), "state": found[0].get("State")}
    if image["state"] != "available" or not str(image["name"]).startswith(
        name.partition("{release}")[0]
    ):
        raise CommandExecutionError(
            f"{ami}, which {source} recorded in {uri}, is {image['state']} and called"
            f" {image['name']}; wanted: {name}"
        )
    return image
