"""
What visitors get
=================

.. code-block:: yaml

    visitors to the page:
      mitx_site.dns_pointed:
        - to: maintenance

    maintenance page:
      mitx_site.page_published: []

    site through its load balancers:
      mitx_site.checked:
        - check: backstage

What each does lies in ``_modules/mitx_site/``.
"""


def __virtual__():
    if "mitx_site.ensure" in __salt__:
        return True
    return False, "The mitx_site execution module is not loaded"


def dns_pointed(name, to, guarded=False):
    """
    Ensure that every public name of the run shows ``to`` (``maintenance`` or ``site``), and that
    the public sees it. All names move in one batch. A record that is not ours to change is refused,
    and then nothing is changed.

    ``changes`` holds each record before and after. They stay when the change was accepted and
    something after it failed: waiting for INSYNC, or for the public.

    guarded
        Only if something is there to be shown: before names move to the page, the distribution is
        checked and the page published; before they move to the site, each load balancer must have
        an instance InService. The phases of a window have done that already.
    """
    return __salt__["mitx_site.ensure"]("dns_pointed", name, to=to, guarded=guarded)


def ttl_lowered(name):
    """
    Ensure that no public name of the run has a higher time to live than ``dns.ttl``. It takes
    effect when the old one is over.
    """
    return __salt__["mitx_site.ensure"]("ttl_lowered", name)


def page_published(name, until=None, unannounced=False):
    """
    Ensure that the bucket holds the page for the announced window. A slow invalidation is told, and
    is no failure.

    until
        It takes longer than announced: until ``02:30``, ``2026-12-21 02:30``, ``+90m``. Kept for
        this window until another one is said.
    unannounced
        The page of a maintenance that has nothing to do with the announced window.
    """
    return __salt__["mitx_site.ensure"](
        "page_published", name, until=until, unannounced=unannounced
    )


def announced(name, until=None):
    """
    Ensure that the window, or with ``until`` its overrun, is announced: the text for 3down is in
    the comment and in the run's folder, and is mailed to those of ``announce.to`` who have not had
    it. A window that has ended is refused.
    """
    return __salt__["mitx_site.ensure"]("announced", name, until=until)


def in_window(name):
    """
    Require that it is now within the announced window, that ``window.force`` is set, or that this
    run has closed the site and visitors still see the page: then it goes on after the end. Changes
    nothing.
    """
    return __salt__["mitx_site.ensure"]("in_window", name)


def checked(
    name, check="public", expect="site", hostnames=None, not_before=0, fleet="new", seconds=None
):
    """
    Require that a check passes.

    name
        For the reader only.
    check
        ``public``, ``backstage``, ``smoke`` or ``watch``: see ``mitx_site/checks.py``.
    expect
        What visitors see: ``maintenance`` or ``site``. Of ``public`` only.
    hostnames
        Which of the public names; without it, all. Of ``public`` only.
    not_before
        Seconds for which the old records may still be in caches. Of ``public`` only.
    fleet
        ``new`` or ``old``, as the run recorded it. Of ``smoke`` only.
    seconds
        For how long. Of ``watch`` only; without it ``checks.watch``.
    """
    return __salt__["mitx_site.ensure"](
        "checked",
        name,
        check=check,
        expect=expect,
        hostnames=hostnames,
        not_before=not_before,
        fleet=fleet,
        seconds=seconds,
    )
