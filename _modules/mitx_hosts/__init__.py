"""
What runs on the hosts of a fleet
=================================

Services, queues, migrations, Ansible's recaps, identity, and the fence around new workers; ``jobs``
is the gateway to the minions.
"""

from mitx_hosts import fence, states_hosts, states_services
from mitx_run import change, context

_STATES = (
    states_services,
    states_hosts,
)


def ensure(state, name, **arguments):
    """
    Bring about what a state of this room says, or under ``test=True`` tell what would change:
    ``_states/mitx_hosts.py`` lists them. Returns what Salt expects of a state: ``{name, result,
    changes, comment}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local state.single mitx_hosts.stopped x fleet=old test=True
    """
    return change.ensure(_STATES, state, name, arguments)


def fence_worker(minion, started=None):
    """
    Fence a worker whose minion has just started, if a run deploys it now. Returns a sentence.

    started
        When (UTC, ISO 8601): what the process that the command started fences by itself is not
        fenced a second time. Without it, it is fenced at once.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_hosts.fence_worker edx-worker-mitx-qa-sandbox-0-v1 with_pillar=True
    """
    return fence.at_start(context.current(), minion, started)
