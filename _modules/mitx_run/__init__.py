"""
This upgrade: its settings, its record, and the gateway to AWS
==============================================================

Settings of an environment, the run record and its journal, the lock, the phases, nested
orchestrations, and every call to AWS. Nothing here imports another room.
"""

from mitx_run import context, events, lock, phases, settings


def get_settings(environment=None):
    """
    Return everything about an environment as one dict; the shape is in ``docs/settings.md``.
    Passwords, keys and tokens are masked.

    Raises ``CommandExecutionError`` with all problems of a bad pillar, each with its full path.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.get_settings mitx-qa with_pillar=True
    """
    return settings.shown(settings.get(environment))


def get_phases():
    """
    Return what the journal of the run says of each phase: ``{phase: {status, time, seconds,
    error}}``; a phase that never began is absent.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.get_phases with_pillar=True
    """
    return phases.statuses(context.current())


def get_journal(event=None):
    """
    Return the lines of the journal, oldest first: of the run that pillar ``mitx:run`` names, else
    of the environment.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.get_journal event=phase with_pillar=True
    """
    return events.read(context.current(), *([event] if event else []))


def locked_by():
    """
    Return who has locked the environment: ``{pid, by, host, since, why, phase, mine: bool}``, or
    ``None`` if nobody has.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_run.locked_by with_pillar=True
    """
    return lock.locked_by(context.current())
