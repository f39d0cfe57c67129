"""
Events: what a run writes down, and reads again
===============================================

The journal's lines, by kind. :py:func:`write` is the only function that writes one, and
:py:func:`read` the only one that reads any, so that a journal of an earlier version is understood
in one place. What the gateways change has the kinds of the second half; :py:func:`journal.gateway`
writes those, with ``stage``: before, after or failed.
"""

from mitx_run import journal

KINDS = {
    "phase": "a phase, or a rollback, has come to a status",
    "pin": "a fact of the run was fixed: name, value",
    "wait": "something was waited for: waits_for, what, seconds",
    "approved": "a human has approved: gate, note, by, digest",
    "forced": "the lock of another was taken over: holder",
    "drift": "a finished phase is done again, the world has changed since: phase, differences",
    "existing": "one of MITx's own orchestrations: sls, stage",
    "announced": "a mail was sent: digest, to, refused",
    "page": "the maintenance page: stage putting or invalidated, sha256",
    "dns": "records were moved: stage sending, sent, refused, insync or shown; to, ttl, id",
    "drain_cut": "a load balancer ended connections that went on: elb, instances, seconds",
    "build_discarding": "images of half a build are being removed: images with their snapshots",
    "build_discarded": "they are removed: images",
    "bases_configured": "the playbooks of the base instances were clean",
    "unconfigured": "playbooks of hosts were not clean: hosts",
    "fenced": "new workers are kept from the queues: minions",
    "unfenced": "they have their queues: minions",
    "not_held": "new workers have worked before they were fenced: minions",
    "drained": "the queues were empty: purposes",
    "drain_waived": "jobs were left to the new workers: depths",
    "migrations": "what was unapplied: unapplied, output",
    "backed_up": "the databases were backed up: sls",
    "snapshot": "a snapshot of the databases was taken: id",
    "restored": "the databases were restored: sls",
    "saved": "what only the old hosts had is saved: hosts",
    "nothing_to_save": "nobody wants anything saved of them",
    "aws": "a change made by AWS: service, operation, parameters",
    "minions": "a job of minions: label, function, minions",
    "git": "a change made by git: command",
    "sdb": "a value was set: uri",
    "mail": "a mail was handed over: host, to, subject",
    "notify": "a webhook was called: operation",
    "cloud": "instances were destroyed: names",
    "wheel": "minion keys were deleted: keys",
}


def write(run, kind, **fields):
    """
    Write an event of this kind, with these fields; secrets in them are masked. Returns the line.
    Under ``test=True`` nothing is written.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of event: {kind}")
    return journal.write(run, kind, **fields)


def read(run, *kinds, run_id=None, since="", **facts):
    """
    Return the events of these kinds, or of all, oldest first, as dicts.

    run_id
        Of another run; ``"."``: what was done outside of any run.
    since
        Only later ones (UTC, ISO 8601).
    facts
        Only those with these values; a tuple of values: with one of them.
    """
    lines = map(_of_today, journal.entries(run, run_id=run_id))
    return [line for line in lines if _is_wanted(line, kinds, since, facts)]


def last(run, *kinds, **wanted):
    """
    Return the last event that :py:func:`read` finds, or ``None``.
    """
    found = read(run, *kinds, **wanted)
    return found[-1] if found else None


def when(run, *kinds, **wanted):
    """
    Return when :py:func:`last` was, the empty string if never.
    """
    found = last(run, *kinds, **wanted)
    return found["time"] if found else ""


def _is_wanted(line, kinds, since, facts):
    if (kinds and line["event"] not in kinds) or line["time"] <= since:
        return False
    for name, value in facts.items():
        if line.get(name) not in (value if isinstance(value, tuple) else (value,)):
            return False
    return True


def _of_today(line):
    """What an earlier version wrote, as this one would."""
    label, stage = str(line.get("label")), line.get("stage")
    if line["event"] != "minions" or stage == "before":
        return line
    # There was no event of its own for the fence, nor for how long a migration was waited for.
    if label == "hold workers" and stage == "after":
        return {**line, "event": "fenced"}
    if label.startswith("migration "):
        return {**line, "waits_for": "migration"}
    return line
