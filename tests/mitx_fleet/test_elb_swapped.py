"""The swap from one fleet to the other, against the fake AWS and through Salt's real loader."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.fleets import DRAFT, LIVE, QUICK, STUDIO, World, recorded_upgrade


@pytest.fixture
def upgrade(mitx, aws):
    """Old fleet serving, new one launched and healthy, both recorded."""
    return recorded_upgrade(mitx, aws)


def _swap(salt, **kwargs):
    return salt.states["mitx_fleet.swapped"]("swap", **kwargs)


def test_swapped_ends_with_exactly_the_new_fleet(upgrade):
    ret = _swap(upgrade)
    assert ret["result"] is True, ret["comment"]
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)
    assert len(ret["changes"][LIVE]["registered"]) == 2
    assert len(ret["changes"][DRAFT]["deregistered"]) == 1
    assert "edx-mitx-qa-next-residential-live-0-v3" in str(ret["changes"][STUDIO]["deregistered"])


def test_nothing_leaves_before_everything_is_healthy_everywhere(upgrade):
    assert _swap(upgrade)["result"] is True
    calls = upgrade.world.calls()
    last_health = max(
        i for i, name in enumerate(calls) if name == "register_instances_with_load_balancer"
    )
    first_out = calls.index("deregister_instances_from_load_balancer")
    polls = calls[last_health:first_out].count("describe_instance_health")
    assert polls >= 3 * len(upgrade.settings["elbs"])


def test_swapped_twice_changes_nothing_the_second_time(upgrade):
    assert _swap(upgrade)["result"] is True
    upgrade.world.aws.clear_calls()
    ret = _swap(upgrade)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert upgrade.world.writes() == []


def test_dry_run_tells_the_same_changes_and_writes_nothing(upgrade, mitx):
    dry = mitx(test=True, **QUICK)
    forecast = _swap(dry)
    assert forecast["result"] is None
    assert upgrade.world.writes() == []
    assert _swap(upgrade)["changes"] == forecast["changes"]


def test_dry_run_before_the_new_fleet_exists_names_it(mitx, aws):
    salt = mitx(**QUICK)
    world = World(aws, salt.settings)
    world.balancers()
    world.register(world.fleet("juniper", 3))
    dry = mitx(test=True, **QUICK)
    ret = _swap(dry)
    assert ret["result"] is None, ret["comment"]
    assert "edx-mitx-qa-next-residential-live-1-v1" in ret["changes"][LIVE]["registered"]
    assert len(ret["changes"][LIVE]["deregistered"]) == 2


def test_attach_only_leaves_the_old_fleet_in(upgrade):
    ret = _swap(upgrade, deregister=False)
    assert ret["result"] is True, ret["comment"]
    held = upgrade.world.members()
    for elb in upgrade.settings["elbs"]:
        assert set(held[elb["name"]]) == set(
            upgrade.world.web(upgrade.old, elb) + upgrade.world.web(upgrade.new, elb)
        )
    assert "Left in: 5 registrations of others" in ret["comment"]


def test_detach_only_refuses_while_the_new_fleet_is_not_registered(upgrade):
    ret = _swap(upgrade, register=False)
    assert ret["result"] is False
    assert "is not in" in ret["comment"]
    assert upgrade.world.writes() == []
    upgrade.world.register(upgrade.new)
    assert _swap(upgrade, register=False)["result"] is True
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


def test_back_to_the_old_fleet(upgrade):
    assert _swap(upgrade)["result"] is True
    ret = _swap(upgrade, fleet="old")
    assert ret["result"] is True, ret["comment"]
    assert upgrade.world.members() == upgrade.world.expected(upgrade.old)


def test_outside_of_a_run_the_fleet_follows_from_settings_and_release(upgrade, mitx, pillar):
    del pillar["mitx"]["run"]
    alone = mitx(begin=False, **QUICK)
    ret = _swap(alone, release=1)
    assert ret["result"] is True, ret["comment"]
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


def test_outside_of_a_run_a_release_that_is_not_deployed_is_refused(upgrade, mitx, pillar):
    del pillar["mitx"]["run"]
    ret = _swap(mitx(begin=False, **QUICK), release=2)
    assert ret["result"] is False
    assert "edx-mitx-qa-next-residential-live-0-v2 does not exist" in ret["comment"]
    assert upgrade.world.members() == upgrade.world.expected(upgrade.old)


def test_a_load_balancer_without_a_tag_is_ours_if_it_lies_in_our_vpc(mitx, aws):
    salt = mitx(**QUICK)
    World(aws, salt.settings).balancers(tag=False)
    found = salt.modules["mitx_fleet.elb.describe"]()
    assert set(found) == {DRAFT, LIVE, STUDIO}


def test_a_load_balancer_without_a_tag_in_another_vpc_is_refused(mitx, aws):
    salt = mitx(**QUICK)
    world = World(aws, salt.settings)
    world.balancers(tag=False, subnet=world.network("MITx Production"))
    with pytest.raises(
        CommandExecutionError,
        match=f"{DRAFT} has no tag environment and lies in vpc-.*; MITx QA is vpc-",
    ):
        salt.modules["mitx_fleet.elb.describe"]()


@pytest.fixture
def production(mitx, aws, pillar):
    """
    One purpose of 18 web instances behind two load balancers, the new fleet launched:
    mitx-production's live one.
    """
    pillar["mitx"]["environment"] = "mitx-production"
    mine = pillar["mitx"]["environments"]["mitx-production"]
    mine["purposes"] = ["residential-live"]
    mine["window"]["start"] = "2099-12-20 21:00"
    mine.update(QUICK)
    return recorded_upgrade(mitx, aws)


def test_what_a_swap_of_two_load_balancers_of_18_costs(production):
    """At most 12 calls beside the polls, at most 6 when there is nothing to do."""
    assert _swap(production)["result"] is True
    assert production.world.members() == production.world.expected(production.new)
    assert len(production.new) == 24
    calls = production.world.calls()
    assert len(production.settings["elbs"]) == 2
    assert len([name for name in calls if name != "describe_instance_health"]) <= 12, calls
    production.world.aws.clear_calls()
    assert _swap(production)["changes"] == {}
    assert len(production.world.calls()) <= 6, production.world.calls()
