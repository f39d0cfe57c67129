"""
One phase of the upgrade: done once, skipped afterwards
=======================================================
"""

import time

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_phase.record" not in __salt__:
        return False, "The mitx_phase execution module is not loaded"
    return True


def done(name, undo=None):
    """
    Run the orchestration of one phase, ``orchestrate.mitx.phases.<name>``, unless the run's record says that it is finished and
    the world agrees. Refuses while an earlier phase is not finished. On failure ``undo`` (an SLS), if given, is run first.

    name
        ``close``, ``migrate`` …: see ``mitx_phase.names``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        if __salt__["mitx_phase.postponed"](name):
            ret["comment"] = f"{name} is left for later, as mitx:until says"
            return ret
        settings = __salt__["mitx_settings.get"]()
        run = __salt__["mitx_run.use"](__salt__["mitx_run.identify"](settings))
        finished = _finished(settings, name)
        if finished:
            ret["comment"] = finished
            return ret
        _require_earlier(name)
        return _run(ret, name, run, undo)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret


def _finished(settings, name):
    entry = __salt__["mitx_phase.record"]().get(name, {})
    if entry.get("status") != "finished":
        return None
    differences = __salt__["mitx_world.differences"](settings, name)
    if not differences:
        return f"{name} was done at {entry['time']}"
    __salt__["mitx_journal.write"]("drift", phase=name, differences=differences)
    return None


def _require_earlier(name):
    left = __salt__["mitx_phase.unfinished"](upto=name)
    if left and not __opts__["test"]:
        raise CommandExecutionError(
            f"{name} cannot begin: {', '.join(left)} not finished. Nothing was changed. Next: {__salt__['mitx_phase.next_command']()}"
        )


def _run(ret, name, run, undo):
    sls = f"orchestrate.mitx.phases.{name}"
    pillar = __salt__["mitx_orchestrate.inherited"](run)
    if __opts__["test"]:
        answer = __salt__["mitx_orchestrate.run"](sls, pillar=pillar)
        ret.update(
            result=False if answer["failures"] else None,
            changes=_shown(answer),
            comment=_lines(f"{name} would run:", [*_steps(answer["data"]), *answer["failures"]]),
        )
        return ret
    __salt__["mitx_lock.hold"](why=f"upgrade {run}", phase=name)
    __salt__["mitx_world.forget"]()
    __salt__["mitx_phase.mark"](name, "started")
    started = time.monotonic()
    try:
        answer = __salt__["mitx_orchestrate.run"](sls, pillar=pillar)
    except SystemExit:
        # Raised again it would end the command with Salt's traceback, and nobody was told what is true now.
        answer, undo = {"data": {}, "failures": ["Interrupted: Ctrl-C, or a signal"]}, None
    ret["changes"] = _shown(answer)
    if answer["failures"]:
        __salt__["mitx_phase.mark"](name, "failed", error="; ".join(answer["failures"]), seconds=_since(started))
        undone = _undo(undo, pillar)
        ret.update(result=False, comment=__salt__["mitx_world.failure"](name, [*answer["failures"], *undone]))
        return ret
    __salt__["mitx_world.forget"]()
    __salt__["mitx_phase.mark"](name, "finished", seconds=_since(started))
    ret["comment"] = f"{name} done in {_since(started)} s"
    return ret


def _undo(undo, pillar):
    if not undo:
        return []
    answer = __salt__["mitx_orchestrate.run"](undo, pillar=pillar)
    return [f"{undo} was run to undo it" + (", and failed too:" if answer["failures"] else ""), *answer["failures"]]


def _lines(first, rest):
    return "\n".join([first, *rest])


def _steps(data):
    """What each state of a dry run has said, in the order of the phase."""
    found = [
        state for states in data.values() if isinstance(states, dict) for state in states.values() if isinstance(state, dict)
    ]
    for state in sorted(found, key=lambda one: one.get("__run_num__", 0)):
        first, *more = str(state.get("comment") or "").splitlines() or [""]
        if state.get("result") is not False:  # else it is among the failures
            yield "\n".join([f"  {state.get('__id__')}: {first}", *(f"    {line}" for line in more)])


def _shown(answer):
    return {"out": "highstate", "ret": answer["data"]} if any(_changes(answer["data"])) else {}


def _changes(data):
    for states in data.values():
        for state in states.values() if isinstance(states, dict) else ():
            if isinstance(state, dict) and (state.get("changes") or state.get("result") is False):
                yield state


def _since(started):
    return round(time.monotonic() - started, 1)
