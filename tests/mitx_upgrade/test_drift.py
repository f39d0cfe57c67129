"""What is told to be true now, with what it costs to find out."""

import pytest

from tests.support.fleets import recorded_upgrade


@pytest.fixture
def upgrade(mitx, aws):
    """A recorded upgrade: the old fleet serves, the new one stands beside it."""
    return recorded_upgrade(mitx, aws)


def test_load_balancers_and_fleets_are_told_by_what_they_hold(upgrade):
    told = upgrade.modules["mitx_upgrade.drift.summary"]()
    assert "edx-next-residential-live-mitx-q holds 2 old" in told
    assert told[-2:] == ["old fleet: 5 instances exist", "new fleet: 5 instances exist"]


def test_who_is_told_of_a_failure_does_not_wait_for_each_look_while_aws_throttles(upgrade, aws):
    upgrade.modules.run.aws["attempts"] = 5
    aws.fault(error="Throttling", status=400, times=None)
    told = upgrade.modules["mitx_upgrade.drift.summary"]()
    assert [line.partition(":")[0] for line in told] == ["DNS", "Load balancers", "Fleets"]
    assert all("not known, " in line and "Throttling" in line for line in told)
    tried = {}
    for call in aws.calls():
        tried[call["operation"]] = tried.get(call["operation"], 0) + 1
    assert set(tried.values()) == {2}
    # Whatever else is asked, is asked as patiently as ever.
    assert upgrade.modules.run.aws["attempts"] == 5
