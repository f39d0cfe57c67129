"""
Whether the window may begin: rehearsed, and approved by a human
================================================================

Both are asked before anything of the window is done, and both only where pillar wants them.

``rehearsal.required``: the very commit of this release has gone through ``open`` in another
environment, QA say, in the last ``rehearsal.days`` days.

``gate.before_window``: a human has looked at ``salt-run mitx.plan`` and said ``salt-run
mitx.approve gate=close``. He approved facts, which are written down with it; what is another fact
since is told, old and new.
"""

import datetime
import json

from salt.exceptions import CommandExecutionError

from mitx_run import events, phases, record

GATE = "close"

_COMMAND = f"salt-run mitx.approve gate={GATE}"


def facts(run):
    """
    Return what a human approves before the window: ``{release_sha, release_number, images, window,
    old_fleet, new_fleet: [name (id)], records: {name: load balancer}, settings, rollbacks}``.
    """
    rollbacks = events.read(run, "phase", phase="rollback", status="started")
    found = {
        **{key: record.pinned(run, key) for key in ("release_sha", "release_number", "images")},
        "window": {key: run.settings["window"].get(key) for key in ("start_utc", "hours")},
        **{key: _named(record.pinned(run, key)) for key in ("old_fleet", "new_fleet")},
        "records": {one["name"]: one["elb"] for one in run.settings["records"]},
        "settings": run.settings["environments_digest"],
        "rollbacks": len(rollbacks),
    }
    return json.loads(json.dumps(found, default=str))


def lines(run):
    """
    Return the facts as lines to be read.
    """
    found = facts(run)
    images = found["images"] or {}
    return [
        f"release {found['release_number'] or '?'} at {found['release_sha'] or '(no commit yet)'}",
        *(f"{role}: {_image(image)}" for role, image in images.items()),
        *(f"{key.replace('_', ' ')}: {_hosts(found[key])}" for key in ("old_fleet", "new_fleet")),
        f"{len(found['records'])} host names, settings {found['settings']}",
    ]


def approve(run, note="", test=False):
    """
    Record that a human wants this window to begin. Returns the line of the journal; nothing under
    ``test``. Raises ``CommandExecutionError`` while the days before are not done.
    """
    left = [phase for phase in phases.unfinished(run) if phase in phases.PREPARE]
    if left:
        raise CommandExecutionError(
            f"There is nothing to approve yet: {left[0]} is not finished. Nothing was recorded."
            " Next: salt-run state.orchestrate orchestrate.mitx.prepare"
        )
    if test:
        return None
    return record.approve(run, GATE, note=note, facts=facts(run))


def approved(run):
    """
    Return the journal line of the last approval of this window, or ``None``.
    """
    found = record.approvals(run, GATE)
    return found[-1] if found else None


def unapproved(run):
    """
    Return why the window is not approved, as a sentence; empty if it is, or nobody is asked.
    """
    if not run.settings["gate"]["before_window"]:
        return ""
    given = approved(run)
    if not given:
        return (
            "Nobody has approved this window (gate:before_window). Look at salt-run mitx.plan,"
            f" then: {_COMMAND}"
        )
    before, now = given["facts"], facts(run)
    changed = [
        f"{key}: {_short(before.get(key))} then, {_short(now[key])} now"
        for key in now
        if before.get(key) != now[key]
    ]
    if not changed:
        return ""
    return (
        f"{given['by']} approved this window at {given['time']}, and these are other facts since:"
        f" {'; '.join(changed)}. Look at salt-run mitx.plan, then once more: {_COMMAND}"
    )


def unrehearsed(run):
    """
    Return why this release does not count as rehearsed, as a sentence; empty if it does, or need
    not be, or in a dry run is not known yet.
    """
    wanted, sha = run.settings["rehearsal"], record.pinned(run, "release_sha")
    if not wanted["required"] or (run.test and not sha):
        return ""
    if not sha:
        return "This run has recorded no commit, so nobody can tell whether it was rehearsed"
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=wanted["days"])
    opened = _opened(wanted["environment"], sha)
    if opened and _moment(opened) >= since:
        return ""
    last = f"the last one was opened at {opened}" if opened else "no run there has opened with it"
    return (
        f"{sha[:12]} was not rehearsed in {wanted['environment']} in the last {wanted['days']} days"
        f" (rehearsal:required): {last}. Next: salt-run mitx.upgrade"
        f" environment={wanted['environment']}"
    )


def _opened(environment, sha):
    """When ``open`` was last finished there with this commit."""
    other = record.Elsewhere(environment)
    ends = [
        phases.statuses(other, one["id"]).get("open", {})
        for one in record.runs(other)
        if (one.get("facts") or {}).get("release_sha") == sha
    ]
    return max((end["time"] for end in ends if end.get("status") == "finished"), default=None)


def _named(fleet):
    return sorted(f"{one['name']} ({one['id']})" for one in fleet or ())


def _hosts(fleet):
    return f"{len(fleet)} hosts" if fleet else "not recorded yet"


def _image(image):
    return image.get("id") if isinstance(image, dict) else image


def _short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
