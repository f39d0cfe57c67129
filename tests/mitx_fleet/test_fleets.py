"""
The pure parts of fleets and swaps: what is asked of AWS, what is made of its answers, and every
branch between.
"""

import itertools

import pytest
from salt.exceptions import CommandExecutionError

from mitx_run import errors
from tests.support.rooms import Room, a_run, stand_in

HEALTHY = {"State": "InService", "ReasonCode": "N/A", "Description": "N/A"}


class Aws:
    """
    Stands in for mitx_run.aws.call: keeps what was asked, answers in turn what each operation was
    given.
    """

    def __init__(self):
        self.asked = []
        self.answers = {}

    def __call__(self, service, operation, absent=(), **parameters):
        self.asked.append((service, operation, parameters))
        answer = next(self.answers[operation])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def will(self, operation, *answers, then=None):
        self.answers[operation] = itertools.chain(
            answers, itertools.repeat(then) if then is not None else ()
        )


def failure(code="", transient=False):
    kind = errors.AWSTransient if transient else errors.AWSError
    return kind(f"AWS says {code or 'nothing'}", code)


@pytest.fixture
def settings():
    return {
        "environment": "mitx-qa",
        "codename": "koa",
        "vpc_name": "MITx QA",
        "purposes": ["live"],
        "elbs": [{"name": "edx-live", "purpose": "live", "domains": ["lms"]}],
        "elb": {"polls": 3, "interval": 0, "timeout": None, "drain_timeout": None},
    }


@pytest.fixture
def aws():
    return Aws()


@pytest.fixture(autouse=True)
def _world(aws, monkeypatch):
    stand_in(monkeypatch, "mitx_run.aws.call", aws)
    stand_in(monkeypatch, "mitx_run.record.pinned", lambda name: None)
    stand_in(monkeypatch, "mitx_run.events.write", lambda event, **fields: None)


@pytest.fixture
def fleet(settings):
    return Room("mitx_fleet.fleets", a_run(settings))


@pytest.fixture
def instances(settings):
    return Room("mitx_fleet.instances", a_run(settings))


@pytest.fixture
def elb(settings, monkeypatch):
    stand_in(monkeypatch, "mitx_fleet.instances.find", lambda ids: [{"id": id_} for id_ in ids])
    return Room("mitx_fleet.elb", a_run(settings))


@pytest.fixture
def swap(settings):
    return Room("mitx_fleet.swap", a_run(settings))


def raw(id_="i-1", state="running", **tags):
    tags = {
        "Name": "edx-1-v1",
        "role": "edx",
        "purpose": "live",
        "edx_codename": "koa",
        "release-version": "1",
        **tags,
    }
    return {
        "InstanceId": id_,
        "State": {"Name": state},
        "PrivateIpAddress": "10.7.0.4",
        "ImageId": "ami-1",
        "VpcId": "vpc-1",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items() if value is not None],
    }


def reservations(*instances):
    return {"Reservations": [{"Instances": [one]} for one in instances]}


def test_an_environment_is_one_question_for_what_still_exists(instances, aws, settings):
    aws.will("describe_instances", reservations(raw("i-2", Name="b"), raw("i-1", Name="a")))
    assert [one["id"] for one in instances.instances(settings)] == ["i-1", "i-2"]
    filters = {one["Name"]: one["Values"] for one in aws.asked[0][2]["Filters"]}
    assert filters == {
        "tag:environment": ["mitx-qa"],
        "instance-state-name": ["pending", "running", "stopping", "stopped"],
    }


@pytest.mark.parametrize(
    ("tag", "number"),
    [("1", 1), ("v12", 12), ("33", 33), (None, None), ("", None), ("1.5", None), ("first", None)],
)
def test_a_release_is_a_number_or_nothing(instances, aws, settings, tag, number):
    aws.will("describe_instances", reservations(raw(**{"release-version": tag})))
    assert instances.instances(settings)[0]["release"] == number


def test_an_instance_without_tags_is_an_instance(instances, aws, settings):
    """Salt Cloud tags after it has launched: killed in between, it leaves one that has no name."""
    aws.will("describe_instances", reservations({**raw(), "Tags": []}))
    found = instances.instances(settings)[0]
    assert (found["id"], found["name"], found["role"], found["elbs"]) == ("i-1", None, None, None)
    assert instances.label(found) == "an unnamed instance (i-1)"


def test_many_names_are_asked_for_in_filters_that_aws_takes(instances, aws):
    aws.will("describe_instances", then=reservations())
    instances.find(names=[f"edx-{number}" for number in range(450)])
    sizes = [len(parameters["Filters"][0]["Values"]) for _, _, parameters in aws.asked]
    assert sizes == [200, 200, 50]


def test_nobody_asked_for_is_nobody_found(instances, aws):
    assert instances.find(ids=[]) == []
    assert instances.find(names=[]) == []
    assert aws.asked == []


def an(id_="i-1", **fields):
    known = {
        "id": id_,
        "name": f"edx-{id_}",
        "role": "edx",
        "purpose": "live",
        "codename": "koa",
        "release": 1,
    }
    return {**known, "environment": "mitx-qa", "state": "running", "elbs": [], **fields}


def test_the_same_fleet_does_not_differ(instances):
    assert instances.compare([an()], [an(), an("i-2")]) == {
        "missing": [],
        "changed": [],
        "stopped": [],
    }
    assert instances.drift([an()], [an()]) == []


def test_every_way_in_which_a_fleet_differs_is_told(instances):
    recorded = [an("i-1"), an("i-2"), an("i-3")]
    actual = [an("i-2", name="renamed", release=2), an("i-3", state="stopped")]
    assert instances.drift(recorded, actual) == [
        "edx-i-1 (i-1) was terminated",
        "i-2: its name was edx-i-2, is renamed",
        "i-2: its release was 1, is 2",
        "edx-i-3 (i-3) is stopped",
    ]


def test_there_are_two_fleets(fleet):
    with pytest.raises(CommandExecutionError, match="an old and a new fleet, not 'newer'"):
        fleet.recorded("newer")


def test_before_it_is_recorded_a_dry_run_takes_the_old_fleet_for_what_serves(settings, monkeypatch):
    serving = [{"id": "i-1"}]
    stand_in(monkeypatch, "mitx_fleet.fleets.current", lambda release=None: serving)
    with pytest.raises(CommandExecutionError, match="has recorded no old fleet yet"):
        Room("mitx_fleet.fleets", a_run(settings)).recorded("old")
    dry = Room("mitx_fleet.fleets", a_run(settings, test=True))
    assert dry.recorded("old") == serving
    with pytest.raises(CommandExecutionError, match="has recorded no new fleet yet"):
        dry.recorded("new")


# ---- load balancers ----


def health(**states):
    return {
        "InstanceStates": [
            {"InstanceId": id_.replace("_", "-"), **state} for id_, state in states.items()
        ]
    }


def test_a_missing_answer_is_an_error_that_may_pass(elb, aws):
    aws.will("describe_instance_health", then=health(i_1=HEALTHY))
    with pytest.raises(errors.Transient, match="edx-live does not say how i-2 is"):
        elb.health("edx-live", ["i-1", "i-2"])
    assert elb.health("edx-live", ["i-1"]) == {
        "i-1": {"state": "InService", "reason": "N/A", "description": "N/A"}
    }


def test_in_service_counts_looks_in_a_row_for_each_instance(elb, aws):
    down = {**HEALTHY, "State": "OutOfService"}
    aws.will(
        "describe_instance_health",
        health(i_1=HEALTHY, i_2=HEALTHY),
        health(i_1=down, i_2=HEALTHY),
        health(i_1=HEALTHY, i_2=HEALTHY),
        failure(transient=True),
        health(i_1=HEALTHY),
        then=health(i_1=HEALTHY, i_2=HEALTHY),
    )
    elb.wait_in_service({"edx-live": ["i-1", "i-2"]}, 60)
    assert len(aws.asked) == 5 + 3


def test_an_error_that_will_not_pass_ends_the_waiting_at_once(elb, aws):
    aws.will("describe_instance_health", then=failure("AccessDenied"))
    with pytest.raises(CommandExecutionError, match="AccessDenied"):
        elb.wait_in_service({"edx-live": ["i-1"]}, 60)
    assert len(aws.asked) == 1


def test_the_deadline_says_of_each_what_was_last_said(elb, aws):
    why = {"State": "OutOfService", "ReasonCode": "Instance", "Description": "Instance has failed"}
    aws.will("describe_instance_health", then=health(i_1=why, i_2=HEALTHY))
    with pytest.raises(CommandExecutionError) as error:
        elb.wait_in_service({"edx-live": ["i-1", "i-2"]}, 0, names={"i-1": "edx-1-v1"})
    assert "edx-1-v1 (i-1) in edx-live: OutOfService, Instance has failed" in str(error.value)
    assert "i-2 (i-2) in edx-live: InService 1×" in str(error.value)


def test_a_deregistration_goes_on_without_whom_aws_does_not_know_any_more(elb, aws, monkeypatch):
    aws.will(
        "deregister_instances_from_load_balancer", failure("InvalidInstance"), {"Instances": []}
    )
    aws.will("describe_load_balancers", described("i-1", "i-2"))
    stand_in(monkeypatch, "mitx_fleet.instances.find", lambda ids: [{"id": "i-2"}])
    elb.deregister("edx-live", ["i-1", "i-2"])
    asked = [
        parameters["Instances"]
        for _, operation, parameters in aws.asked
        if operation.startswith("deregister")
    ]
    assert asked == [[{"InstanceId": "i-1"}, {"InstanceId": "i-2"}], [{"InstanceId": "i-2"}]]


@pytest.mark.parametrize("code", ["InvalidInstance", "AccessDenied"])
def test_a_deregistration_that_cannot_be_made_is_an_error(elb, aws, code):
    aws.will("deregister_instances_from_load_balancer", failure(code))
    aws.will("describe_load_balancers", described("i-1"))
    with pytest.raises(CommandExecutionError, match=code):
        elb.deregister("edx-live", ["i-1"])


def test_a_registration_that_left_one_out_is_an_error(elb, aws):
    aws.will("register_instances_with_load_balancer", {"Instances": [{"InstanceId": "i-1"}]})
    with pytest.raises(CommandExecutionError, match="edx-live did not register i-2"):
        elb.register("edx-live", ["i-1", "i-2"])


def described(*ids, name="edx-live", **more):
    return {
        "LoadBalancerDescriptions": [
            {"LoadBalancerName": name, "Instances": [{"InstanceId": id_} for id_ in ids], **more}
        ]
    }


OUT = {
    "State": "OutOfService",
    "Description": "Instance is not currently registered with the LoadBalancer.",
}
DRAINING = {**HEALTHY, "Description": "Instance deregistration currently in progress."}


@pytest.mark.parametrize(
    "not_yet",
    [
        DRAINING,
        HEALTHY,
        {"State": "OutOfService", "Description": "Instance is in stopped state."},
        {"State": "Unknown", "Description": "A transient error occurred."},
    ],
)
def test_only_not_registered_is_drained(elb, aws, settings, not_yet):
    aws.will("describe_instance_health", health(i_1=not_yet), health(i_1=not_yet), health(i_1=OUT))
    aws.will("describe_load_balancers", described())
    assert elb.wait_drained({"edx-live": ["i-1"]}, settings, {"edx-live": 60}) == {}
    assert [operation for _, operation, _ in aws.asked].count("describe_instance_health") == 3


def test_drained_is_not_out_while_it_is_still_a_member(elb, aws, settings, monkeypatch):
    aws.will("describe_instance_health", then=health(i_1=OUT))
    aws.will("describe_load_balancers", described("i-1"), described("i-1"), described())
    settings["elb"]["interval"] = 0.01
    assert elb.wait_drained({"edx-live": ["i-1"]}, settings, {"edx-live": 60}) == {}
    assert [operation for _, operation, _ in aws.asked].count("describe_load_balancers") == 3


def test_the_drain_timeout_is_the_load_balancers_own(elb, aws, settings, monkeypatch):
    on, off = (
        {"LoadBalancerAttributes": {"ConnectionDraining": {"Enabled": e, "Timeout": 300}}}
        for e in (True, False)
    )
    aws.will("describe_load_balancer_attributes", on, off)
    assert elb.drain_timeout("edx-live", settings) == 300
    assert elb.drain_timeout("edx-live", settings) == 0
    settings["elb"]["drain_timeout"] = 7
    assert elb.drain_timeout("edx-live", settings) == 7
    assert len(aws.asked) == 2


def test_tags_of_many_load_balancers_are_asked_for_as_aws_allows(elb, aws, settings, monkeypatch):
    names = [f"edx-{number}-mitx-qa" for number in range(45)]
    settings["elbs"] = [{"name": name, "purpose": "live"} for name in names]
    aws.will(
        "describe_load_balancers",
        {"LoadBalancerDescriptions": [{"LoadBalancerName": name} for name in names]},
    )
    aws.will("describe_tags", then={"TagDescriptions": []})
    assert len(elb.describe(settings)) == 45
    assert [
        len(p["LoadBalancerNames"]) for _, operation, p in aws.asked if operation == "describe_tags"
    ] == [20, 20, 5]


def test_a_load_balancer_that_is_missing_does_not_hide_the_others(elb, aws, settings, monkeypatch):
    settings["elbs"].append({"name": "edx-studio", "purpose": "live"})
    aws.will("describe_load_balancers", None, described("i-1"))
    aws.will(
        "describe_tags",
        {
            "TagDescriptions": [
                {
                    "LoadBalancerName": "edx-live",
                    "Tags": [{"Key": "environment", "Value": "mitx-qa"}],
                }
            ]
        },
    )
    found = elb.describe(settings)
    assert found["edx-studio"] is None
    assert found["edx-live"]["members"] == ["i-1"]


# ---- the swap ----


def step(**fields):
    return {
        "members": ["i-1"],
        "wanted": ["i-2"],
        "register": ["i-2"],
        "deregister": ["i-1"],
        "unknown": [],
        "timeout": 60,
        "names": {"i-1": "old", "i-2": "new"},
        **fields,
    }


def test_what_is_meant_to_change_is_told_by_name(swap, monkeypatch):
    plan = {"edx-live": step(), "edx-studio": step(register=[], deregister=[])}
    assert swap.changes(plan) == {
        "edx-live": {"registered": ["new (i-2)"], "deregistered": ["old (i-1)"]}
    }
    assert swap.changes(plan, deregister=False) == {"edx-live": {"registered": ["new (i-2)"]}}


def test_what_was_done_is_what_aws_says_now(swap, monkeypatch):
    stand_in(monkeypatch, "mitx_fleet.elb.members", lambda names: {"edx-live": ["i-1", "i-2"]})
    assert swap.done({"edx-live": step()}) == {"edx-live": {"registered": ["new (i-2)"]}}


@pytest.mark.parametrize(
    ("check", "seconds"),
    [
        ({"Interval": 30, "HealthyThreshold": 3, "Timeout": 5}, 2 * 95 + 15),
        ({"Interval": 10, "HealthyThreshold": 10, "Timeout": 5}, 2 * 105 + 15),
        ({"Interval": 1, "HealthyThreshold": 2, "Timeout": 1}, 60),
    ],
)
def test_the_deadline_follows_from_the_health_check(swap, settings, check, seconds):
    settings["elb"]["interval"] = 5
    found = {"members": [], "health_check": check}
    made = swap._step(settings, settings["elbs"][0], found, ["i-2"], [], {})
    assert made["timeout"] == seconds


def test_a_load_balancer_is_never_left_empty(swap, settings, monkeypatch):
    found = {"members": ["i-1"], "health_check": {}}
    with pytest.raises(CommandExecutionError, match="it would serve nobody"):
        swap._step(settings, settings["elbs"][0], found, [], [], {})


def test_the_old_fleet_goes_back_to_where_it_was(swap, monkeypatch):
    fleet = [
        an("i-1", elbs=["edx-live"]),
        an("i-2", elbs=["edx-studio"]),
        an("i-3", role="edx-worker"),
    ]
    assert swap._goes_into({"name": "edx-studio", "purpose": "live"}, fleet, "old") == ["i-2"]
    assert swap._goes_into({"name": "edx-studio", "purpose": "live"}, fleet, "new") == [
        "i-1",
        "i-2",
    ]


def test_someone_elses_instance_is_of_neither_fleet(swap, settings, monkeypatch):
    found = {"members": ["i-1", "i-9"], "health_check": {}}
    made = swap._step(
        settings, settings["elbs"][0], found, ["i-2"], [an("i-1"), an("i-9", purpose="draft")], {}
    )
    assert made["unknown"] == ["i-9"]
