"""
The swap of the public names: what an operator is told, and what visitors are left with, however it
goes.
"""

import pytest
from salt.exceptions import CommandExecutionError

pytest_plugins = ["tests.support.maintenance"]

LIST, CHANGE, GET = (
    "route53.list_resource_record_sets",
    "route53.change_resource_record_sets",
    "route53.get_change",
)
DESCRIBE = "elb.describe_load_balancers"
LMS = "lms-next-qa.mitx.mit.edu"


def without_polls(calls):
    return [call for call in calls if call != GET]


def test_on_moves_all_names_in_three_calls_and_polls(site, load):
    ret = load().pointed("maintenance")

    assert ret["result"] is True, ret
    assert site.targets() == {site.domain_name}
    assert without_polls(site.calls()) == [LIST, CHANGE]
    assert GET in site.calls()
    assert set(ret["changes"]) == set(site.names)
    assert ret["changes"][LMS] == {
        "old": f"CNAME {site.elbs[site.names[LMS]]} TTL 60",
        "new": f"CNAME {site.domain_name} TTL 60",
    }


def test_off_brings_each_name_back_to_its_own_load_balancer(site, load):
    before = site.records()
    load().pointed("maintenance")
    site.aws.clear_calls()

    ret = load().pointed("site")

    assert ret["result"] is True, ret
    assert site.records() == before
    assert without_polls(site.calls()) == [LIST, DESCRIBE, CHANGE]


@pytest.mark.parametrize("to", ["maintenance", "site"])
def test_the_same_again_is_one_reading_call(site, load, to):
    mitx = load()
    mitx.pointed("maintenance")
    mitx.pointed(to)
    site.aws.clear_calls()

    ret = load().pointed(to)

    assert (ret["result"], ret["changes"]) == (True, {})
    assert site.calls() == [LIST]


def test_a_hundred_names_are_as_many_calls_as_six(site, load):
    domains = {f"x{number}": f"x{number}-qa.mitx.mit.edu" for number in range(94)}
    mitx = load()
    elb = site.names[LMS]
    extra = [
        {"name": name, "kind": kind, "purpose": "next-residential-live", "elb": elb}
        for kind, name in domains.items()
    ]
    for record in extra:
        site.names[record["name"]] = elb
        site.put(record["name"], site.elbs[elb])
    settings = {**mitx.settings, "records": mitx.settings["records"] + extra}
    site.aws.clear_calls()

    planned = mitx.modules["mitx_site.dns.plan"](settings, "maintenance")
    mitx.modules["mitx_site.dns.wait_insync"](
        settings, mitx.modules["mitx_site.dns.send"](settings, planned)
    )

    assert len(planned["changes"]) == 100
    assert site.targets() == {site.domain_name}
    assert without_polls(site.calls()) == [LIST, CHANGE]


@pytest.mark.parametrize("to", ["maintenance", "site"])
def test_a_dry_run_says_the_same_and_writes_nothing(site, load, to):
    if to == "site":
        load().pointed("maintenance")
    before = site.records()
    site.aws.clear_calls()

    dry = load(test=True)
    told = dry.pointed(to)
    assert told["result"] is None
    assert site.records() == before
    assert site.writes() == []
    assert dry.public.asked == []

    assert load().pointed(to)["changes"] == told["changes"]


def test_names_that_moved_already_are_not_reported_as_changes(site, load):
    site.put(LMS, site.domain_name)
    ret = load().pointed("maintenance")
    assert LMS not in ret["changes"]
    assert len(ret["changes"]) == len(site.names) - 1
    assert site.targets() == {site.domain_name}


def test_upper_case_and_trailing_dots_mean_the_same(site, load):
    for name, elb in site.names.items():
        site.put(name, site.elbs[elb].upper() + ".")
    assert load().pointed("site")["changes"] == {}
    site.put(LMS, f"{site.domain_name.upper()}.")
    records = load().modules["mitx_site.dns.records"]()
    assert records[LMS]["shows"] == "maintenance"
    assert records[LMS]["problem"] is None


@pytest.mark.parametrize(
    "target",
    ["dualstack.{}", "internal-{}", "dualstack.internal-{}"],
)
def test_the_other_names_of_a_load_balancer_are_known(site, load, target):
    site.put(LMS, target.format(site.elbs[site.names[LMS]]))
    assert load().modules["mitx_site.dns.records"]()[LMS]["shows"] == "site"


def test_a_recreated_load_balancer_is_pointed_to_by_its_present_name(site, load):
    elb = site.names[LMS].lower()
    site.put(LMS, f"{elb}-1234567890.us-east-1.elb.amazonaws.com")
    other = next(name for name in site.names if name != LMS)
    site.put(other, site.domain_name)

    ret = load().pointed("site")

    assert ret["result"] is True, ret
    assert site.records()[LMS][0] == site.elbs[site.names[LMS]]
    assert set(ret["changes"]) == {LMS, other}


FOREIGN = {
    "another site": ({"target": "www.example.edu"}, "www.example.edu"),
    "an address": ({"target": "192.0.2.7", "kind": "A"}, "of type A: 192.0.2.7"),
    "a text before the load balancer": (
        {"target": "evil-edx-next-residential-live-mitx-qa.us-east-1.elb.amazonaws.com"},
        "evil-edx",
    ),
    "a load balancer elsewhere": (
        {"target": "edx-next-residential-live-mitx-qa-1.eu-west-1.elb.amazonaws.com"},
        "eu-west-1",
    ),
    "another purpose's load balancer": (
        {"target": "edx-current-residential-live-mit-1.us-east-1.elb.amazonaws.com"},
        "edx-current-residential-live-mit-1",
    ),
    "a domain that only begins like the distribution": (
        {"target": "{domain_name}.example.edu"},
        ".example.edu",
    ),
    "a weighted record": (
        {"target": "{domain_name}", "SetIdentifier": "blue", "Weight": 10},
        "routing policy",
    ),
    "an alias": (
        {
            "target": "",
            "kind": "A",
            "AliasTarget": {
                "HostedZoneId": "Z2FDTNDATAQYW2",
                "DNSName": "d1.cloudfront.net.",
                "EvaluateTargetHealth": False,
            },
        },
        "alias of type A to d1.cloudfront.net.",
    ),
}


@pytest.mark.parametrize(("record", "said"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("to", ["maintenance", "site"])
def test_a_foreign_record_is_left_alone_and_named(site, load, record, said, to):
    record = {**record, "target": record["target"].format(domain_name=site.domain_name)}
    site.put(LMS, **record)
    before = site.sets()
    site.aws.clear_calls()

    ret = load().pointed(to)

    assert ret["result"] is False
    assert ret["changes"] == {}
    assert LMS in ret["comment"]
    assert said in ret["comment"]
    assert "No record was changed" in ret["comment"]
    assert site.sets() == before
    assert site.writes() == []


def test_every_foreign_record_is_named_at_once(site, load):
    names = list(site.names)
    site.put(names[0], "www.example.edu")
    site.put(names[1], "www.example.com")
    site.drop(names[2])
    comment = load().pointed("maintenance")["comment"]
    assert "www.example.edu" in comment
    assert "www.example.com" in comment
    assert f"{names[2]} has no record" in comment


def test_a_ttl_of_3600_is_refused_and_says_how_to_lower_it(site, load):
    site.put(LMS, site.elbs[site.names[LMS]], ttl=3600)
    site.aws.clear_calls()

    ret = load().pointed("maintenance")

    assert ret["result"] is False
    assert f"{LMS} has a TTL of 3600, above the 60 of dns.ttl" in ret["comment"]
    assert "salt-run mitx.announce" in ret["comment"]
    assert site.writes() == []


def test_announcing_lowers_a_ttl_of_3600_and_nothing_else(site, load):
    before = site.records()
    site.put(LMS, site.elbs[site.names[LMS]], ttl=3600)
    site.aws.clear_calls()

    dry = load(test=True).states["mitx_site.ttl_lowered"]("ttl")
    assert dry["result"] is None
    assert list(dry["changes"]) == [LMS]
    assert site.writes() == []

    ret = load().states["mitx_site.ttl_lowered"]("ttl")
    assert ret["result"] is True
    assert ret["changes"] == dry["changes"]
    assert site.records() == before
    assert site.writes() == [CHANGE]
    assert load().states["mitx_site.ttl_lowered"]("ttl")["changes"] == {}


def test_lowering_a_ttl_leaves_foreign_records_alone(site, load):
    site.put(LMS, "www.example.edu", ttl=3600)
    ret = load().states["mitx_site.ttl_lowered"]("ttl")
    assert ret["result"] is False
    assert site.records()[LMS] == ("www.example.edu", 3600)


def test_nothing_is_believed_before_the_old_ttl_is_over(site, load):
    mitx = load()
    mitx.pointed("maintenance")
    [(expect, not_before)] = mitx.public.asked
    assert expect == "maintenance"
    assert 50 < not_before <= 60


def test_a_public_that_does_not_follow_is_a_failure_that_keeps_its_changes(site, load):
    mitx = load()
    mitx.public.problem = CommandExecutionError(f"{LMS}: 192.0.2.53 still answers the old record")

    ret = mitx.pointed("maintenance")

    assert ret["result"] is False
    assert "192.0.2.53 still answers the old record" in ret["comment"]
    # They were applied: an operator who reads "nothing changed" would believe that visitors see the
    # site.
    assert set(ret["changes"]) == set(site.names)


def test_off_is_refused_while_no_instance_is_healthy(site, load):
    load().pointed("maintenance")
    site.aws.clear_calls()

    ret = load().pointed("site", guarded=True)

    assert ret["result"] is False
    assert "no instance is registered" in ret["comment"]
    assert LMS in ret["comment"]
    assert ret["changes"] == {}
    assert site.targets() == {site.domain_name}
    assert site.writes() == []


def test_off_is_done_when_every_load_balancer_has_a_healthy_instance(site, load):
    load().pointed("maintenance")
    mitx = load()
    mitx.modules["mitx_fleet.elb.health"] = lambda elb: {
        "i-1": {"state": "OutOfService", "reason": "Instance", "description": "sick"},
        "i-2": {"state": "InService", "reason": "N/A", "description": "N/A"},
    }
    ret = mitx.pointed("site", guarded=True)
    assert ret["result"] is True, ret
    assert site.targets() == set(site.elbs.values())


def test_off_names_a_load_balancer_that_is_gone(site, load):
    load().pointed("maintenance")
    gone = site.names[LMS]
    site.aws.client("elb").delete_load_balancer(LoadBalancerName=gone)
    ret = load().pointed("site")
    assert ret["result"] is False
    assert gone in ret["comment"]
    assert "No record was changed" in ret["comment"]
    assert site.targets() == {site.domain_name}


def test_status_tells_each_name_its_record_and_what_is_wrong(site, load):
    site.put(LMS, site.domain_name, ttl=3600)
    status = load().modules["mitx_site.dns.status"]()
    assert set(status) == set(site.names)
    assert status[LMS]["record"] == f"CNAME {site.domain_name} TTL 3600"
    assert status[LMS]["shows"] == "maintenance"
    assert "TTL of 3600" in status[LMS]["problem"]
    other = next(name for name in site.names if name != LMS)
    assert (status[other]["shows"], status[other]["problem"]) == ("site", None)
