"""
Errors that a caller tells apart
================================

Everything that fails raises Salt's ``CommandExecutionError``, whose text is written for an
operator. These are the few kinds to which code reacts; each is one.
"""

from salt.exceptions import CommandExecutionError


class Transient(CommandExecutionError):
    """It may be over in a moment: whoever polls asks again, until the deadline."""


class AWSError(CommandExecutionError):
    """
    A call to AWS failed. ``code`` is AWS's error code (str, may be empty), ``status`` the HTTP
    status (int or ``None``).
    """

    def __init__(self, message, code="", status=None):
        super().__init__(message)
        self.code, self.status = code, status


class AWSTransient(AWSError, Transient):
    """AWS throttled the call, failed by itself, or did not answer."""


class NotPlannable(CommandExecutionError):
    """A dry run cannot know it: an earlier phase would have recorded it first."""


class NotKnown(CommandExecutionError):
    """It could not be found out, which is told, and bars nothing."""


class GitFailed(CommandExecutionError):
    """git ended with a code that was not expected; ``answer`` is what ``git.execute`` returns."""

    def __init__(self, message, answer):
        super().__init__(message)
        self.answer = answer


class Conflict(CommandExecutionError):
    """
    A rebase waits for a human; ``conflict`` is what ``conflict.describe`` returns, and ``folder``.
    """

    def __init__(self, message, conflict):
        super().__init__(message)
        self.conflict = conflict
