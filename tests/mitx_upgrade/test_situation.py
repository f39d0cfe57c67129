"""
Where the upgrade stands, and what to type next: every state a run can be in.
"""

import datetime

import pytest

from tests.support.held import held

PREPARE = "salt-run state.orchestrate orchestrate.mitx.prepare"
WINDOW = "salt-run state.orchestrate orchestrate.mitx.window"
ALL = [
    *("preflight", "announce", "rebase", "build", "images", "record", "deploy", "smoke", "quiesce"),
    *("close", "stop", "migrate", "start", "attach", "detach", "verify", "open"),
]


def until(phase):
    return [(name, "finished") for name in ALL[: ALL.index(phase) + 1]]


@pytest.fixture
def night(mitx, monkeypatch):
    """``night(*lines)``: a run whose journal says this of its phases; ``night.locked`` holds it."""

    def load(*lines, locked=None):
        loaded = mitx(retire={"after": 48, "nothing_to_save": True})
        for phase, status, *more in lines:
            loaded.modules["mitx_run.events.write"](
                "phase", phase=phase, status=status, seconds=1, **dict(more)
            )
        monkeypatch.setattr("mitx_run.lock.locked_by", lambda run: locked)
        begun = loaded.modules["mitx_run.record.read"]()
        return loaded.modules["mitx_upgrade.situation.current"](begun)

    return load


FAILED = ("error", "2 of 3 minions did not do it\nmore of it")


@pytest.mark.parametrize(
    ("lines", "locked", "state", "why", "command"),
    [
        ([], None, "not begun", "", PREPARE),
        (
            [("preflight", "started")],
            held("stop"),
            "running",
            "upgrade r stop, by ann",
            "mitx.watch",
        ),
        ([("preflight", "started")], None, "broke off", "preflight: the command was", PREPARE),
        ([("preflight", "failed", FAILED)], None, "failed", "preflight: 2 of 3 minions", PREPARE),
        (until("quiesce"), None, "postponed", "next phase: close", WINDOW),
        ([*until("stop"), ("migrate", "failed", FAILED)], None, "failed", "migrate: 2 of", WINDOW),
        ([*until("detach"), ("verify", "started")], None, "broke off", "verify", WINDOW),
        (
            [*until("detach"), ("verify", "started"), ("verify", "waiting")],
            held("stop"),
            "waiting",
            "verify waits for a human",
            "mitx.approve",
        ),
        (
            [*until("detach"), ("verify", "started"), ("verify", "waiting")],
            None,
            "broke off",
            "verify: the command was killed",
            WINDOW,
        ),
        (
            [*until("stop"), ("rollback", "started")],
            held("stop"),
            "running",
            "by ann",
            "mitx.watch",
        ),
        (
            [*until("stop"), ("rollback", "started")],
            None,
            "broke off",
            "rollback: the command was killed",
            "salt-run mitx.rollback",
        ),
        (
            [*until("migrate"), ("rollback", "started"), ("rollback", "failed", FAILED)],
            None,
            "rolling back",
            "rollback: 2 of 3 minions",
            "salt-run mitx.rollback",
        ),
        (
            [*until("migrate"), ("rollback", "started"), ("rollback", "halted")],
            None,
            "rolling back",
            "the databases can be restored",
            "salt-run mitx.rollback database_restored=True",
        ),
        (
            [*until("open"), ("rollback", "started"), ("rollback", "finished")],
            None,
            "rolled back",
            "the old fleet serves",
            WINDOW,
        ),
        (until("open"), None, "done", "the old fleet is kept until", "salt-run mitx.retire"),
        ([*until("open"), ("retire", "finished")], None, "retired", "destroyed", "nothing"),
    ],
)
def test_each_state_has_its_name_its_reason_and_what_to_type(
    night, lines, locked, state, why, command
):
    found = night(*lines, locked=locked)
    assert found["state"] == state
    assert why in found["why"]
    assert command in found["next"]
    assert "\n" not in found["why"]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2099-12-20T20:00:00-05:00", "begins in 1 h 00 min"),
        ("2099-12-20T22:30:00-05:00", "2 h 30 min left"),
        ("2099-12-23T03:00:00-05:00", "ended 2 d 2 h ago"),
    ],
)
def test_what_is_left_of_the_window(mitx, now, told):
    moment = datetime.datetime.fromisoformat(now)
    assert mitx().modules["mitx_upgrade.situation.time_left"](moment).endswith(told)
