"""Which instance is which, when names lie: against the fake AWS, through Salt's real loader."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.fleets import DRAFT, LIVE, QUICK, STUDIO, World, recorded_upgrade

NAME = "edx-mitx-qa-next-residential-live-0"
PURPOSE = "next-residential-live"


@pytest.fixture
def run(mitx, aws):
    """Juniper v3 serves; Koa v1 is next. (loaded package with ``world`` and ``old``)"""
    salt = mitx(**QUICK)
    salt.world = World(aws, salt.settings)
    salt.world.balancers()
    salt.old = salt.world.fleet("juniper", 3)
    salt.world.register(salt.old)
    salt.world.launch(
        "edx-mitx-qa-current-residential-live-0-v3",
        purpose="current-residential-live",
        codename="juniper",
        release=3,
    )
    salt.world.launch(
        f"{NAME}-v3", purpose=PURPOSE, codename="juniper", release=3, environment="mitx-production"
    )
    aws.clear_calls()
    return salt


def _ids(instances):
    return {one["id"] for one in instances}


def _current(run, **kwargs):
    return run.modules["mitx_fleet.fleets.current"](**kwargs)


def _new(run, release=1):
    return run.modules["mitx_fleet.fleets.new"](release=release)


# ---- the old fleet ----


def test_current_is_what_is_registered_and_the_workers_and_nobody_elses(run):
    current = _current(run)
    assert _ids(current) == set(run.old.values())
    web = next(one for one in current if one["name"] == f"{NAME}-v3")
    assert web["elbs"] == [LIVE, STUDIO]
    assert (web["role"], web["codename"], web["release"], web["state"]) == (
        "edx",
        "juniper",
        3,
        "running",
    )
    assert run.world.calls() == ["describe_instances", "describe_load_balancers", "describe_tags"]


def test_current_knows_no_terminated_twin(run):
    twin = run.world.launch(
        "edx-worker-mitx-qa-next-residential-live-0-v3", "edx-worker", PURPOSE, "juniper", 3
    )
    run.world.ec2.terminate_instances(InstanceIds=[twin])
    assert _ids(_current(run)) == set(run.old.values())


def test_current_leaves_out_the_new_fleet_even_when_it_is_registered(run):
    new = run.world.fleet("koa", 1)
    run.world.register(new)
    assert _ids(_current(run, release=1)) == set(run.old.values())
    run.modules["mitx_run.record.pin"]("new_fleet", _new(run)["instances"])
    assert _ids(_current(run)) == set(run.old.values())


def test_current_takes_the_same_name_of_another_codename_for_what_it_is(run):
    """Koa v3 and Juniper v3 have the same names."""
    koa = run.world.launch(
        "edx-worker-mitx-qa-next-residential-live-0-v3", "edx-worker", PURPOSE, "koa", 3
    )
    assert koa not in _ids(_current(run, release=3))
    assert run.old["edx-worker-mitx-qa-next-residential-live-0-v3"] in _ids(
        _current(run, release=3)
    )


def test_current_tells_leftovers_of_an_earlier_upgrade(run):
    """They are stopped with the rest, and must never be started again."""
    left = run.world.launch(
        "edx-worker-mitx-qa-next-residential-live-0-v2", "edx-worker", PURPOSE, "juniper", 2
    )
    serves = {one["id"]: one["serves"] for one in _current(run)}
    assert serves.pop(left) is False
    assert set(serves.values()) == {True}


def test_the_analytics_host_has_the_tags_of_a_web_host_and_is_of_no_fleet(run):
    """
    ``analytics-mitx-production-residential-live``: stopped with the old fleet, its schedule would
    have been off for good.
    """
    analytics = run.world.launch(
        f"analytics-mitx-qa-{PURPOSE}", purpose=PURPOSE, codename=None, release=None
    )
    current = [one["id"] for one in run.modules["mitx_fleet.fleets.current"]()]
    assert analytics not in current
    assert [one["id"] for one in run.modules["mitx_fleet.fleets.left_alone"]()] == [analytics]
    ret = run.states["mitx_fleet.recorded"]("old", fleet="old")
    assert ret["result"] is True, ret["comment"]
    assert f"left alone: analytics-mitx-qa-{PURPOSE} ({analytics})" in ret["comment"]


def test_recorded_once_and_for_all(run):
    ret = run.states["mitx_fleet.recorded"]("current", fleet="old")
    assert ret["result"] is True
    assert len(ret["changes"]["old_fleet"]["new"]) == 5
    stray = run.world.launch(
        "edx-worker-mitx-qa-next-residential-live-1-v3", "edx-worker", PURPOSE, "juniper", 3
    )
    run.world.ec2.terminate_instances(InstanceIds=[run.old[f"{NAME}-v3"]])
    again = run.states["mitx_fleet.recorded"]("current", fleet="old")
    assert (again["result"], again["changes"]) == (True, {})
    assert f"{NAME}-v3 ({run.old[f'{NAME}-v3']}) was terminated" in again["comment"]
    assert _ids(run.modules["mitx_fleet.fleets.recorded"]("old")) == set(run.old.values())
    assert stray not in _ids(run.modules["mitx_fleet.fleets.recorded"]("old"))


def test_recording_refuses_a_stranger_in_the_load_balancer(run):
    stranger = run.world.launch(
        "edx-mitx-qa-current-residential-live-0-v9", purpose="current-residential-live"
    )
    run.world.elb.register_instances_with_load_balancer(
        LoadBalancerName=DRAFT, Instances=[{"InstanceId": stranger}]
    )
    ret = run.states["mitx_fleet.recorded"]("current", fleet="old")
    assert ret["result"] is False
    assert f"{DRAFT} holds edx-mitx-qa-current-residential-live-0-v9 ({stranger})" in ret["comment"]
    assert run.modules["mitx_run.record.pinned"]("old_fleet") is None


def test_recording_refuses_an_instance_of_another_environment_in_the_load_balancer(run):
    foreign = run.world.launch("edx-1", purpose=PURPOSE, environment="mitx-production")
    run.world.elb.register_instances_with_load_balancer(
        LoadBalancerName=LIVE, Instances=[{"InstanceId": foreign}]
    )
    ret = run.states["mitx_fleet.recorded"]("current", fleet="old")
    assert ret["result"] is False
    assert f"{LIVE} holds {foreign}, which is no existing instance of mitx-qa" in ret["comment"]


def test_recording_refuses_an_empty_fleet(mitx, aws):
    salt = mitx(**QUICK)
    World(aws, salt.settings).balancers()
    assert salt.states["mitx_fleet.recorded"]("current", fleet="old")["result"] is False
    assert (
        salt.states["mitx_fleet.recorded"]("current", fleet="old", allow_empty=True)["result"]
        is True
    )


def test_what_was_not_recorded_is_an_error_with_the_next_command(run):
    with pytest.raises(
        CommandExecutionError, match=r"salt-run state\.orchestrate orchestrate\.mitx\.prepare"
    ):
        run.modules["mitx_fleet.fleets.recorded"]("old")


# ---- the new fleet ----


def test_new_is_exactly_what_settings_and_release_say(run):
    new = run.world.fleet("koa", 1)
    found = _new(run)
    assert {one["name"]: one["id"] for one in found["instances"]} == new
    assert (found["missing"], found["unexpected"]) == ([], [])


def test_new_compares_whole_names(run):
    """`-v3` is a prefix of `-v33`."""
    run.world.fleet("koa", 33)
    found = _new(run, release=3)
    assert found["instances"] == []
    assert len(found["missing"]) == 5
    assert f"{NAME}-v3" in found["missing"]


def test_new_knows_no_terminated_twin(run):
    twin = run.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    run.world.ec2.terminate_instances(InstanceIds=[twin])
    new = run.world.fleet("koa", 1)
    assert {one["name"]: one["id"] for one in _new(run)["instances"]} == new


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"codename": "juniper"}, "its codename is juniper, not koa"),
        ({"release": 2}, "its release is 2, not 1"),
        ({"release": "first"}, "its release is None, not 1"),
        (
            {"purpose": "next-residential-draft"},
            "its purpose is next-residential-draft, not next-residential-live",
        ),
        ({"role": "edx-worker"}, "its role is edx-worker, not edx"),
    ],
)
def test_new_does_not_take_a_name_for_an_identity(run, wrong, said):
    id_ = run.world.launch(f"{NAME}-v1", **{"purpose": PURPOSE, **wrong})
    found = _new(run)
    assert found["missing"].count(f"{NAME}-v1") == 1
    assert found["problems"] == [f"{NAME}-v1 ({id_}): {said}"]


def test_new_takes_neither_of_two_of_the_same_name(run):
    new = run.world.fleet("koa", 1)
    twin = run.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    found = _new(run)
    assert f"{NAME}-v1" in found["missing"]
    assert _ids(found["unexpected"]) == {twin, new[f"{NAME}-v1"]}


def test_new_tells_an_instance_of_this_release_that_settings_do_not_name(run):
    run.world.fleet("koa", 1)
    extra = run.world.launch("edx-mitx-qa-next-residential-live-7-v1", purpose=PURPOSE)
    assert _new(run)["problems"] == [
        f"edx-mitx-qa-next-residential-live-7-v1 ({extra}): not in settings"
    ]


# ---- names that are taken ----


def _taken(run, release):
    return run.modules["mitx_fleet.fleets.taken"](release=release)


def test_names_of_a_free_release_are_free(run):
    assert _taken(run, 1) == {"taken": [], "ours": [], "terminated": []}


def test_a_colleagues_koa_v3_beside_juniper_v3_is_in_the_way(run):
    """
    A deploy of Koa v3 would skip the names of Juniper v3 with a warning, and configure the old
    hosts.
    """
    taken = _taken(run, 3)["taken"]
    assert set(run.old.values()) <= _ids(taken)
    assert "its codename is juniper, not koa" in next(
        one["why"] for one in taken if one["id"] == run.old[f"{NAME}-v3"]
    )


def test_a_namesake_in_another_environment_is_in_the_way_too(run):
    """Names are looked up in the whole account by everyone else."""
    foreign = run.world.launch(f"{NAME}-v1", purpose=PURPOSE, environment="mitx-production")
    assert _ids(_taken(run, 1)["taken"]) == {foreign}


def test_what_this_runs_own_deploy_launched_is_not_in_its_way(run):
    run.modules["mitx_run.record.pin"]("images", run.world.build(1))
    mine = run.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    theirs = run.world.launch(
        "edx-mitx-qa-next-residential-live-1-v1",
        purpose=PURPOSE,
        image=run.world.first_image_once(),
    )
    found = _taken(run, 1)
    assert _ids(found["ours"]) == {mine}
    assert _ids(found["taken"]) == {theirs}
    assert "not from this run's ami-" in found["taken"][0]["why"]


def test_a_terminated_namesake_is_told_apart(run):
    twin = run.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    run.world.ec2.terminate_instances(InstanceIds=[twin])
    found = _taken(run, 1)
    assert (found["taken"], _ids(found["terminated"])) == ([], {twin})


# ---- launched ----


@pytest.fixture
def deployed(run):
    """Koa v1 launched from the run's images."""
    run.modules["mitx_run.record.pin"]("release_number", 1)
    run.modules["mitx_run.record.pin"]("images", run.world.build(1))
    run.new = run.world.fleet("koa", 1)
    return run


def _launched(run):
    return run.states["mitx_fleet.launched"]("new fleet")


def test_launched_records_the_new_fleet(deployed):
    ret = _launched(deployed)
    assert ret["result"] is True, ret["comment"]
    assert _ids(deployed.modules["mitx_fleet.fleets.recorded"]("new")) == set(deployed.new.values())
    assert _launched(deployed)["changes"] == {}


def test_launched_waits_for_an_instance_that_is_pending(deployed, aws):
    aws.settings(instance_pending=0.5)
    deployed.world.ec2.terminate_instances(InstanceIds=[deployed.new[f"{NAME}-v1"]])
    late = deployed.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    ret = _launched(deployed)
    assert ret["result"] is True, ret["comment"]
    assert deployed.world.states(late) == {late: "running"}


@pytest.mark.parametrize("how", ["missing", "stopped", "twice", "other image", "extra"])
def test_launched_records_nothing_that_is_half_launched(deployed, how):
    ec2, id_ = deployed.world.ec2, deployed.new[f"{NAME}-v1"]
    if how in ("missing", "other image"):
        ec2.terminate_instances(InstanceIds=[id_])
    if how == "stopped":
        ec2.stop_instances(InstanceIds=[id_])
    if how == "twice":
        deployed.world.launch(f"{NAME}-v1", purpose=PURPOSE)
    if how == "other image":
        deployed.world.launch(
            f"{NAME}-v1", purpose=PURPOSE, image=deployed.world.first_image_once()
        )
    if how == "extra":
        deployed.world.launch("edx-mitx-qa-next-residential-live-7-v1", purpose=PURPOSE)
    said = {
        "missing": f"{NAME}-v1 does not exist",
        "stopped": f"{NAME}-v1 ({id_}) is stopped",
        "twice": "the same name is borne by",
        "other image": "not from this run's ami-",
        "extra": "not in settings",
    }
    ret = _launched(deployed)
    assert ret["result"] is False
    assert said[how] in ret["comment"]
    assert deployed.modules["mitx_run.record.pinned"]("new_fleet") is None


def _exchange(deployed):
    """One that is lost after it was recorded, and launched anew."""
    assert _launched(deployed)["result"] is True
    deployed.world.ec2.terminate_instances(InstanceIds=[deployed.new[f"{NAME}-v1"]])
    return deployed.world.launch(f"{NAME}-v1", purpose=PURPOSE)


def test_an_instance_that_is_lost_before_the_window_is_replaced_in_the_record(deployed):
    replacement = _exchange(deployed)
    # A close that was refused has acted on nothing.
    deployed.modules["mitx_run.events.write"]("phase", phase="close", status="failed")
    ret = _launched(deployed)
    assert ret["result"] is True
    assert ret["changes"]["new_fleet"] == {
        "old": [f"{NAME}-v1 ({deployed.new[f'{NAME}-v1']})"],
        "new": [f"{NAME}-v1 ({replacement})"],
    }
    assert replacement in {
        one["id"] for one in deployed.modules["mitx_run.record.pinned"]("new_fleet")
    }


def test_in_the_window_nothing_else_than_what_was_recorded_is_ours(deployed):
    _exchange(deployed)
    deployed.modules["mitx_run.events.write"]("phase", phase="stop", status="started")
    ret = _launched(deployed)
    assert ret["result"] is False
    assert f"{NAME}-v1 ({deployed.new[f'{NAME}-v1']}) was terminated" in ret["comment"]


# ---- what has become of both, when the window begins ----


@pytest.fixture
def recorded(deployed):
    """Both fleets recorded, as the window finds them."""
    assert deployed.states["mitx_fleet.recorded"]("old fleet", fleet="old")["result"] is True
    assert _launched(deployed)["result"] is True
    assert deployed.states["mitx_fleet.unchanged"]("u")["result"] is True
    return deployed


def test_a_colleagues_host_of_the_same_purpose_is_stopped_and_never_started_or_retired(
    deployed,
):
    """Koa v3 beside Juniper v3: of the same name, on the same databases."""
    worker = f"edx-worker-mitx-qa-{PURPOSE}-7-v3"
    koa = {
        deployed.world.launch(f"{NAME}-v3", "edx", PURPOSE, "koa", 3),
        deployed.world.launch(worker, "edx-worker", PURPOSE, "koa", 3),
    }
    ret = deployed.states["mitx_fleet.recorded"]("old fleet", fleet="old")
    assert ret["result"] is True
    assert "neither started again nor retired" in ret["comment"]
    fleet = {
        one["id"]: one["serves"] for one in deployed.modules["mitx_fleet.fleets.recorded"]("old")
    }
    assert {fleet[id_] for id_ in koa} == {False}
    assert {serves for id_, serves in fleet.items() if id_ not in koa} == {True}


def test_a_host_that_was_added_since_stops_the_window_until_somebody_says_whose_it_is(recorded):
    added = recorded.world.launch(
        f"edx-worker-mitx-qa-{PURPOSE}-9-v3", "edx-worker", PURPOSE, "juniper", 3
    )
    ret = recorded.states["mitx_fleet.unchanged"]("u")
    assert ret["result"] is False
    assert f"({added}) runs, and is of neither fleet" in ret["comment"]
    assert "pillar='{mitx: {adopt: True}}'" in ret["comment"]
    assert recorded.states["mitx_fleet.unchanged"]("u", adopt=True)["result"] is True
    assert added in {one["id"] for one in recorded.modules["mitx_fleet.fleets.recorded"]("old")}
    assert recorded.states["mitx_fleet.unchanged"]("u")["result"] is True


def test_a_new_instance_that_is_lost_stops_the_window_before_the_site_is_closed(recorded):
    recorded.world.ec2.terminate_instances(InstanceIds=[recorded.new[f"{NAME}-v1"]])
    ret = recorded.states["mitx_fleet.unchanged"]("u")
    assert ret["result"] is False
    assert (
        f"{NAME}-v1 ({recorded.new[f'{NAME}-v1']}) of the new fleet was terminated"
        in ret["comment"]
    )


def test_dry_runs_before_anything_is_built_say_what_would_be(run, mitx):
    dry = mitx(test=True, **QUICK)
    assert dry.states["mitx_fleet.images_available"]("images")["result"] is None
    ret = dry.states["mitx_fleet.launched"]("new fleet")
    assert ret["result"] is None
    assert f"{NAME}-v1" in ret["changes"]["launched"]
    assert dry.states["mitx_fleet.recorded"]("current", fleet="old")["result"] is None
    assert run.world.writes() == []


# ---- images ----


def _images(run):
    return run.states["mitx_fleet.images_available"]("images", release=1)


def test_images_are_waited_for_by_name_and_recorded(run):
    ids = run.world.build(1, pending=0.5)
    ret = _images(run)
    assert ret["result"] is True, ret["comment"]
    assert run.modules["mitx_run.record.pinned"]("images") == ids
    assert _images(run)["changes"] == {}


def test_both_images_cost_one_call_a_poll(run, aws):
    run.world.build(1)
    aws.settings(ami_pending=0)
    run.world.ec2.describe_images(Owners=["self"])
    aws.clear_calls()
    assert _images(run)["result"] is True
    assert run.world.calls() == ["describe_images"]


def test_an_image_that_failed_is_final(run, aws):
    aws.fault(
        service="ec2", operation="create_image", agent="sandbox-internal", outcome="failed", times=1
    )
    run.world.build(1)
    ret = _images(run)
    assert ret["result"] is False
    assert "is failed: it will never be available" in ret["comment"]
    assert run.modules["mitx_run.record.pinned"]("images") is None


def test_an_image_that_stays_pending_ends_at_the_deadline(run, mitx):
    run.world.build(1, pending=600)
    impatient = mitx(**{**QUICK, "images": {"timeout": 0.3, "interval": 0.05}})
    ret = _images(impatient)
    assert ret["result"] is False
    assert "last state: edx pending, edx-worker pending" in ret["comment"]


def test_two_images_of_a_name_are_no_image(run, mitx):
    run.world.build(1)
    name = run.settings["amis"]["edx"].format(release=1)
    twin = run.world.ec2.register_image(Name=name, RootDeviceName="/dev/sda1")["ImageId"]
    ret = _images(run)
    assert ret["result"] is False
    assert f"2 images bear the name {name}" in ret["comment"]
    assert twin in ret["comment"]


def test_images_survive_throttling_while_they_are_waited_for(run, aws):
    ids = run.world.build(1, pending=0.5)
    aws.fault(service="ec2", operation="describe_images", error="RequestLimitExceeded", times=3)
    assert _images(run)["result"] is True
    assert run.modules["mitx_run.record.pinned"]("images") == ids


def test_recorded_upgrade_is_what_it_says(mitx, aws):
    """The starting point of the other tests: both fleets recorded, and different."""
    run = recorded_upgrade(mitx, aws)
    old, new = (run.modules["mitx_fleet.fleets.recorded"](which) for which in ("old", "new"))
    assert (len(old), len(new)) == (5, 5)
    assert not _ids(old) & _ids(new)
