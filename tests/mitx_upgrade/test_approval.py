"""
The human gate: an approval counts for what was looked at, and for nothing else.
"""

import pytest
from salt.exceptions import CommandExecutionError

FLEET = [{"id": "i-1", "name": "edx-0"}]


@pytest.fixture
def gate(mitx):
    """A run that waits at ``verify``; ``gate.phase(phase, status)`` lets it go on."""
    loaded = mitx(gate={"timeout": 0.2})
    modules = loaded.modules
    for fact, value in (
        ("release_sha", "a" * 40),
        ("images", {"edx": "ami-1"}),
        ("new_fleet", FLEET),
    ):
        modules["mitx_run.record.pin"](fact, value)
    loaded.phase = lambda phase, status, **more: modules["mitx_run.events.write"](
        "phase", phase=phase, status=status, **more
    )
    loaded.ask = lambda: loaded.states["mitx_upgrade.approved"]("gate")
    loaded.approve = modules["mitx_upgrade.approval.approve"]
    for phase in ("migrate", "start", "attach", "detach"):
        loaded.phase(phase, "started")
        loaded.phase(phase, "finished")
    return loaded


def waits(gate):
    gate.phase("verify", "started")
    gate.phase("verify", "waiting")


def test_what_was_approved_is_opened(gate):
    waits(gate)
    gate.approve(note="opened a course")
    ret = gate.ask()
    assert ret["result"] is True
    assert ret["comment"].endswith(": opened a course")


def test_before_the_automatic_checks_have_passed_nothing_can_be_approved(gate):
    gate.phase("verify", "started")
    with pytest.raises(CommandExecutionError, match="nothing to look at yet.*mitx.watch"):
        gate.approve()
    assert gate.modules["mitx_run.record.approvals"]() == []


@pytest.mark.parametrize("phase", ["start", "attach", "detach", "migrate", "rollback"])
def test_an_act_after_the_approval_voids_it_and_says_so(gate, phase):
    waits(gate)
    gate.approve()
    gate.phase(phase, "started")
    ret = gate.ask()
    assert ret["result"] is False
    assert "Nobody has approved" in ret["comment"]
    assert "what was looked at has changed since" in gate.modules["mitx_upgrade.approval.voided"]()


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("images", {"edx": "ami-2"}),
        ("new_fleet", [{"id": "i-2", "name": "edx-0"}]),
        ("release_sha", "b" * 40),
    ],
)
def test_other_facts_are_not_what_was_approved(gate, fact, value):
    waits(gate)
    gate.approve()
    gate.modules["mitx_run.record.pin"](fact, value, again=True)
    assert gate.ask()["result"] is False


def test_a_clock_that_was_set_back_decides_nothing(gate, monkeypatch):
    waits(gate)
    monkeypatch.setattr("mitx_run.journal._now", lambda: "2001-01-01T00:00:00.000000Z")
    gate.approve()
    assert gate.ask()["result"] is True
    gate.phase("start", "started")
    assert gate.ask()["result"] is False


def test_an_approval_of_another_run_does_not_count(gate):
    waits(gate)
    gate.modules["mitx_run.events.write"](
        "approved", gate="verify", note="", by="ann", digest="0123456789abcdef"
    )
    assert gate.ask()["result"] is False


def test_one_that_was_given_before_there_was_a_digest_counts_by_its_time(gate):
    """A run that is under way when the package is updated goes on."""
    waits(gate)
    line = {"gate": "verify", "note": "", "by": "ann"}
    gate.modules["mitx_run.events.write"]("approved", **line)
    assert gate.ask()["result"] is True
    gate.phase("start", "started")
    assert gate.ask()["result"] is False
