"""
What runs on the hosts of a fleet, and what they are
====================================================

.. code-block:: yaml

    web processes of the current fleet:
      mitx_hosts.stopped:
        - fleet: old
        - parts: [web, systemd]

    databases:
      mitx_hosts.migrated: []

What each does lies in ``_modules/mitx_hosts/``.
"""


def __virtual__():
    if "mitx_hosts.ensure" in __salt__:
        return True
    return False, "The mitx_hosts execution module is not loaded"


def answering(name, fleet="new"):
    """
    Require that the minion of every instance of the fleet answers, and is what the instance is
    tagged. Of the old fleet those that EC2 has stopped have no say.
    """
    return __salt__["mitx_hosts.ensure"]("answering", name, fleet=fleet)


def cloud_idle(name):
    """
    Wait until Salt Cloud works on nothing on the master: what a killed command has begun there goes
    on, making AMIs of the base instances say. At most ``timeouts.existing`` seconds.
    """
    return __salt__["mitx_hosts.ensure"]("cloud_idle", name)


def configured(name, fleet="new", since=None):
    """
    Ensure that Ansible's last PLAY RECAP is clean on every host of a fleet.

    since
        UTC, ISO 8601: an older log does not count. Default: when these hosts were last begun to be
        configured.
    """
    return __salt__["mitx_hosts.ensure"]("configured", name, fleet=fleet, since=since)


def configured_only(name, fleet="current"):
    """
    Update the configuration of a fleet by Ansible, without code. What Ansible said is the business
    of ``configured``.
    """
    return __salt__["mitx_hosts.ensure"]("configured_only", name, fleet=fleet)


def highstate(name, fleet="bases"):
    """
    Apply the highstate to a fleet, the base instances for one, with the pillar of a build, and
    require that Ansible's recap is clean.
    """
    return __salt__["mitx_hosts.ensure"]("highstate", name, fleet=fleet)


def smoke_tested(name, fleet="new"):
    """
    Require that the states of ``smoke.states``, MITx's own tests of a server, succeed on every host
    of a fleet.
    """
    return __salt__["mitx_hosts.ensure"]("smoke_tested", name, fleet=fleet)


def redeployed(name, fleet="current"):
    """
    Ensure that the code of a fleet is the tip of origin's release branch. Processes notice after a
    restart only.
    """
    return __salt__["mitx_hosts.ensure"]("redeployed", name, fleet=fleet)


def at_commit(name, fleet="new", sha=None):
    """
    Ensure that a commit is checked out on every host of a fleet; default: the one that the run
    recorded as its release.
    """
    return __salt__["mitx_hosts.ensure"]("at_commit", name, fleet=fleet, sha=sha)


def launch_date_set(name):
    """
    Ensure that what there is of the new fleet bears today as its grain ``launch-date``: the
    existing deploy, run again on another day, would launch nothing, configure nothing, and succeed.
    """
    return __salt__["mitx_hosts.ensure"]("launch_date_set", name)


def unfenced(name):
    """
    Ensure that no worker of the new fleet is held any more (``fence``). They must be stopped by
    then.
    """
    return __salt__["mitx_hosts.ensure"]("unfenced", name)


def bases_configured(name):
    """
    Require that the last configuration of both base instances ended with a clean PLAY RECAP.
    """
    return __salt__["mitx_hosts.ensure"]("bases_configured", name)


def stopped(name, fleet="old", parts=None, serving=None):
    """
    Ensure that the services of a fleet are stopped, its Salt schedules held, and nothing is under
    way that would start them.

    parts
        Of ``web``, ``workers``, ``systemd``; default all three. With the first two goes the
        schedule of their hosts.
    serving
        True: only where a load balancer holds an instance of it; False: only where none does.
    """
    return __salt__["mitx_hosts.ensure"]("stopped", name, fleet=fleet, parts=parts, serving=serving)


def still_stopped(name, fleet="old"):
    """
    Require that the services of a fleet are stopped, as they were left. Changes nothing: whoever
    started one has a reason that somebody must know.
    """
    return __salt__["mitx_hosts.ensure"]("still_stopped", name, fleet=fleet)


def running(name, fleet="new", parts=None):
    """
    Ensure that the services of a fleet run: every program of supervisord, every systemd service of
    the role, the Salt schedule. Leftovers of an earlier upgrade, which are in the old fleet so that
    they are stopped with it, are never started.

    parts
        Of ``web``, ``workers``, ``systemd``; default all three.
    """
    return __salt__["mitx_hosts.ensure"]("running", name, fleet=fleet, parts=parts)


def restarted(name, fleet="current"):
    """
    Restart every program of a fleet that is not stopped, and ensure that it runs again. What is
    stopped stays stopped.
    """
    return __salt__["mitx_hosts.ensure"]("restarted", name, fleet=fleet)


def drained(name):
    """
    Wait until the queue of each purpose is empty (``drain.command`` prints its depth, asked of one
    worker of the old fleet).

    With ``drain.waive`` the wait ends after ``drain.timeout`` too, and the depths are recorded in
    the run.
    """
    return __salt__["mitx_hosts.ensure"]("drained", name)


def migrated(name):
    """
    Ensure that nothing is unapplied in the databases of any purpose, while every service of both
    fleets is stopped and no other host of these purposes is alive.

    Where something is: a snapshot id is recorded first (``migrate.snapshot_required``) and the
    orchestration ``migrate.before`` run, once in a window.
    """
    return __salt__["mitx_hosts.ensure"]("migrated", name)


def databases_restored(name):
    """
    Ensure that the databases are as they were before their migration: ``rollback.restore`` is run,
    once, while nothing runs on them, and judged by what is unapplied afterwards.
    """
    return __salt__["mitx_hosts.ensure"]("databases_restored", name)


def not_migrating(name):
    """
    Wait until no migration is at work that an interrupted command has left running on the new
    fleet.
    """
    return __salt__["mitx_hosts.ensure"]("not_migrating", name)


def schedule_held(name):
    """
    Ensure that the jobs of ``window.pause_schedule``, of the schedule of the master's own minion,
    are held: for a day from now, or until ``schedule_given_back``.
    """
    return __salt__["mitx_hosts.ensure"]("schedule_held", name)


def schedule_given_back(name):
    """
    Ensure that every job of the schedule of the master's own minion that ``schedule_held`` held
    runs again.
    """
    return __salt__["mitx_hosts.ensure"]("schedule_given_back", name)


def saved(name):
    """
    Ensure that what exists only on the hosts of the old fleet, students' tracking logs, is saved:
    ``retire.before`` is run on exactly these hosts, whose services are stopped for it should any
    run again, and what it made is looked for in S3 (``retire.proof``). ``retire.nothing_to_save``
    waives it, which is recorded.
    """
    return __salt__["mitx_hosts.ensure"]("saved", name)


def equipped(name, fleet="new"):
    """
    Require that the systemd services of ``services.systemd`` exist on every host of the fleet: one
    that does not passes for stopped, and would fail to start in the night.
    """
    return __salt__["mitx_hosts.ensure"]("equipped", name, fleet=fleet)


def listed(name, fleet="new"):
    """
    Require that the commands of ``migrate.pending`` work on the hosts that will migrate: in the
    window that would be late. Says what is unapplied.
    """
    return __salt__["mitx_hosts.ensure"]("listed", name, fleet=fleet)
