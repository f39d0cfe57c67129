"""
Wait until something is true, at most so long
=============================================
"""

import time

from salt.exceptions import CommandExecutionError

from mitx_run import errors, events, progress


def until(run, check, timeout, interval, what, waits_for=None):
    """
    Ask ``check()`` every ``interval`` seconds until it says yes. It returns ``(done: bool, seen:
    str)``. A transient error counts as "not yet". After ``timeout`` seconds
    ``CommandExecutionError`` says what was seen last. Returns the last ``seen``.

    waits_for
        What takes that time, where it is not this package: ``drain``, ``health``, ``DNS``,
        ``queue``, ``migration``, ``approval``. It is journaled, and counted by
        ``phases.durations``.
    """
    began = time.monotonic()
    # A sentence of its own elsewhere; a name like INSYNC stays what it is.
    spoken = what[0].lower() + what[1:] if what[1:2].islower() else what
    try:
        return _until(check, timeout, interval, spoken, progress.Waiting(run, spoken))
    finally:
        if waits_for:
            seconds = round(time.monotonic() - began, 3)
            events.write(run, "wait", waits_for=waits_for, what=what, seconds=seconds)


def _until(check, timeout, interval, what, tell):
    deadline = time.monotonic() + float(timeout)
    while True:
        try:
            done, seen = check()
        except errors.Transient as err:
            done, seen = False, str(err)
        if done:
            return seen
        tell(seen)
        left = deadline - time.monotonic()
        if left <= 0:
            limit = f"{timeout:.0f}" if timeout >= 10 else f"{timeout:g}"
            raise CommandExecutionError(
                f"timed out after {limit} s waiting for {what}; last state: {seen}"
            )
        time.sleep(min(float(interval), left))
