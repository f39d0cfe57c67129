"""
The release branch
==================

MIT's patches on Open edX: mirror, branches, rebase, conflicts, proofs; ``git`` is the gateway to
git.
"""

from mitx_release import branches, release, states
from mitx_run import change, context, lock

_STATES = (states,)


def ensure(state, name, **arguments):
    """
    Bring about what a state of this room says, or under ``test=True`` tell what would change:
    ``_states/mitx_release.py`` lists them. Returns what Salt expects of a state: ``{name, result,
    changes, comment}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local state.single mitx_release.rebased x test=True
    """
    return change.ensure(_STATES, state, name, arguments)


def list_patches():
    """
    Return MIT's own patches on the release branch, oldest first, with what a rebase would make of
    each: ``[{sha, author, date, subject, fate, note}]``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    return release.list_patches(context.current())


def list_backups():
    """
    Return where the release branch was before each of its last changes, the latest first.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.release_backups
    """
    return branches.backups(context.current())


def abort_rebase():
    """
    Throw a half-done rebase away; origin was never touched. Returns what was removed.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase abort=True
    """
    run = context.current()
    lock.acquire(run, why="mitx.rebase abort=True")
    return release.abort(run)
