"""
The human gate: somebody has looked at this, and wants it opened
================================================================

An approval is bound to what was looked at: the commit, the AMIs, the instances, the migrations, and
every act on them. Whatever changes any of it afterwards voids the approval; no clock decides.
"""

import hashlib
import json

from salt.exceptions import CommandExecutionError

from mitx_run import events, phases, progress, record, wait
from mitx_site import checks

# Phases after which the site behind the page is another one.
_ACTS = ("migrate", "start", "attach", "detach", "open", "rollback")

_COMMAND = "salt-run mitx.approve"

LOOK = "# log in, open a course, submit a problem, open Studio; of each purpose"


def facts(run):
    """
    Return what an approval is bound to: ``{release_sha, images, instances: [ids], migrations,
    acts}``. ``acts`` counts what was begun that changes what there is to see, of this run and
    outside of it.
    """
    migrations = events.last(run, "migrations")
    return {
        "release_sha": record.pinned(run, "release_sha"),
        "images": record.pinned(run, "images"),
        "instances": sorted(one["id"] for one in record.pinned(run, "new_fleet") or ()),
        "migrations": migrations["unapplied"] if migrations else None,
        "acts": len(_acts(run)),
    }


def approve(run, note="", test=False, gate="verify"):
    """
    Record that a human has looked, and at what. Returns the line of the journal; nothing under
    ``test``.

    Raises ``CommandExecutionError`` unless the automatic checks have passed, and nothing was begun
    since that changes what they have seen.
    """
    require_checked(run, gate)
    return None if test else record.approve(run, gate, note=note, digest=_digest(run))


def require_checked(run, gate="verify"):
    """
    Raise ``CommandExecutionError`` unless the ``gate`` waits, or has waited, for this very site.
    """
    checked = False
    for line in events.read(run, "phase"):
        if (line["phase"], line["status"]) == (gate, "waiting"):
            checked = True
        elif line["phase"] in _ACTS and line["status"] == "started":
            checked = False
    if not checked:
        raise CommandExecutionError(
            "There is nothing to look at yet: the new fleet is not alone in the load balancers, or"
            " the automatic checks have not passed since. Nothing was recorded. Follow the run:"
            " salt-run mitx.watch"
        )


def given(run, gate="verify"):
    """
    Return the journal line of the approval of what is there now, or ``None``.
    """
    digest = _digest(run)
    lines = record.approvals(run, gate)
    # Before there was a digest, the time of an approval told what it spoke of.
    valid = [line for line in lines if line.get("digest", _by_time(run, line, digest)) == digest]
    return valid[-1] if valid else None


def voided(run, gate="verify"):
    """
    Return why the last approval does not count, as a sentence; the empty string if there is none.
    """
    lines = record.approvals(run, gate)
    if not lines or given(run, gate):
        return ""
    return (
        f"{lines[-1]['by']} had approved at {lines[-1]['time']}, but what was looked at has changed"
        " since"
    )


def wait_for(run, gate="verify"):
    """
    Wait until the gate is approved, at most ``gate.timeout`` seconds, and return the approval.
    """
    phases.mark(run, gate, "waiting", command=_COMMAND)
    timeout = run.settings["gate"]["timeout"]
    nobody = voided(run, gate) or "nobody has"
    for line in ("The automatic checks have passed. Look at the site behind the page:", *look(run)):
        progress.say(run, line)
    progress.say(run, f"Then, from another terminal: {_COMMAND} note='what was looked at'")

    def answered():
        return bool(given(run, gate)), nobody

    try:
        wait.until(run, answered, timeout, 1, "approval", waits_for="approval")
    except CommandExecutionError as err:
        raise CommandExecutionError(
            f"Nobody has approved within {timeout} s. Visitors still see the maintenance page, the"
            f" new fleet is in the load balancers. Look at the site, say `{_COMMAND}`, then run the"
            " same command again."
        ) from err
    return given(run, gate)


def look(run):
    """
    Return what a human is asked to look at, and how to get there while visitors see the page: lines
    of which the commands can be pasted.
    """
    try:
        ways = checks.ways(run)
    except CommandExecutionError as err:
        # Whoever waits goes on waiting.
        ways = [f"# {' '.join(str(err).split())}", "# once more: salt-run mitx.backstage"]
    return [LOOK, *ways]


def _acts(run):
    mine = events.read(run, "phase", phase=tuple(_ACTS), status="started")
    # A redeploy or a restart by itself is no part of the run.
    outside = events.read(run, "minions", run_id=".", stage="before")
    return [*mine, *outside]


def _by_time(run, approval, digest):
    acts = [line["time"] for line in _acts(run)]
    return digest if approval["time"] >= max(acts, default="") else None


def _digest(run):
    text = json.dumps(facts(run), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
