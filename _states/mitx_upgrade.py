"""
A run, its phases, and MITx's own orchestrations
================================================

.. code-block:: yaml

    run:
      mitx_upgrade.started: []

    close:
      mitx_upgrade.phase_done: []

What each does lies in ``_modules/mitx_upgrade/``.
"""


def __virtual__():
    if "mitx_upgrade.ensure" in __salt__:
        return True
    return False, "The mitx_upgrade execution module is not loaded"


def phase_done(name, undo=None):
    """
    Run the orchestration of one phase, ``orchestrate.mitx.phases.<name>``, unless the run's record
    says that it is finished and the world agrees. Refuses while an earlier phase is not finished.
    On failure ``undo`` (an SLS), if given, is run first.

    name
        ``close``, ``migrate`` …: see ``phases.names``.
    """
    return __salt__["mitx_upgrade.ensure"]("phase_done", name, undo=undo)


def preflight_passed(name):
    """
    Require that nothing stands in the way of the run. All that does is told at once. Changes
    nothing.
    """
    return __salt__["mitx_upgrade.ensure"]("preflight_passed", name)


def rolled_back(
    name, database_restored=False, accept_new_schema=False, stop_only=False, restore=False
):
    """
    Run ``orchestrate.mitx.phases.rollback`` unless nothing of the window has begun, and put into
    the record that it was taken back: its phases are to be done again.

    Refuses what would bring the old release back on a new schema without anybody having said so, or
    a fleet that is gone. With ``stop_only`` it ends before the old fleet is started, so that the
    databases can be restored while nothing runs on them; with ``restore`` the orchestration
    ``rollback.restore`` does that.
    """
    return __salt__["mitx_upgrade.ensure"](
        "rolled_back",
        name,
        database_restored=database_restored,
        accept_new_schema=accept_new_schema,
        stop_only=stop_only,
        restore=restore,
    )


def started(name, begin=True, lock=True):
    """
    Begin the run that the settings name, or go on with it, and hold its environment until this
    process ends. With ``begin: False`` it must have begun. With ``lock: False`` somebody else may
    hold it, the window that this is said about.
    """
    return __salt__["mitx_upgrade.ensure"]("started", name, begin=begin, exclusive=lock)


def resumed(name):
    """
    Go on with the run that the settings name if it has begun; else hold the environment for a
    command outside of any run.
    """
    return __salt__["mitx_upgrade.ensure"]("resumed", name)


def locked(name, force=False):
    """
    Hold the environment for a command of its own, outside of any run, until this process ends. With
    ``force`` go on although somebody else holds it.
    """
    return __salt__["mitx_upgrade.ensure"]("locked", name, force=force)


def approved(name, gate="verify"):
    """
    Wait until a human has said ``salt-run mitx.approve``, at most ``gate.timeout`` seconds. One
    that was given since the fleets were last swapped, or the site last opened, counts: an earlier
    one spoke of something else. Without ``gate.required`` nobody is asked.
    """
    return __salt__["mitx_upgrade.ensure"]("approved", name, gate=gate)


def allowed(name):
    """
    Ensure that the window may begin: its release was rehearsed, where ``rehearsal.required``, and a
    human has approved these very facts (``salt-run mitx.approve gate=close``), where
    ``gate.before_window``.
    """
    return __salt__["mitx_upgrade.ensure"]("allowed", name)


def rehearsed(name):
    """
    Ensure that the commit of this release has gone through ``open`` in ``rehearsal.environment``,
    where ``rehearsal.required``.
    """
    return __salt__["mitx_upgrade.ensure"]("rehearsed", name)


def saltops_ran(name, sls=None):
    """
    Run one of the four existing orchestrations with exactly the environment variables it reads,
    unless what it does is true already. It is judged by what is true afterwards, not by its exit
    status: with four failed effects one of them was seen to exit 0.

    name
        ``orchestrate.edx.build_ami``, ``orchestrate.edx.update_edxapp_ami_sdb``,
        ``orchestrate.edx.deploy`` or ``orchestrate.aws.mitx_elb``.
    sls
        Run this SLS instead, a wrapper of the existing one.
    """
    return __salt__["mitx_upgrade.ensure"]("saltops_ran", name, sls=sls)
