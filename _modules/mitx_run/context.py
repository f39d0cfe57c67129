"""
What a command works on
=======================

Made once for a command, and the first argument of whatever works on it: nothing looks up settings,
folder or credentials again.
"""

import functools

from mitx_run import folders, settings
from mitx_run.dunders import __context__, __opts__

_KEY = "mitx_run.context"


class Run:
    """
    One upgrade of one environment, as this command sees it.

    settings
        Everything about the environment: see ``settings.get``.
    id
        The run, which may not have begun; ``None``: work outside of any run.
    test
        True: nothing may be changed (``test=True``).
    """

    def __init__(self, environment, test):
        self.environment = environment
        self.settings = settings.get(environment)
        self.id = folders.pillar().get("run")
        self.test = test
        # What of a dry run fails first.
        self.blocked_by = None
        # What was seen of the world, until something is changed.
        self.seen = {}

    @functools.cached_property
    def aws(self):
        """Region, credentials, endpoint: ``mitx:…:aws`` with the named profile filled in."""
        return settings.aws(self.environment)


def current():
    """
    Return the :py:class:`Run` of this command, made at the first call.

    Raises ``CommandExecutionError`` with all problems of a bad pillar.
    """
    environment = folders.environment()
    key = f"{_KEY}.{environment}"
    if key not in __context__:
        __context__[key] = Run(environment, test=False)
    run = __context__[key]
    # A state may have a ``test`` of its own.
    run.test = bool(__opts__.get("test"))
    return run
