"""What the corrected services share."""

import threading
import time


class Service:
    """
    One AWS service in front of moto's.

    A public method with the name of an operation answers that operation; every other operation goes
    to moto. Calls of one service are worked one at a time: moto's own checks and changes are not
    atomic.
    """

    def __init__(self, folder, settings):
        self.folder = folder
        self.settings = settings
        self.lock = threading.RLock()

    def handle(self, call, forward):
        """Answer a call; ``forward()`` asks moto and returns its response."""
        with self.lock:
            self.settle(call)
            operation = getattr(self, call.operation, None)
            return operation(call, forward) if operation else forward()

    def settle(self, call):
        """Let what was started earlier become finished, where its time has come."""

    def reset(self):
        """Forget everything."""


class Pending:
    """
    Something that AWS finishes some time after it has answered; a fault can hold it for as long as
    it stands.

    seconds: called for how long it takes, so that a change of the settings counts for what has
    begun too.
    """

    def __init__(self, seconds, fault=None):
        self.begun = time.monotonic()
        self.seconds = seconds
        self.fault = fault
        self.seen_over = False

    @property
    def over(self):
        """Whether it is finished by now; once seen finished it stays so."""
        if not self.seen_over:
            self.seen_over = (
                time.monotonic() >= self.begun + self.seconds() and self._outcome != "pending"
            )
        return self.seen_over

    @property
    def failed(self):
        """Whether it ends badly."""
        return self._outcome == "failed"

    @property
    def _outcome(self):
        return self.fault.outcome if self.fault and self.fault.standing else None
