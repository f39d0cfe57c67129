"""
One phase of the upgrade: done once, skipped afterwards
=======================================================
"""

import functools
import time

from salt.exceptions import CommandExecutionError

from mitx_hosts import backups
from mitx_run import change, events, folders, lock, nested, phases, progress, record
from mitx_upgrade import drift, preflight, report, rollback


def phase_done(run, name, undo=None):
    first = phases.blocked_by(run)
    if first:
        ret = change.result(name)
        change.unknown(ret, f"Not planned: {first} would fail before it")
        return ret
    ret = _phase_done(run, name, phase=name, undo=undo)
    if ret["result"] is False:
        phases.block(run, name)
    return ret


phase_done.is_state = True


@change.state
def _phase_done(run, ret, phase, undo):
    if phases.postponed(phase):
        ret["comment"] = f"{phase} is left for later, as mitx:until says"
        return
    run_id = folders.use(run, record.identify(run))
    finished = _finished(run, phase)
    if finished:
        ret["comment"] = finished
        return
    _require_earlier(run, phase)
    _run(run, ret, phase, run_id, undo)


def _finished(run, name):
    entry = phases.statuses(run).get(name, {})
    if entry.get("status") != "finished":
        return None
    differences = drift.check(run, name)
    if not differences:
        return f"{name} was done at {entry['time']}"
    events.write(run, "drift", phase=name, differences=differences)
    return None


def _require_earlier(run, name):
    left = phases.unfinished(run, upto=name)
    if left and not run.test:
        raise CommandExecutionError(
            f"{name} cannot begin: {', '.join(left)} not finished. Nothing was changed. Next:"
            f" {phases.next_command(run)}"
        )


def _run(run, ret, name, run_id, undo):
    sls = f"orchestrate.mitx.phases.{name}"
    pillar = nested.inherited(run)
    if run.test:
        answer = nested.orchestrate(run, sls, pillar=pillar)
        ret.update(
            result=False if answer["failures"] else None,
            changes=_shown(answer),
            comment=_lines(f"{name} would run:", [*_steps(answer["data"]), *answer["failures"]]),
        )
        return ret
    lock.acquire(run, why=f"upgrade {run_id}", phase=name)
    drift.invalidate(run)
    phases.mark(run, name, "started")
    started = time.monotonic()
    try:
        answer = nested.orchestrate(run, sls, pillar=pillar)
    except SystemExit:
        # Raised again it would end the command with Salt's traceback, and nobody was told what is
        # true now.
        answer, undo = {"data": {}, "failures": ["Interrupted: Ctrl-C, or a signal"]}, None
    ret["changes"] = _shown(answer)
    if answer["failures"]:
        phases.mark(
            run, name, "failed", error="; ".join(answer["failures"]), seconds=_since(started)
        )
        undone = _undo(run, undo, pillar)
        report.save(run)
        ret.update(result=False, comment=drift.failure(run, name, [*answer["failures"], *undone]))
        return ret
    drift.invalidate(run)
    phases.mark(run, name, "finished", seconds=_since(started))
    report.save(run)
    ret["comment"] = f"{name} done in {_since(started)} s"
    return ret


def _undo(run, undo, pillar):
    if not undo:
        return []
    answer = nested.orchestrate(run, undo, pillar=pillar)
    return [
        f"{undo} was run to undo it" + (", and failed too:" if answer["failures"] else ""),
        *answer["failures"],
    ]


def _lines(first, rest):
    return "\n".join([first, *rest])


def _steps(data):
    """What each state of a dry run has said, in the order of the phase."""
    for state in _in_order(data):
        first, *more = str(state.get("comment") or "").splitlines() or [""]
        if state.get("result") is not False:  # else it is among the failures
            yield "\n".join(
                [f"  {state.get('__id__')}: {first}", *(f"    {line}" for line in more)]
            )


def _shown(answer):
    """What each state of the phase has changed, a line each; the journal has the rest."""
    return {
        str(state.get("__id__")): _what_it_did(state)
        for state in _in_order(answer["data"])
        if state.get("changes")
    }


def _what_it_did(state):
    if state.get("result") is False:
        # Why is told once, with what is true now.
        return "changed something, and failed"
    return (str(state.get("comment") or "").splitlines() or ["changed"])[0]


def _in_order(data):
    found = [
        state
        for states in data.values()
        if isinstance(states, dict)
        for state in states.values()
        if isinstance(state, dict)
    ]
    return sorted(found, key=lambda state: state.get("__run_num__", 0))


def _since(started):
    return round(time.monotonic() - started, 1)


@change.state
def preflight_passed(run, ret):
    found = preflight.problems(run)
    if found:
        lines = [
            f"{subject}: {sentence}"
            for subject, sentences in found.items()
            for sentence in sentences
        ]
        raise CommandExecutionError(
            "\n".join(["This stands in the way; nothing was changed:", *lines])
        )
    notes = preflight.notes(run)
    for note in notes:
        progress.say(run, f"  {note}")
    ret["comment"] = "\n".join(["Nothing stands in the way.", *notes])


_SLS = "orchestrate.mitx.phases.rollback"


@change.state
def rolled_back(
    run, ret, database_restored=False, accept_new_schema=False, stop_only=False, restore=False
):
    ret["comment"] = "Nothing of the window has begun, nothing is to be taken back"
    if not rollback.needed(run):
        return
    said = {
        "database_restored": database_restored,
        "accept_new_schema": accept_new_schema,
        "stop_only": stop_only,
        "restore": restore,
    }
    # Looked at before it counts as begun: AWS may not answer.
    again = f"Nothing was changed.\nNext, when that is put right: {phases.rollback_command(said)}"
    with change.advice(again):
        found = rollback.refusals(run, **said)
        said["old_serves"] = not found and rollback.old_serves(run)
    if found:
        raise CommandExecutionError("\n".join(["Not rolled back, nothing was changed:", *found]))
    _run_rollback(run, ret, said)


def _run_rollback(run, ret, said):
    mark, test = functools.partial(phases.mark, run), run.test
    if not test:
        mark("rollback", "started", **said)
    drift.invalidate(run)
    pillar = nested.inherited(run)
    # What is restored is not stopped and shown the page once more, to be left as it is.
    pillar["mitx"]["rollback"] = said | {"restore": said["restore"] and not backups.restored(run)}
    try:
        answer = nested.orchestrate(run, _SLS, pillar=pillar)
    except SystemExit:
        answer = {"data": {}, "failures": ["Interrupted: Ctrl-C, or a signal"]}
    ret["changes"] = _shown(answer)
    if answer["failures"]:
        mark("rollback", "failed", error="; ".join(answer["failures"]))
        ret.update(result=False, comment=drift.failure(run, "rollback", answer["failures"]))
    elif test:
        steps = _steps(answer["data"])
        change.unknown(ret, _lines("The window would be taken back:", steps))
    elif said["stop_only"]:
        mark("rollback", "halted")
        ret["comment"] = (
            "Nothing runs and visitors see the page: the databases can be restored. Next: salt-run"
            " mitx.rollback database_restored=True"
        )
    else:
        mark("rollback", "finished")
        ret["comment"] = "The old fleet serves; the window can be run again"
    if not test:
        report.save(run)
    return ret
