"""
Branches on origin: names, backups, create, copy, restore
=========================================================

Whatever moves the release branch writes down where it was, in the same atomic push:
``refs/mitx/backup/<codename>/<UTC time>-<sha>``. The last ten are kept. Under ``test=True`` nothing
is pushed, and the answers tell what would be.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`, and ``refs`` what
``mirror.fetch`` returned.
"""

import re
import time

from salt.exceptions import CommandExecutionError

from mitx_release import git, mirror
from mitx_run import naming

KEPT = 10

_MIRRORED = "refs/mitx/origin/"


def create(run, onto=None):
    """
    Create the release branch on origin from ``onto``, by default Open edX's own branch of the
    release (``naming.release_branch``). A branch that is there already is left alone. Returns
    ``{branch, old, new, changed, onto: {ref, sha}, pushes}``.
    """
    release = _release(run)
    release["onto"] = onto or naming.release_branch(_codename(release))
    with mirror.locked(release):
        refs = mirror.fetch(run, release)
        ref, sha = resolve(run, release, refs)
        old = refs.get(_tracking(release))
        updates_ = [] if old else [{"ref": _branch(release), "new": sha, "lease": None}]
        answer = {
            "branch": release["branch"],
            "old": old,
            "new": old or sha,
            "changed": not old,
            "onto": {"ref": ref, "sha": sha},
        }
        return {**answer, "pushes": _push(run, release, updates_)}


def copy(run, names=None):
    """
    Copy upstream's release branches to origin under the same names, never by force. ``names``:
    which branches or tags, by default every branch of this codename. What has diverged is left
    alone, and told. Returns ``{created: {name: sha}, updated: {name: [old, new]}, same: [names],
    diverged: {name: [origin's, upstream's]}, changed: bool, pushes}``.
    """
    release = _release(run)
    with mirror.locked(release):
        refs = mirror.fetch(run, release)
        answer = {"created": {}, "updated": {}, "same": [], "diverged": {}}
        updates_ = []
        for ref, new in _wanted(run, release, refs, names).items():
            name, old = ref.split("/", 2)[2], _held(run, release, refs, ref)
            if old == new:
                answer["same"].append(name)
            elif old and not (
                ref.startswith("refs/heads/") and mirror.contains(run, release, new, old)
            ):
                answer["diverged"][name] = [old, new]
            else:
                answer["updated" if old else "created"][name] = [old, new] if old else new
                updates_.append({"ref": ref, "new": new, "lease": False})
        return {**answer, "changed": bool(updates_), "pushes": _push(run, release, updates_)}


def backups(run):
    """
    Return where the release branch was before each of the last changes, the latest first: a list of
    ``{name, time, sha}``.
    """
    release = _release(run, push=False)
    return _listed(
        release, mirror.remote_refs(run, release, f"refs/mitx/backup/{_codename(release)}/*")
    )


def restore(run, backup=None):
    """
    Put the release branch back to ``backup``: a sha or a name of :py:func:`backups`. Where the
    branch is now becomes a backup itself. Returns ``{branch, old, new, changed, backup: ref or
    None, pushes}``.
    """
    release = _release(run)
    with mirror.locked(release):
        refs = mirror.fetch(run, release)
        found = _mirrored_backups(release, refs)
        chosen = [one for one in found if backup in (one["sha"], one["name"])]
        if not chosen:
            known = "\n  ".join(one["name"] for one in found) or "there is none"
            raise CommandExecutionError(
                f"Which backup of {release['branch']}? Say backup=… with one of:\n  {known}"
            )
        old, new = tip(release, refs), chosen[0]["sha"]
        updates_ = updates(release, old, new) if old != new else []
        answer = {"branch": release["branch"], "old": old, "new": new, "changed": old != new}
        return {
            **answer,
            "backup": updates_[1]["ref"] if updates_ else None,
            "pushes": _push(run, release, updates_),
        }


def tip(release, refs):
    """
    Return the sha of the release branch on origin. No such branch is an error.
    """
    sha = refs.get(_tracking(release))
    if not sha:
        raise CommandExecutionError(
            f"origin has no branch {release['branch']}. salt-run mitx.create_release makes it from"
            f" {naming.release_branch(_codename(release))}"
        )
    return sha


def resolve(run, release, refs, sha=None):
    """
    Return ``(full ref, sha)`` of ``release:onto``, a branch or a tag of upstream; the sha is the
    argument's where one is given. A name that upstream does not have, or has as both, is an error.
    """
    onto = release["onto"]
    found = {}
    for kind in ("heads", "tags"):
        name = onto.removeprefix(f"refs/{kind}/")
        git.check_name(name, "release:onto")
        if (
            name != onto or not onto.startswith("refs/")
        ) and f"refs/mitx/upstream/{kind}/{name}" in refs:
            found[f"refs/{kind}/{name}"] = refs[f"refs/mitx/upstream/{kind}/{name}"]
    if sha:
        git.check_sha(sha, "onto_sha")
        if not _is_commit(run, release, sha):
            raise CommandExecutionError(
                f"The commit to rebase onto, {sha}, is neither in upstream's releases nor in the"
                " mirror any more"
            )
        return next(iter(found), onto), sha
    if len(found) != 1:
        near = ", ".join(
            sorted(
                {name.split("/", 4)[4] for name in refs if name.startswith("refs/mitx/upstream/")}
            )[-12:]
        )
        problem = "has no release" if not found else "has both a branch and a tag"
        hint = f"It has: {near}" if not found else f"Say which: {' or '.join(found)}"
        raise CommandExecutionError(f"upstream {problem} {onto} (release:onto). {hint}")
    ref, held = next(iter(found.items()))
    return ref, _commit(run, release, ref, held)


def updates(release, old, new):
    """
    Return the updates, as ``mirror.push`` takes them, that move the release branch from ``old`` to
    ``new`` (full shas) and back up where it was.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    backup = f"refs/mitx/backup/{_codename(release)}/{stamp}-{old}"
    return [
        {"ref": _branch(release), "new": new, "lease": old},
        {"ref": backup, "new": old, "lease": None},
    ]


def pushes(release, updates_):
    """
    Return what a push of ``updates_`` is, to be shown: ``[{url, updates, command: [arguments]}]``,
    empty where nothing is pushed.
    """
    if not updates_:
        return []
    return [
        {
            "url": release["origin"],
            "updates": updates_,
            "command": mirror.push_command(release, updates_),
        }
    ]


def prune(run, release, refs):
    """
    Remove all backups on origin but the last ten, after one more was written. Returns notes: a
    failure to tidy up is told, not raised.
    """
    prefix = f"refs/mitx/backup/{_codename(release)}/"
    old = _mirrored_backups(release, refs)[KEPT - 1 :]
    if not old:
        return []
    try:
        mirror.push(
            run,
            release,
            [{"ref": prefix + one["name"], "new": None, "lease": one["sha"]} for one in old],
        )
    except CommandExecutionError as err:
        return [f"{len(old)} old backups could not be removed from origin: {err}"]
    return []


def holders(run, release, refs, sha):
    """
    Return which of the release branch and its backups on origin contain the commit ``sha``, as a
    list of full refs.
    """
    backup = f"{_MIRRORED}backup/{_codename(release)}/"
    if not _is_commit(run, release, sha):
        return []
    mine = {
        name: tip_
        for name, tip_ in refs.items()
        if name == _tracking(release) or name.startswith(backup)
    }
    found = [name for name, tip_ in mine.items() if mirror.contains(run, release, tip_, sha)]
    return [
        (
            _branch(release)
            if name == _tracking(release)
            else f"refs/mitx/{name.removeprefix(_MIRRORED)}"
        )
        for name in found
    ]


def _release(run, push=True):
    if push and run.settings["release"]["from"]:
        raise CommandExecutionError(
            f"The release of {run.settings['environment']} comes from"
            f" {run.settings['release']['from']} (release:from): nothing is pushed for it"
        )
    return run.settings["release"]


def _codename(release):
    name = git.check_name(release["branch"], "release:branch")
    prefix, _, codename = name.partition("/")
    if prefix != "mitx" or not codename:
        # What is pushed by force must never be upstream's name, or anybody's working branch.
        raise CommandExecutionError(
            f"release:branch: {name!r} must be mitx/<codename>; nothing else is ever rewritten on"
            " origin"
        )
    return codename


def _branch(release):
    return f"refs/heads/mitx/{_codename(release)}"


def _tracking(release):
    return f"{_MIRRORED}heads/mitx/{_codename(release)}"


def _commit(run, release, ref, sha):
    """A tag may be one of another tag, or of no commit at all."""
    command = ["rev-parse", "--quiet", "--verify", f"{sha}^{{commit}}"]
    found = git.execute(run, release, *command, repo=release["mirror"], ok=(0, 1, 128))["out"]
    if not found.strip():
        raise CommandExecutionError(
            f"upstream's {ref} (release:onto) leads to no commit, so nothing can be rebased onto"
            f" it: {sha} is something else"
        )
    return found.strip()


def _is_commit(run, release, sha):
    return (
        git.execute(run, release, "cat-file", "-t", sha, repo=release["mirror"], ok=(0, 128))[
            "out"
        ].strip()
        == "commit"
    )


def _push(run, release, updates_):
    if updates_ and not run.test:
        mirror.push(run, release, updates_)
    return pushes(release, updates_)


def _wanted(run, release, refs, names):
    """Which of upstream's branches and tags to copy: ``{full ref: sha}``."""
    mine = {
        f"refs/{name[19:]}": sha
        for name, sha in refs.items()
        if name.startswith("refs/mitx/upstream/")
    }
    if names is None:
        first = f"refs/heads/{naming.release_branch(_codename(release)).removesuffix('.master')}"
        return {
            ref: sha for ref, sha in mine.items() if ref == first or ref.startswith(f"{first}.")
        }
    found = {}
    for name in names:
        git.check_name(name, "names")
        refs_ = [ref for ref in (f"refs/heads/{name}", f"refs/tags/{name}") if ref in mine]
        if not refs_:
            raise CommandExecutionError(f"upstream has no release {name}; nothing was copied")
        found |= {ref: _unpeeled(run, release, ref) for ref in refs_}
    return found


def _unpeeled(run, release, ref):
    """An annotated tag is copied as the tag object that it is; ``refs`` knows only its commit."""
    return git.execute(
        run,
        release,
        "rev-parse",
        "--verify",
        f"refs/mitx/upstream/{ref[5:]}",
        repo=release["mirror"],
    )["out"].strip()


def _held(run, release, refs, ref):
    """What origin holds of ``ref``. Its tags are not mirrored: it is asked."""
    if ref.startswith("refs/heads/"):
        return refs.get(_MIRRORED + ref[5:])
    return mirror.remote_refs(run, release, ref).get(ref)


def _mirrored_backups(release, refs):
    return _listed(
        release,
        {
            f"refs/mitx/{name[len(_MIRRORED) :]}": sha
            for name, sha in refs.items()
            if name.startswith(f"{_MIRRORED}backup/")
        },
    )


def _listed(release, refs):
    prefix = f"refs/mitx/backup/{_codename(release)}/"
    shape = re.compile(rf"{re.escape(prefix)}(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{40}}\Z")
    found = [
        {"name": ref[len(prefix) :], "time": match[1], "sha": sha}
        for ref, sha in refs.items()
        if (match := shape.match(ref))
    ]
    return sorted(found, key=lambda one: one["name"], reverse=True)
