"""
Images, fleets, their load balancers, and their end
===================================================

.. code-block:: yaml

    new fleet in service:
      mitx_fleet.swapped:
        - deregister: false      # attach only

    remember what serves now:
      mitx_fleet.recorded:
        - fleet: old

What each does lies in ``_modules/mitx_fleet/``.
"""


def __virtual__():
    if "mitx_fleet.ensure" in __salt__:
        return True
    return False, "The mitx_fleet execution module is not loaded"


def swapped(name, fleet="new", register=True, deregister=True, release=None):
    """
    Ensure that the run's load balancers, all of them, hold the web instances of one fleet, healthy,
    and nothing else.

    Missing instances are registered; only when every one of them was InService ``elb.polls`` polls
    in a row in every load balancer is anything taken out, and it is waited for until it has
    drained. If one never becomes healthy, what this call registered is taken out again and nothing
    else is touched.

    name
        For the reader only.
    fleet
        ``new``, or ``old`` to go back.
    register
        False: only require that everything wanted is registered and healthy.
    deregister
        False: leave in what is not wanted.
    release
        The number of the new fleet's release, outside of a run that recorded it.
    """
    return __salt__["mitx_fleet.ensure"](
        "swapped", name, fleet=fleet, register=register, deregister=deregister, release=release
    )


def images_available(name, release=None):
    """
    Ensure that both AMIs of the release exist, exactly one of each name, and are available, and
    record their ids in the run (``images``). Waits for pending ones; one that failed is final.

    name
        For the reader only.
    release
        The number; default: the recorded ``release_number``.
    """
    return __salt__["mitx_fleet.ensure"]("images_available", name, release=release)


def recorded(name, fleet="old", allow_empty=False):
    """
    Ensure that the run remembers a fleet. Recorded once: later calls change nothing, and say what
    has become of it.

    name
        For the reader only.
    fleet
        ``old``: what is registered in the run's load balancers, and the workers of the same
        purposes that are not new. ``new``: every instance that settings and the release number say.
    allow_empty
        True: an environment in which nothing serves yet is fine.
    """
    return __salt__["mitx_fleet.ensure"]("recorded", name, fleet=fleet, allow_empty=allow_empty)


def unchanged(name, adopt=False):
    """
    Require that both recorded fleets still exist as they were recorded, and that no other host of
    their purposes runs. Changes nothing, but:

    adopt
        True: the old fleet is recorded anew, without what is gone and with the hosts of the
        purposes that were launched since. For what happened to the fleet that serves, once somebody
        has looked.
    """
    return __salt__["mitx_fleet.ensure"]("unchanged", name, adopt=adopt)


def launched(name, release=None):
    """
    Ensure that every instance of the new fleet exists exactly once, launched from the recorded
    images, tagged with the codename and release, and running; and record it (``new_fleet``). One
    that was launched anew in place of one that is gone replaces it in the record, as long as the
    window has not begun.

    name
        For the reader only.
    release
        The number; default: the recorded ``release_number``.
    """
    return __salt__["mitx_fleet.ensure"]("launched", name, release=release)


def build_discarded(name):
    """
    Ensure that nothing is left of a build that broke off: base instances that no build finds again,
    one AMI of two. An AMI that is recorded as built, or of which an instance runs, is left alone.
    """
    return __salt__["mitx_fleet.ensure"]("build_discarded", name)


def retired(name, force=False):
    """
    Ensure that nothing is left of the recorded old fleet, neither instances nor minion keys,
    ``retire.after`` hours after the site was opened. Refuses, before anything is destroyed, what is
    not exactly as it was recorded, what is in any load balancer, what is protected, and as long as
    the new fleet does not serve.

    name
        For the reader only.
    force
        True: do not wait for ``retire.after``.
    """
    return __salt__["mitx_fleet.ensure"]("retired", name, force=force)
