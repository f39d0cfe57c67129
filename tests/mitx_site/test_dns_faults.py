"""
The swap of the public names when AWS or the network does not play along: each fault has its own
right ending.
"""

import pytest

from mitx_site import dns

pytest_plugins = ["tests.support.maintenance"]

CHANGE, GET = "route53.change_resource_record_sets", "route53.get_change"
LMS = "lms-next-qa.mitx.mit.edu"


@pytest.fixture
def impatient(load):
    """A loader whose operator waits for half a second, not for five minutes."""
    return lambda **more: load(dns={"timeout": 0.5, **more})


def test_throttling_beyond_retries_is_outlasted(site, load):
    # botocore gives up after two tries here; the swap goes on asking until dns.timeout.
    site.aws.fault(
        service="route53",
        operation="change_resource_record_sets",
        error="Throttling",
        status=400,
        times=3,
    )
    ret = load().pointed("maintenance")
    assert ret["result"] is True, ret
    assert site.targets() == {site.domain_name}


@pytest.mark.parametrize("code", ["Throttling", "PriorRequestNotComplete"])
def test_throttling_for_ever_ends_with_nothing_changed(site, impatient, code):
    site.aws.fault(
        service="route53",
        operation="change_resource_record_sets",
        error=code,
        status=400,
        times=None,
    )
    before = site.records()

    ret = impatient().pointed("maintenance")

    assert ret["result"] is False
    assert code in ret["comment"]
    assert "timed out after 0.5 s" in ret["comment"]
    assert ret["changes"] == {}
    assert site.records() == before


def test_one_bad_name_in_the_batch_changes_no_record(site, load):
    mitx = load()
    last = list(site.records())[-1]
    real = dns._record_set
    mitx.modules["mitx_site.dns._record_set"] = lambda name, *rest: real(
        "lms.example.edu" if name == last else name, *rest
    )
    before = site.records()

    ret = mitx.pointed("maintenance")

    assert ret["result"] is False
    assert "InvalidChangeBatch" in ret["comment"]
    assert "lms.example.edu" in ret["comment"]
    assert ret["changes"] == {}
    assert site.records() == before


def test_a_connection_dropped_after_the_change_is_mended_at_once(site, load):
    site.aws.fault(
        service="route53", operation="change_resource_record_sets", reset="after", times=1
    )
    ret = load().pointed("maintenance")
    assert ret["result"] is True, ret
    assert site.targets() == {site.domain_name}


def test_after_a_connection_dropped_for_good_the_same_command_converges(site, load, impatient):
    site.aws.fault(
        service="route53", operation="change_resource_record_sets", reset="after", times=None
    )
    first = impatient().pointed("maintenance")
    assert first["result"] is False
    assert "not known whether the change was made" in first["comment"]
    site.aws.clear_faults()
    site.aws.clear_calls()

    mitx = load()
    second = mitx.pointed("maintenance")

    assert second["result"] is True, second
    assert site.targets() == {site.domain_name}
    assert site.writes() == []
    # It had been applied: the public is waited for from then on, not from now.
    [(_, not_before)] = mitx.public.asked
    assert 50 < not_before < 60


@pytest.mark.parametrize(
    ("operation", "unknown"),
    [("list_resource_record_sets", False), ("change_resource_record_sets", True)],
)
def test_an_answer_that_cannot_be_read_is_told_in_a_line(site, load, operation, unknown):
    """What a proxy sends in AWS's place: botocore quotes all of it."""
    site.aws.fault(service="route53", operation=operation, rewrite={"</": "<"}, times=None)
    ret = load().pointed("maintenance")
    assert ret["result"] is False
    assert f"route53.{operation}" in ret["comment"]
    assert "Unable to parse response" in ret["comment"]
    assert "<?xml" not in ret["comment"]
    assert ("not known whether the change was made" in ret["comment"]) is unknown
    site.aws.clear_faults()
    site.aws.clear_calls()
    assert load().pointed("maintenance")["result"] is True
    # It had been made.
    assert len(site.writes()) == (0 if unknown else 1)


def test_pending_for_ever_ends_at_the_deadline_with_the_state_last_seen(site, impatient):
    site.aws.fault(service="route53", operation="change_resource_record_sets", outcome="pending")

    mitx = impatient()
    ret = mitx.pointed("maintenance")

    assert ret["result"] is False
    assert "last state: PENDING" in ret["comment"]
    assert "the same command goes on waiting" in ret["comment"].lower()
    assert set(ret["changes"]) == set(site.names)
    assert mitx.public.asked == []


def test_after_a_pending_change_the_same_command_waits_for_that_very_change(site, load, impatient):
    fault = site.aws.fault(
        service="route53", operation="change_resource_record_sets", outcome="pending"
    )
    impatient().pointed("maintenance")
    site.aws.clear_calls()

    still = impatient().pointed("maintenance")
    assert still["result"] is False
    assert "PENDING" in still["comment"]

    site.aws.clear_faults(fault["id"])
    ret = load().pointed("maintenance")
    assert (ret["result"], ret["changes"]) == (True, {}), ret
    assert site.writes() == []
    assert GET in site.calls()


def test_a_403_with_an_empty_code_is_told_as_missing_permission(site, load):
    site.aws.fault(
        service="route53", operation="change_resource_record_sets", error="", status=403, times=None
    )
    before, mitx = site.records(), load()

    ret = mitx.pointed("maintenance")

    assert ret["result"] is False
    assert "403" in ret["comment"]
    assert "credentials do not allow it" in ret["comment"]
    assert ret["changes"] == {}
    assert site.records() == before
    assert site.writes() == [CHANGE]
    assert mitx.modules["mitx_run.events.read"]("dns")[-1]["stage"] == "refused"


def test_a_throttled_list_says_so_and_changes_nothing(site, load):
    site.aws.fault(
        service="route53",
        operation="list_resource_record_sets",
        error="Throttling",
        status=400,
        times=None,
    )
    ret = load().pointed("maintenance")
    assert ret["result"] is False
    assert "Throttling" in ret["comment"]
    assert site.writes() == []


def test_throttled_polls_do_not_fail_a_change_that_was_made(site, load):
    site.aws.fault(
        service="route53", operation="get_change", error="Throttling", status=400, times=3
    )
    ret = load().pointed("maintenance")
    assert ret["result"] is True, ret


def test_a_reset_before_the_change_is_sent_again(site, load):
    site.aws.fault(
        service="route53", operation="change_resource_record_sets", reset="before", times=3
    )
    ret = load().pointed("maintenance")
    assert ret["result"] is True, ret
    assert site.targets() == {site.domain_name}


def test_an_earlier_swap_in_the_other_direction_is_no_unfinished_one(site, load):
    load().pointed("maintenance")
    load().pointed("site")
    mitx = load()
    assert mitx.pointed("site")["result"] is True
    assert mitx.public.asked == [("site", 0)]


def test_every_change_is_in_the_journal_before_and_after(site, load):
    mitx = load()
    mitx.pointed("maintenance")
    lines = mitx.modules["mitx_run.events.read"]("dns")
    assert [line["stage"] for line in lines] == ["sending", "sent", "insync", "shown"]
    assert lines[0]["changes"][LMS]["new"] == f"CNAME {site.domain_name} TTL 60"
    gateways = mitx.modules["mitx_run.events.read"]("aws")
    assert [(line["operation"], line["stage"]) for line in gateways] == [
        ("change_resource_record_sets", "before"),
        ("change_resource_record_sets", "after"),
    ]
