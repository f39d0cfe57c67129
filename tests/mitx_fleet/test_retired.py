"""
Retirement destroys the recorded old fleet and nothing else: real Salt Cloud and real keys, against
the fake AWS.
"""

import pytest
import salt.utils.event

from tests.support.fleets import LIVE, QUICK, on_the_master, recorded_upgrade

NAME = "edx-mitx-qa-next-residential-live-0-v3"


@pytest.fixture
def retirement(mitx, aws, tmp_path, monkeypatch):
    """``retirement(**settings)``: the window is over, the new fleet serves; on the master."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # No master runs here, and Salt waits a second for its event bus each time it has something to
    # say.
    monkeypatch.setattr(
        salt.utils.event.SaltEvent, "fire_event", lambda self, data, tag, timeout=1000: True
    )

    def prepare(after=0, opened=True, **overrides):
        run = recorded_upgrade(
            mitx, aws, **{"retire": {**QUICK["retire"], "after": after}, **overrides}
        )
        if opened:
            run.modules["mitx_run.events.write"](
                "phase", phase="open", status="finished", seconds=1
            )
        for elb in run.settings["elbs"]:
            run.world.elb.deregister_instances_from_load_balancer(
                LoadBalancerName=elb["name"],
                Instances=[{"InstanceId": id_} for id_ in run.world.web(run.old, elb)],
            )
        run.world.register(run.new)
        aws.clear_calls()
        return on_the_master(run, tmp_path)

    return prepare


def _retire(master, **kwargs):
    return master.states["mitx_fleet.retired"]("retire", **kwargs)


def _standing(master):
    """Whether everything of the old fleet is as it was."""
    states = master.world.states(*master.old.values())
    return set(states.values()) == {"running"} and set(master.old) <= set(master.keys())


def test_the_old_fleet_goes_with_its_keys_and_nothing_else(retirement):
    master = retirement()
    bystander = master.world.launch(
        "edx-mitx-qa-current-residential-live-0-v3", purpose="current-residential-live"
    )
    ret = _retire(master)
    assert ret["result"] is True, ret["comment"]
    assert set(master.world.states(*master.old.values()).values()) <= {
        "terminated",
        "shutting-down",
    }
    assert set(master.world.states(*master.new.values(), bystander).values()) == {"running"}
    assert master.keys() == sorted(master.new)
    assert len(ret["changes"]["destroyed"]) == 5
    assert ret["changes"]["keys"] == sorted(master.old)


def test_again_there_is_nothing_to_do(retirement):
    master = retirement()
    assert _retire(master)["result"] is True
    ret = _retire(master)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert f"{NAME} ({master.old[NAME]}) is gone already" in ret["comment"]


def test_dry_run_names_what_would_go_and_touches_nothing(retirement, mitx, tmp_path):
    master = retirement()
    run = mitx(test=True, **{**QUICK, "retire": {**QUICK["retire"], "after": 0}})
    run.world, run.old, run.new = master.world, master.old, master.new
    ret = _retire(on_the_master(run, tmp_path))
    assert ret["result"] is None
    assert len(ret["changes"]["destroyed"]) == 5
    assert _standing(master)


def test_not_before_its_time_unless_forced(retirement):
    master = retirement(after=48)
    ret = _retire(master)
    assert ret["result"] is False
    assert "the site was opened 0.0 hours ago" in ret["comment"]
    assert _standing(master)
    assert _retire(master, force=True)["result"] is True
    assert not _standing(master)


def test_what_did_not_serve_is_somebody_elses_and_stays(retirement):
    master = retirement()
    fleet = [
        {**one, "serves": one["name"] != NAME}
        for one in master.modules["mitx_fleet.fleets.recorded"]("old")
    ]
    master.modules["mitx_run.record.pin"]("old_fleet", fleet, again=True)
    ret = _retire(master)
    assert ret["result"] is True, ret["comment"]
    assert master.world.states(master.old[NAME]) == {master.old[NAME]: "running"}
    assert set(master.keys()) >= {NAME}
    assert f"{NAME} ({master.old[NAME]}) did not serve" in ret["comment"]
    assert len(ret["changes"]["destroyed"]) == 4


@pytest.mark.parametrize("force", [False, True])
def test_never_in_the_window(retirement, force):
    """
    ``force`` shortens the time that the old fleet is kept, and that has not begun before the site
    was opened.
    """
    master = retirement(opened=False)
    ret = _retire(master, force=force)
    assert ret["result"] is False
    assert "open of this run is not finished" in ret["comment"]
    assert _standing(master)


def test_not_while_any_load_balancer_holds_one_of_it(retirement):
    """Also one that is none of this run's."""
    master = retirement()
    elb = {
        "LoadBalancerName": "somebody-elses",
        "Listeners": [{"Protocol": "TCP", "LoadBalancerPort": 1, "InstancePort": 1}],
    }
    master.world.elb.create_load_balancer(**elb, Subnets=[master.world.subnet])
    master.world.elb.register_instances_with_load_balancer(
        LoadBalancerName="somebody-elses", Instances=[{"InstanceId": master.old[NAME]}]
    )
    ret = _retire(master, force=True)
    assert ret["result"] is False
    assert f"{NAME} ({master.old[NAME]}) is registered in somebody-elses" in ret["comment"]
    assert _standing(master)


def test_not_while_the_new_fleet_does_not_serve(retirement):
    """
    Workers are in no load balancer: that the new web instances are out means that the old workers
    may be needed.
    """
    master = retirement()
    for elb, ids in master.world.members().items():
        master.world.elb.deregister_instances_from_load_balancer(
            LoadBalancerName=elb, Instances=[{"InstanceId": id_} for id_ in ids]
        )
    ret = _retire(master, force=True)
    assert ret["result"] is False
    assert f"{LIVE} does not hold the new fleet, but nobody" in ret["comment"]
    assert _standing(master)


def test_a_protected_instance_stops_it_before_anything_is_destroyed(retirement):
    master = retirement()
    master.world.ec2.modify_instance_attribute(
        InstanceId=master.old[NAME], DisableApiTermination={"Value": True}
    )
    ret = _retire(master)
    assert ret["result"] is False
    assert f"{NAME} ({master.old[NAME]}) is protected from termination" in ret["comment"]
    assert _standing(master)


def test_a_renamed_instance_stops_it_before_anything_is_destroyed(retirement):
    master = retirement()
    master.world.ec2.create_tags(
        Resources=[master.old[NAME]], Tags=[{"Key": "Name", "Value": "keep-this"}]
    )
    ret = _retire(master)
    assert ret["result"] is False
    assert (
        f"the name of {master.old[NAME]} was recorded as {NAME} and is keep-this" in ret["comment"]
    )
    assert _standing(master)


def test_a_missing_instance_is_told_and_the_others_go(retirement):
    master = retirement()
    master.world.ec2.terminate_instances(InstanceIds=[master.old[NAME]])
    ret = _retire(master)
    assert ret["result"] is True, ret["comment"]
    assert f"{NAME} ({master.old[NAME]}) is gone already" in ret["comment"]
    assert len(ret["changes"]["destroyed"]) == 4
    assert master.keys() == sorted(master.new)


def test_a_colleagues_instance_of_the_same_name_is_not_destroyed(retirement):
    """Koa v3 beside Juniper v3: cloud.destroy knows names only, and would take either."""
    master = retirement()
    twin = master.world.launch(NAME, purpose="next-residential-live", codename="koa", release=3)
    ret = _retire(master)
    assert ret["result"] is False
    assert f"{NAME} is also the name of {twin}" in ret["comment"]
    assert _standing(master)
    assert master.world.states(twin) == {twin: "running"}


def test_a_name_that_another_instance_took_over_keeps_its_key(retirement):
    master = retirement()
    master.world.ec2.terminate_instances(InstanceIds=[master.old[NAME]])
    heir = master.world.launch(NAME, purpose="next-residential-live", codename="koa", release=3)
    ret = _retire(master)
    assert ret["result"] is True, ret["comment"]
    assert f"its name {NAME} is now that of {heir}" in ret["comment"]
    assert master.world.states(heir) == {heir: "running"}
    assert master.keys() == sorted([*master.new, NAME])


def test_a_terminated_twin_is_no_obstacle(retirement):
    master = retirement()
    twin = master.world.launch(NAME, purpose="next-residential-live", codename="juniper", release=3)
    master.world.ec2.terminate_instances(InstanceIds=[twin])
    ret = _retire(master)
    assert ret["result"] is True, ret["comment"]
    assert master.world.states(master.old[NAME])[master.old[NAME]] in (
        "terminated",
        "shutting-down",
    )


def test_what_cloud_destroy_left_standing_is_told(retirement, aws):
    """Salt Cloud answers as if all were well, and one instance runs on."""
    master = retirement()
    aws.fault(
        service="ec2",
        operation="terminate_instances",
        parameters={"InstanceIds": f"*{master.old[NAME]}*"},
        error="OperationNotPermitted",
        times=None,
    )
    ret = _retire(master)
    assert ret["result"] is False
    assert "cloud.destroy failed" in ret["comment"]
    assert f"{NAME} ({master.old[NAME]}) is running" in ret["comment"]
    running = [
        name for name, id_ in master.old.items() if master.world.states(id_)[id_] == "running"
    ]
    assert NAME in running
    assert len(ret["changes"].get("destroyed", [])) == len(master.old) - len(running)
    aws.clear_faults()
    assert _retire(master)["result"] is True
    assert master.keys() == sorted(master.new)


def test_a_key_that_salt_cloud_would_ask_about_stops_it(retirement):
    """
    With `name.domain` beside `name`, salt-cloud asks at the terminal, and the orchestration would
    hang.
    """
    master = retirement()
    (master.accepted / f"{NAME}.mitx.mit.edu").touch()
    ret = _retire(master)
    assert ret["result"] is False
    assert f"could not tell the key {NAME} from {NAME}.mitx.mit.edu" in ret["comment"]
    assert _standing(master)


def test_a_bystander_that_goes_with_the_old_fleet_is_told(retirement):
    master = retirement()
    bystander = master.world.launch(
        "edx-mitx-qa-current-residential-live-0-v3", purpose="current-residential-live"
    )
    _replace_salt_cloud(master, {**master.old, "bystander": bystander})
    ret = _retire(master)
    assert ret["result"] is False
    assert (
        f"this went too, and is not of it: edx-mitx-qa-current-residential-live-0-v3 ({bystander})"
        in ret["comment"]
    )
    assert len(ret["changes"]["destroyed"]) == 5


def test_a_success_that_is_none_is_not_believed(retirement):
    master = retirement(retire={**QUICK["retire"], "after": 0, "timeout": 0.2})
    _replace_salt_cloud(master, {name: id_ for name, id_ in master.old.items() if name != NAME})
    ret = _retire(master)
    assert ret["result"] is False
    assert "cloud.destroy reported success, but" in ret["comment"]
    assert f"{NAME} ({master.old[NAME]}) is running" in ret["comment"]
    assert len(ret["changes"]["destroyed"]) == 4


def _replace_salt_cloud(master, really):
    """
    A ``cloud.destroy`` that terminates the instances ``really`` and answers that it did what it was
    asked.
    """

    def destroy(names):
        master.world.ec2.terminate_instances(InstanceIds=list(really.values()))
        return {"sandbox": {"sandbox": {name: {"Action": "Terminated"} for name in names}}}

    master.modules["cloud.destroy"] = destroy
