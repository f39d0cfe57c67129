"""
A change as data
================

What a plan holds: a dry run tells these calls, a real run makes the same ones.
"""

from mitx_run import journal


class Call:
    """
    One call of a gateway that changes something.

    ``str(call)`` is the sentence by which the journal's line of the call, once made, is told too.
    """

    def __init__(self, line, gateway, *arguments, **named):
        self._line = journal.redact(line)
        self._gateway, self._arguments, self._named = gateway, arguments, named

    def __str__(self):
        return journal.summary(self._line)

    def make(self, run):
        """
        Make the call and return what the gateway answers.
        """
        return self._gateway(run, *self._arguments, **self._named)


def tell(calls):
    """
    Return what a dry run says of ``calls``, a line each.
    """
    return [f"Would call: {call}" for call in calls]
