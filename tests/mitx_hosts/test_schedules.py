"""
What the master's own schedule would do in the window is told before.
"""

import datetime

import pytest

from mitx_hosts import schedules

# A Sunday evening, until two in the night.
BEGIN, END = datetime.datetime(2026, 12, 20, 21), datetime.datetime(2026, 12, 21, 2)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"when": "1:00am"}, "runs at 01:00 on Monday, in the window"),
        ({"when": "9pm"}, "runs at 21:00 on Sunday, in the window"),
        ({"when": "11:00am"}, None),
        ({"when": "2:00am"}, None),
        ({"when": ["Sunday 5:00am", "Sunday 11:30pm"]}, "runs at 23:30 on Sunday, in the window"),
        ({"when": "Tuesday 1:00am"}, None),
        ({"when": "12/21/2026 01:00"}, "runs at '12/21/2026 01:00', which may lie in the window"),
        ({"minutes": 30}, "runs every 1800 s"),
        ({"hours": 24}, "runs every 86400 s, and may do so in the window"),
        ({"cron": "0 1 * * *"}, "runs by '0 1 * * *' (cron)"),
        ({"when": "1:00am", "enabled": False}, None),
        ({"function": "test.ping"}, None),
        ("no job", None),
    ],
)
def test_which_jobs_fall_into_the_window(job, told):
    assert schedules.falls(job, BEGIN, END) == told


def test_each_is_named_with_its_minion_and_function(mitx, monkeypatch):
    monkeypatch.setattr(
        "mitx_hosts.jobs.of_master",
        lambda run, fun, arg=(): {
            "master": {
                "backup": {"function": "saltutil.runner", "minutes": 30},
                "__mine_interval": {"function": "mine.update", "minutes": 60},
            }
        },
    )
    assert mitx().modules["mitx_hosts.schedules.inside"]() == [
        "master: its schedule backup (saltutil.runner) runs every 1800 s"
    ]


def test_a_master_that_does_not_answer_hides_nothing_else(mitx, monkeypatch):
    monkeypatch.setattr("mitx_hosts.jobs.of_master", lambda run, fun, arg=(): {})
    assert mitx().modules["mitx_hosts.schedules.inside"]() == []
