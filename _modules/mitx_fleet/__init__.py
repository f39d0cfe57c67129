"""
EC2 and the classic load balancers
==================================

Which instances are the current fleet and which the new one, their images, their load balancers, the
swap, and the end of the old fleet.
"""

from mitx_fleet import fleets, instances, states_elb, states_fleets
from mitx_run import change, context

_STATES = (
    states_fleets,
    states_elb,
)


def ensure(state, name, **arguments):
    """
    Bring about what a state of this room says, or under ``test=True`` tell what would change:
    ``_states/mitx_fleet.py`` lists them. Returns what Salt expects of a state: ``{name, result,
    changes, comment}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local state.single mitx_fleet.retired x test=True
    """
    return change.ensure(_STATES, state, name, arguments)


def list_instances():
    """
    Return every instance that bears the environment's tag and still exists: a list of maps, see
    ``instances.py``. One DescribeInstances.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.list_instances with_pillar=True
    """
    return instances.instances(context.current())


def list_current():
    """
    Return the fleet that the new one replaces: what is registered in the run's load balancers, and
    every other host of the same purposes.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_fleet.list_current with_pillar=True
    """
    return fleets.current(context.current())
