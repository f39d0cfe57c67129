"""
The upgrade as a whole
======================

Phases, preflight, drift, report, rollback, and MITx's own four orchestrations (``saltops``).
"""

from mitx_run import change, context
from mitx_upgrade import (
    card,
    go_ahead,
    permissions,
    preflight,
    report,
    screen,
    states_phases,
    states_run,
    states_saltops,
    timetable,
)

_STATES = (
    states_run,
    states_phases,
    states_saltops,
)


def ensure(state, name, **arguments):
    """
    Bring about what a state of this room says, or under ``test=True`` tell what would change:
    ``_states/mitx_upgrade.py`` lists them. Returns what Salt expects of a state: ``{name, result,
    changes, comment}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local state.single mitx_upgrade.preflight_passed x
    """
    return change.ensure(_STATES, state, name, arguments)


def get_status():
    """
    Return what is true now: the run and its phases, who has locked the environment, DNS, load
    balancers, fleets, the next command; ``card`` is the same for a terminal, ``{label: text or
    [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.status
    """
    run = context.current()
    told = report.status(run, report.current_run(run))
    return {**told, "card": card.rows(run, told)}


def get_checklist():
    """
    Return all that a run needs: ``{subjects: {subject: {result, told: [str]}}, notes: [what else an
    operator should know]}``; ``result`` is True, False where ``told`` stands in the way, or None
    where it cannot be found out.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.preflight
    """
    run = context.current()
    report.current_run(run)
    subjects = preflight.checklist(run)
    told = {line for one in subjects.values() for line in one["told"]}
    return {
        "subjects": subjects,
        "notes": [line for line in preflight.notes(run) if line not in told],
    }


def get_policy():
    """
    Return the smallest IAM policy for the environment: ``{Version, Statement}``, as IAM takes it.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.iam_policy mitx-qa
    """
    return permissions.policy(context.current())


def get_timetable():
    """
    Return what each phase has to do, how long it usually takes, when it begins, how it is taken
    back, and until when one can turn back: ``{phases: [{phase, status, seconds, as_in, begins,
    way_back, what, changes}], no_return, turn_back, facts, facts_lines: [str], lines: [str]}``,
    ``lines`` being the same as a table. ``facts`` is what ``gate.before_window`` is about.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.plan
    """
    run = context.current()
    report.current_run(run)
    return {
        **timetable.table(run),
        "facts": go_ahead.facts(run),
        "facts_lines": go_ahead.lines(run),
    }


def get_times():
    """
    Return how long each phase took, what it waited for, and how often which call was made.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.report
    """
    run = context.current()
    return report.times(run, report.require_run(run))


def follow(lines=0):
    """
    Return what has happened in the run since the first ``lines`` (int) lines about phases: ``{run,
    news: [str], lines, locked_by, next}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.watch
    """
    return report.follow(context.current(), lines)


def draw(visitors="", width=80):
    """
    Return the night as one screen, text with colours, for a terminal so many columns wide, and
    whether there is anything left to wait for: ``{text: str or None, over: bool}``. No text: rich
    is not installed.

    visitors
        What these see, in words, to be shown.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.watch
    """
    run = context.current()
    seen = screen.look(run, report.current_run(run))
    over = seen["state"] in ("done", "retired")
    return {"text": screen.draw(run, seen, visitors, int(width)), "over": over}


def approve(gate="verify", note="", test=False):
    """
    Record that a human has looked at the site and wants it opened (``gate`` verify), or at the plan
    and wants the window to begin (close).

    Raises ``CommandExecutionError`` while there is nothing to look at.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.approve note='logged in, submitted a problem'
    """
    return report.approve(context.current(), gate, note, test)
