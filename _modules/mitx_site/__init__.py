"""
What visitors get
=================

DNS, the maintenance page, the distribution that serves it, what visitors really see, and the
announcement.
"""

from mitx_run import change, context
from mitx_site import checks, distribution, dns, mail, notices, page, states

_STATES = (states,)


def ensure(state, name, **arguments):
    """
    Bring about what a state of this room says, or under ``test=True`` tell what would change:
    ``_states/mitx_site.py`` lists them. Returns what Salt expects of a state: ``{name, result,
    changes, comment}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local state.single mitx_site.page_published x test=True
    """
    return change.ensure(_STATES, state, name, arguments)


def get_maintenance():
    """
    Return what each host name does now and how the maintenance distribution stands: ``{host names:
    {name: {kind, purpose, elb, record, ttl, shows, problem, resolvers, visitor}}, distribution}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance status
    """
    run = context.current()
    return {"host names": dns.status(run), "distribution": distribution.check(run)}


def get_visitors():
    """
    Return what visitors get now at the public names, in a few words: ``see the site (6 names)``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.status
    """
    return checks.in_words(context.current())


def get_ways():
    """
    Return how a human gets to the site behind its load balancers while visitors see the page: lines
    to be pasted, ``[str]``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.backstage
    """
    return checks.ways(context.current())


def tell(phase, status, error="", command="", test=False):
    """
    Tell the chat and the monitoring of pillar ``notify`` what a phase of the run has come to.
    Returns ``{chat: text or None, downtime: begin, end or None}``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.tell mitx/mitx-qa/20261220T020000Z-koa-1a2b3c/close/started test=True
    """
    run = context.current()
    line = {"phase": phase, "status": status, "error": error, "command": command}
    planned = notices.plan(run, line)
    if not test:
        notices.apply(run, planned)
    return planned


def preview_page(until=None):
    """
    Write the maintenance page to a file here. Returns ``{path, request}``: where it is, and the
    text for 3down.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.page_preview
    """
    run = context.current()
    return {
        "path": page.preview(run, until=until),
        "request": mail.request(run.settings, until=until),
    }
