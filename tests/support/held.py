"""Somebody else who holds the environment, as ``mitx_run.lock.locked_by`` tells it."""


def held(phase, since="2099-12-21T02:00:00Z"):
    """Ann, in this phase."""
    return {
        "by": "ann",
        "pid": 7,
        "host": "master",
        "since": since,
        "why": "upgrade r",
        "phase": phase,
        "mine": False,
    }
