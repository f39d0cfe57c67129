"""
What goes wrong during a swap, and how it ends: against the fake AWS, through Salt's real loader.
"""

import pytest

from tests.support.fleets import DRAFT, LIVE, QUICK, STUDIO, recorded_upgrade

NAME = "edx-mitx-qa-next-residential-live-0-v1"


@pytest.fixture
def upgrade(mitx, aws):
    """Old fleet serving, new one launched and healthy, both recorded."""
    return recorded_upgrade(mitx, aws)


@pytest.fixture
def bad(upgrade):
    """The id of one new instance of two."""
    return upgrade.new[NAME]


def _swap(salt, **kwargs):
    return salt.states["mitx_fleet.swapped"]("swap", **kwargs)


def _untouched(salt):
    return salt.world.members() == salt.world.expected(salt.old)


def test_never_healthy_nothing_leaves_and_the_new_ones_are_taken_out_again(upgrade, bad):
    upgrade.world.aws.health({bad: False})
    ret = _swap(upgrade.impatient())
    assert ret["result"] is False
    assert f"{NAME} ({bad}) in {LIVE}: OutOfService, Instance has failed" in ret["comment"]
    assert f"{NAME} ({bad}) in {STUDIO}: OutOfService" in ret["comment"]
    assert "taken out again" in ret["comment"]
    assert ret["changes"] == {}
    assert _untouched(upgrade)


def test_never_healthy_what_others_had_registered_stays(upgrade, bad):
    upgrade.world.register(upgrade.new, only=LIVE)
    upgrade.world.aws.health({bad: False})
    assert _swap(upgrade.impatient())["result"] is False
    held = upgrade.world.members()
    assert bad in held[LIVE]
    assert bad not in held[STUDIO]
    assert set(upgrade.old.values()) & set(held[LIVE])


def test_never_healthy_and_the_undoing_fails_says_what_is_left(upgrade, bad):
    upgrade.world.aws.health({bad: False})
    upgrade.world.aws.fault(
        service="elb",
        operation="deregister_instances_from_load_balancer",
        parameters={"LoadBalancerName": STUDIO},
        error="InternalFailure",
        times=None,
    )
    ret = _swap(upgrade.impatient())
    assert ret["result"] is False
    assert f"{STUDIO} may still hold some of" in ret["comment"]
    assert set(ret["changes"]) == {STUDIO}
    held = upgrade.world.members()
    assert bad in held[STUDIO]
    assert held[LIVE] == upgrade.world.expected(upgrade.old)[LIVE]


def test_flapping_for_ever_is_never_healthy(upgrade):
    # Every second answer says OutOfService: never three in a row.
    for spared in range(0, 400, 2):
        _spoil_health(
            upgrade,
            {"<State>InService</State>": "<State>OutOfService</State>"},
            after=spared,
            times=1,
        )
    ret = _swap(upgrade.impatient())
    assert ret["result"] is False
    assert LIVE in ret["comment"]
    assert DRAFT not in ret["comment"].split("last state:")[1].split("taken out")[0]
    assert _untouched(upgrade)


def test_flapping_once_begins_to_count_again(upgrade):
    _settle(upgrade)
    _spoil_health(
        upgrade, {"<State>InService</State>": "<State>OutOfService</State>"}, after=2, times=1
    )
    assert _swap(upgrade, register=False)["result"] is True
    assert _polls_before_leaving(upgrade, LIVE) == 2 + 1 + 3
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("empty", {"rewrite": {"InstanceStates>": "Nothing>"}}),
        ("partial", None),
        ("HTTP 500", {"error": "InternalFailure", "status": 500}),
        ("HTTP 500 without a body", {"error": "", "status": 500}),
        ("throttled", {"error": "Throttling"}),
    ],
)
def test_no_answer_is_not_health(upgrade, bad, kind, answer):
    """For ever: nothing leaves. For two polls: the swap waits, then goes on."""
    answer = answer or {"rewrite": {bad: "i-00000000000000000"}}
    _settle(upgrade)
    fault = _health_fault(upgrade, times=None, **answer)
    ret = _swap(upgrade.impatient(), register=False)
    assert ret["result"] is False
    held = upgrade.world.members()
    assert all(
        set(upgrade.world.web(upgrade.old, elb)) <= set(held[elb["name"]])
        for elb in upgrade.settings["elbs"]
    )
    upgrade.world.aws.clear_faults(fault["id"])
    upgrade.world.aws.clear_calls()
    _health_fault(upgrade, times=2, **answer)
    assert _swap(upgrade, register=False)["result"] is True
    assert _polls_before_leaving(upgrade, LIVE) == 2 + 3


def test_registration_refused_by_the_second_load_balancer_is_undone_on_the_first(upgrade):
    upgrade.world.aws.fault(
        service="elb",
        operation="register_instances_with_load_balancer",
        parameters={"LoadBalancerName": LIVE},
        error="AccessDenied",
        times=None,
    )
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert "AccessDenied" in ret["comment"]
    assert ret["changes"] == {}
    assert _untouched(upgrade)


def test_registration_that_was_applied_without_an_answer_is_undone_too(upgrade):
    upgrade.world.aws.fault(
        service="elb",
        operation="register_instances_with_load_balancer",
        parameters={"LoadBalancerName": LIVE},
        reset="after",
        times=1,
    )
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert _untouched(upgrade)
    assert _swap(upgrade)["result"] is True


def test_deregistration_that_was_applied_without_an_answer_is_told_and_the_same_command_goes_on(
    upgrade,
):
    upgrade.world.aws.fault(
        service="elb",
        operation="deregister_instances_from_load_balancer",
        parameters={"LoadBalancerName": LIVE},
        reset="after",
        times=1,
    )
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert len(ret["changes"][LIVE]["deregistered"]) == 2
    assert "deregistered" not in ret["changes"][STUDIO]
    assert _swap(upgrade)["result"] is True
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


def test_drain_that_outlasts_its_timeout_is_told_and_does_not_hold_up_the_window(upgrade):
    upgrade.world.aws.fault(
        service="elb",
        operation="deregister_instances_from_load_balancer",
        outcome="pending",
        times=None,
    )
    ret = _swap(upgrade.reload(elb={**QUICK["elb"], "drain_timeout": 0.5}))
    assert ret["result"] is True, ret["comment"]
    assert "cut off" in ret["comment"]
    assert upgrade.old["edx-mitx-qa-next-residential-live-0-v3"] in ret["comment"]
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


def test_drain_is_waited_for(upgrade):
    upgrade.world.aws.settings(drain=0.7)
    ret = _swap(upgrade)
    assert ret["result"] is True, ret["comment"]
    assert "cut off" not in ret["comment"]
    for elb in upgrade.settings["elbs"]:
        asked = [{"InstanceId": id_} for id_ in upgrade.world.web(upgrade.old, elb)]
        health = upgrade.world.elb.describe_instance_health(
            LoadBalancerName=elb["name"], Instances=asked
        )
        assert all(
            "not currently registered" in one["Description"] for one in health["InstanceStates"]
        )


def test_an_old_instance_that_is_stopped_but_registered_is_taken_out(upgrade):
    stopped = upgrade.old["edx-mitx-qa-next-residential-live-1-v3"]
    upgrade.world.ec2.stop_instances(InstanceIds=[stopped])
    assert _swap(upgrade)["result"] is True
    assert upgrade.world.members() == upgrade.world.expected(upgrade.new)


def test_a_stopped_instance_is_not_out_before_the_load_balancer_says_so(upgrade):
    """
    Its health is OutOfService from the start, which botocore's own waiter takes for being out.
    """
    stopped = upgrade.old["edx-mitx-qa-next-residential-live-1-v3"]
    upgrade.world.ec2.stop_instances(InstanceIds=[stopped])
    with pytest.raises(Exception, match=f"{LIVE} still holds {stopped}"):
        upgrade.modules["mitx_fleet.elb.wait_drained"]({LIVE: [stopped]}, timeouts={LIVE: 0.1})


def test_an_old_instance_that_was_terminated_does_not_keep_the_others_in(upgrade):
    gone = upgrade.old["edx-mitx-qa-next-residential-live-1-v3"]
    upgrade.world.ec2.terminate_instances(InstanceIds=[gone])
    ret = _swap(upgrade.reload(elb={**QUICK["elb"], "drain_timeout": 0.2}))
    assert ret["result"] is True, ret["comment"]
    held = upgrade.world.members()
    assert upgrade.old["edx-mitx-qa-next-residential-live-0-v3"] not in held[LIVE] + held[STUDIO]


def test_an_unknown_instance_in_the_load_balancer_stops_the_swap_before_anything(upgrade):
    foreign = upgrade.world.launch(
        "edx-mitx-qa-next-residential-live-9-v2", purpose="next-residential-live", release=2
    )
    upgrade.world.elb.register_instances_with_load_balancer(
        LoadBalancerName=STUDIO, Instances=[{"InstanceId": foreign}]
    )
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert f"{STUDIO} holds edx-mitx-qa-next-residential-live-9-v2 ({foreign})" in ret["comment"]
    assert upgrade.world.writes() == []


def test_an_instance_that_a_colleague_registers_meanwhile_stops_the_detaching(upgrade):
    plan = upgrade.modules["mitx_fleet.swap.plan"]()
    foreign = upgrade.world.launch(
        "edx-mitx-qa-next-residential-live-9-v2", purpose="next-residential-live", release=2
    )
    upgrade.world.register(upgrade.new)
    upgrade.world.elb.register_instances_with_load_balancer(
        LoadBalancerName=LIVE, Instances=[{"InstanceId": foreign}]
    )
    with pytest.raises(Exception, match=f"{LIVE} also holds {foreign}"):
        upgrade.modules["mitx_fleet.swap.detach"](upgrade.settings, plan)
    assert upgrade.world.writes() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [("stop_instances", "is stopped"), ("terminate_instances", "was terminated")],
)
def test_a_new_instance_that_is_not_as_recorded_stops_the_swap_before_anything(
    upgrade, bad, change, said
):
    getattr(upgrade.world.ec2, change)(InstanceIds=[bad])
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert f"({bad}) {said}" in ret["comment"]
    assert upgrade.world.writes() == []


def test_a_load_balancer_that_is_missing_is_named(upgrade):
    upgrade.world.elb.delete_load_balancer(LoadBalancerName=STUDIO)
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert f"There is no load balancer {STUDIO}." in ret["comment"]
    assert upgrade.world.writes() == []


def test_a_load_balancer_of_another_environment_behind_the_cut_name_is_refused(upgrade):
    upgrade.world.elb.add_tags(
        LoadBalancerNames=[STUDIO], Tags=[{"Key": "environment", "Value": "mitx-production"}]
    )
    ret = _swap(upgrade)
    assert ret["result"] is False
    assert f"{STUDIO} is tagged environment: mitx-production" in ret["comment"]
    assert upgrade.world.writes() == []


def _settle(salt):
    """Register the new fleet ahead of the swap, and let the load balancers find it healthy."""
    salt.world.register(salt.new)
    for elb in salt.settings["elbs"]:
        ids = [{"InstanceId": id_} for id_ in salt.world.web(salt.new, elb)]
        salt.world.elb.get_waiter("instance_in_service").wait(
            LoadBalancerName=elb["name"],
            Instances=ids,
            WaiterConfig={"Delay": 0.05, "MaxAttempts": 200},
        )
    salt.world.aws.clear_calls()


def _health_fault(salt, **what):
    return salt.world.aws.fault(
        service="elb",
        operation="describe_instance_health",
        parameters={"LoadBalancerName": LIVE},
        **what,
    )


def _spoil_health(salt, rewrite, **when):
    return _health_fault(salt, rewrite=rewrite, **when)


def _polls_before_leaving(salt, elb):
    """
    How often the health of ``elb`` was asked before anything was taken out of any load balancer.
    """
    calls = salt.world.aws.calls(agent="saltext-mitx")
    first = [call["operation"] for call in calls].index("deregister_instances_from_load_balancer")
    return sum(
        call["operation"] == "describe_instance_health"
        and call["parameters"]["LoadBalancerName"] == elb
        for call in calls[:first]
    )
