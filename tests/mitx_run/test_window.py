"""
A window is announced to thousands of people: each way to get its time wrong must be caught before
that.
"""

import re

import pytest
from salt.exceptions import CommandExecutionError

from mitx_run import window as mitx_window
from mitx_site import mail

WINDOW = {"start": "2026-12-20 21:00", "timezone": "America/New_York", "hours": 4}
NOW = "2026-12-01T00:00:00Z"


@pytest.fixture
def window():
    return mitx_window


def settings(names=("lms.mitx.mit.edu", "studio.mitx.mit.edu", "staging.mitx.mit.edu"), **changes):
    return {
        "environment": "mitx-production",
        "window": {**WINDOW, **changes},
        "maintenance": {"name": "Residential MITx"},
        "records": [{"name": name} for name in names],
    }


def refused(window, **changes):
    with pytest.raises(CommandExecutionError) as caught:
        window.times({**WINDOW, **changes})
    return str(caught.value)


def test_the_window_of_the_pillar_example(window):
    times = window.times(WINDOW)
    assert times["start"] == "2026-12-20T21:00:00-05:00"
    assert times["start_utc"] == "2026-12-21T02:00:00Z"
    assert times["end_utc"] == "2026-12-21T06:00:00Z"
    assert times["start_text"] == "9:00 PM EST on Sunday, December 20, 2026"
    assert times["end_text"] == "1:00 AM EST on Monday, December 21, 2026"
    assert times["hours_text"] == "4 hours"


def test_working_out_the_times_twice_changes_nothing(window):
    once = window.times(WINDOW)
    assert window.times({**WINDOW, **once}) == once


@pytest.mark.parametrize(
    "start", ["2026-12-20T21:00-05:00", "2026-12-21T02:00:00Z", " 2026-12-20 21:00 "]
)
def test_other_ways_to_write_the_same_start(window, start):
    assert window.times({**WINDOW, "start": start})["start"] == "2026-12-20T21:00:00-05:00"


def test_the_3down_request_is_worded_as_in_the_runbook(window):
    assert (
        mail.request(settings())
        == "The Residential MITx system (lms.mitx.mit.edu, studio.mitx.mit.edu and"
        " staging.mitx.mit.edu) will be unavailable starting at 9:00 PM EST on Sunday, December"
        " 20, 2026 for an estimated 4 hours while we perform routine upgrades. If you have any"
        " questions please contact mitx-support@mit.edu"
    )


def test_the_overrun_notice_says_since_when_and_until_when(window):
    text = mail.request(settings(start="2099-12-20 21:00"), until="02:30")
    assert "unavailable since 9:00 PM EST on Sunday, December 20, 2099" in text
    assert "again at 2:30 AM EST on Monday, December 21, 2099" in text
    assert "lms.mitx.mit.edu, studio.mitx.mit.edu and staging.mitx.mit.edu" in text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("we move to Koa", "while we move to Koa."),
        ("the upgrade to Koa", "while we perform the upgrade to Koa."),
        ("two\nlines\x00", "while we perform two lines."),
        (None, "while we perform routine upgrades."),
    ],
)
def test_the_reason_reads_as_a_sentence(window, reason, said):
    assert said in mail.request(settings(reason=reason))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timezone": None}, "timezone: missing"),
        ({"timezone": "America/Boston"}, "timezone: 'America/Boston' is not known"),
        ({"timezone": "America"}, "timezone: 'America' is not known"),
        ({"timezone": "../../etc/passwd"}, "is not known"),
        ({"hours": 0}, "hours: must be a number above 0"),
        ({"hours": None}, "hours: must be a number above 0"),
        ({"hours": -4}, "hours: must be a number above 0"),
        ({"hours": "four"}, "hours: must be a number above 0"),
        ({"hours": True}, "hours: must be a number above 0"),
        ({"hours": float("nan")}, "hours: must be a number above 0"),
        ({"hours": float("inf")}, "hours: must be a number above 0"),
        ({"hours": 400}, "up to 168"),
        ({"start": None}, "start: must be a date and time"),
        ({"start": "2026-12-20"}, "start: must be a date and time"),
        ({"start": "21:00"}, "start: must be a date and time"),
        ({"start": 1260}, "start: must be a date and time"),
        ({"start": "2026-12-20 24:00"}, "start: must be a date and time"),
        ({"start": "2026-13-20 21:00"}, "start: 2026-13-20 21:00: "),
        ({"start": "tomorrow at nine"}, "start: must be a date and time"),
        ({"start": "2026-12-20 9:00 PM"}, "start: must be a date and time"),
    ],
)
def test_what_is_no_window_is_refused(window, changes, said):
    assert said in refused(window, **changes)


def test_all_problems_come_in_one_error(window):
    message = refused(window, start="soon", timezone=None, hours=0)
    assert "start:" in message
    assert "timezone:" in message
    assert "hours:" in message


def test_a_past_window_is_refused_until_it_is_over_and_not_before(window):
    assert window.times(WINDOW, now="2026-12-21T05:59:59Z")
    with pytest.raises(
        CommandExecutionError, match="this window is past, it ended at 1:00 AM EST on Monday"
    ):
        window.times(WINDOW, now="2026-12-21T06:00:00Z")


def test_nothing_to_announce_names_the_pillar_key(window):
    with pytest.raises(
        CommandExecutionError, match="mitx:environments:mitx-production:window has no start"
    ):
        window.upcoming(settings(start=None), now=NOW)
    assert window.upcoming(settings(), now=NOW)["start_utc"] == "2026-12-21T02:00:00Z"


def test_a_time_that_the_clocks_skip_is_refused(window):
    message = refused(window, start="2027-03-14 02:30")
    assert "skip this time of day" in message


def test_a_time_that_the_clocks_show_twice_must_say_which(window):
    message = refused(window, start="2026-11-01 01:30")
    assert "2026-11-01T01:30-04:00 or 2026-11-01T01:30-05:00" in message
    assert (
        window.times({**WINDOW, "start": "2026-11-01T01:30-04:00"})["start_utc"]
        == "2026-11-01T05:30:00Z"
    )
    second = window.times({**WINDOW, "start": "2026-11-01T01:30-05:00"})
    assert second["start_utc"] == "2026-11-01T06:30:00Z"
    assert window.times({**WINDOW, **second}) == second


def test_four_hours_are_four_hours_over_both_clock_changes(window):
    autumn = window.times({**WINDOW, "start": "2026-10-31 23:00"})
    assert (autumn["start_utc"], autumn["end_utc"]) == (
        "2026-11-01T03:00:00Z",
        "2026-11-01T07:00:00Z",
    )
    assert autumn["start_text"] == "11:00 PM EDT on Saturday, October 31, 2026"
    assert autumn["end_text"] == "2:00 AM EST on Sunday, November 1, 2026"
    spring = window.times({**WINDOW, "start": "2027-03-13 23:00"})
    assert (spring["start_utc"], spring["end_utc"]) == (
        "2027-03-14T04:00:00Z",
        "2027-03-14T08:00:00Z",
    )
    assert spring["end_text"] == "4:00 AM EDT on Sunday, March 14, 2027"


def test_midnight_and_noon_cannot_be_misread(window):
    times = window.times({**WINDOW, "start": "2026-12-21 00:00", "hours": 12})
    assert (
        times["start_text"]
        == "midnight (12:00 AM EST) at the beginning of Monday, December 21, 2026"
    )
    assert times["end_text"] == "12:00 PM EST on Monday, December 21, 2026"


@pytest.mark.parametrize(
    ("hours", "text"), [(1, "1 hour"), (1.5, "1.5 hours"), ("2", "2 hours"), (0.25, "0.25 hours")]
)
def test_lengths_read_as_people_say_them(window, hours, text):
    assert window.times({**WINDOW, "hours": hours})["hours_text"] == text


def test_a_zone_without_letters_is_spoken_as_an_offset(window):
    times = window.times({**WINDOW, "timezone": "America/Sao_Paulo"})
    assert times["start_text"] == "9:00 PM UTC-03 on Sunday, December 20, 2026"


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2026-12-21T01:59:59Z", False),
        ("2026-12-21T02:00:00Z", True),
        ("2026-12-21T05:59:59Z", True),
        ("2026-12-21T06:00:00Z", False),
        ("2026-12-20T21:30-05:00", True),
    ],
)
def test_inside_begins_with_the_start_and_ends_before_the_end(window, now, inside):
    assert window.inside(settings(), now=now) is inside


def test_no_window_has_no_inside(window):
    assert window.inside(settings(start=None), now=NOW) is False


def test_outside_of_the_window_it_is_said_when_it_is_and_how_to_force(window):
    with pytest.raises(CommandExecutionError) as caught:
        window.require_inside(settings(), now="2026-12-20T17:00:00Z")
    message = str(caught.value)
    assert "It is 12:00 PM EST on Sunday, December 20, 2026" in message
    assert "from 9:00 PM EST on Sunday, December 20, 2026 to 1:00 AM EST" in message
    assert "force: true" in message


def test_forced_is_inside_with_and_without_a_window(window):
    assert (
        window.require_inside(settings(force=True), now=NOW)["start_utc"] == "2026-12-21T02:00:00Z"
    )
    assert window.require_inside(settings(start=None, force=True), now=NOW) == {}
    with pytest.raises(CommandExecutionError, match="No window is announced"):
        window.require_inside(settings(start=None), now=NOW)


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("02:30", "2026-12-21T07:30:00Z"),
        ("23:30", "2026-12-21T04:30:00Z"),
        ("2026-12-21 02:30", "2026-12-21T07:30:00Z"),
        ("2026-12-21T02:30-05:00", "2026-12-21T07:30:00Z"),
        ("+90m", "2026-12-21T07:30:00Z"),
        ("+2h", "2026-12-21T08:00:00Z"),
    ],
)
def test_until_is_understood_as_an_operator_types_it(window, value, utc):
    found = window.until(settings(), value, now="2026-12-21T04:00:00Z")
    assert found["until_utc"] == utc
    assert found["until"].endswith("-05:00")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2026-12-20 20:00", "already past"),
        ("22:30", "already past"),
        ("2027-01-20 02:30", "more than a week"),
        ("soon", "must be a time such as"),
        ("2:30 AM", "must be a time such as"),
        # What YAML makes of 23:30, 0230, 1030, and +90; a text of digits may be either.
        (1410, "is a number, and can mean several times; say the day too ('2026-12-20 23:30')"),
        (230, "is a number"),
        (1030, "is a number"),
        (90, "is a number"),
        ("0930", "is a number"),
        ("+90", "is a number"),
        (True, "must be a time such as"),
        ("+0m; rm -rf /", "must be a time such as"),
    ],
)
def test_an_until_that_cannot_be_meant_is_refused(window, value, said):
    with pytest.raises(CommandExecutionError, match=re.escape(said)) as caught:
        window.until(settings(), value, now="2026-12-21T04:00:00Z")
    assert "Nothing was announced" in str(caught.value)


def test_until_in_the_hour_that_comes_twice_must_say_which(window):
    night = settings(start="2026-10-31 21:00")
    with pytest.raises(CommandExecutionError, match="show this time twice"):
        window.until(night, "01:30", now="2026-11-01T03:00:00Z")


def test_a_reason_of_10_kb_is_cut_and_said_to_be(window):
    times = window.times({**WINDOW, "reason": "we " + "x" * 10_240})
    assert len(times["reason"]) <= 2000
    assert times["reason"].endswith("…")
    [warning] = times["warnings"]
    assert "10243 characters" in warning
