"""
What Salt's schedules would do in the window is told before; what must not begin in it is held, and
comes back whatever becomes of the run. The scheduler is Salt's own.
"""

import datetime

import pytest
import salt.utils.schedule

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


MASTER = "master-operations"
BACKUP = {"function": "cmd.run", "args": ["backup"], "seconds": 5}


class Scheduler(salt.utils.schedule.Schedule):
    """Salt's, whose jobs are counted and not run."""

    def _run_job(self, func, data, jid=None):
        self.opts["ran"].append(data["name"])

    def _check_max_running(self, func, data, opts, now):
        return data


class Minion:
    """The master's own: its schedule in pillar and in its configuration."""

    def __init__(self, tmp_path, pillar, opts):
        self.calls, self.ran, self.running = [], [], []
        options = {
            "id": MASTER,
            "ran": self.ran,
            "loop_interval": 1,
            "cachedir": str(tmp_path),
            "transport": "zeromq",
            "pillar": {"schedule": pillar},
            "schedule": opts,
        }
        self.scheduler = Scheduler(options, {}, returners={}, utils={"a": 1}, new_instance=True)

    def of_master(self, run, fun, arg=()):
        told = {
            "schedule.list": self.scheduler._get_schedule(include_pillar=False),
            "pillar.get": self.scheduler.opts["pillar"]["schedule"],
            "saltutil.running": self.running,
        }
        assert set(fun) == set(told)
        return {MASTER: told}

    def execute(self, run, minions, fun, arg, **options):
        """As ``manage_schedule`` of Salt's minion does it."""
        assert (minions, fun[0], arg[0][1]) == ([MASTER], "event.fire", "manage_schedule")
        event = arg[0][0]
        self.calls.append(event["func"])
        if event["func"] == "reload":
            self.scheduler.reload(event["schedule"])
        else:
            self.scheduler.delete_job(event["name"], persist=False, fire_event=False)
        return {MASTER: {"event.fire": True}}

    def runs(self, hours):
        """What the schedule runs in the seconds around a moment so many hours from now."""
        self.ran.clear()
        moment = datetime.datetime.now() + datetime.timedelta(hours=hours)
        # As Salt does it, each second.
        for seconds in range(40):
            self.scheduler.eval(moment + datetime.timedelta(seconds=seconds))
        return set(self.ran)


@pytest.fixture
def night(mitx, monkeypatch, tmp_path):
    """``night(pillar, opts, names)``: a run, ``hold`` and ``give_back`` of it, and the minion."""

    def prepare(pillar=None, opts=None, names=("backup",), test=False):
        minion = Minion(tmp_path, pillar or {}, opts or {})
        monkeypatch.setattr("mitx_hosts.jobs.of_master", minion.of_master)
        monkeypatch.setattr("mitx_hosts.jobs.execute", minion.execute)
        window = {"window": {"pause_schedule": list(names)}}
        master = mitx(test=test, **window)
        master.minion = minion
        master.hold = lambda: master.states["mitx_hosts.schedule_held"]("schedule")
        master.give_back = lambda: master.states["mitx_hosts.schedule_given_back"]("schedule")
        return master

    return prepare


def test_a_job_of_pillar_is_held_and_given_back(night):
    master = night(pillar={"backup": dict(BACKUP), "other": dict(BACKUP)})
    ret = master.hold()
    assert ret["result"] is True, ret["comment"]
    assert list(ret["changes"]) == [f"{MASTER}: backup"]
    assert master.minion.runs(1) == {"other"}
    # Once more, nothing is to be done.
    assert master.hold()["changes"] == {}
    assert master.minion.calls == ["reload"]
    assert master.give_back()["changes"]
    assert master.minion.runs(2) == {"backup", "other"}
    assert master.give_back()["changes"] == {}
    assert master.minion.calls == ["reload", "delete"]


def test_a_job_that_has_its_time_is_held_at_that_time(night):
    def at(hours):
        moment = datetime.datetime.now() + datetime.timedelta(hours=hours, seconds=10)
        return moment.strftime("%Y-%m-%d %H:%M:%S")

    job = {"function": "saltutil.runner", "maxrunning": 1, "when": [at(1), at(2)]}
    master = night(pillar={"backup": job})
    master.hold()
    assert master.minion.runs(1) == set()
    master.give_back()
    assert master.minion.runs(2) == {"backup"}


def test_it_comes_back_by_itself_though_nobody_lives_to_give_it_back(night):
    master = night(pillar={"backup": dict(BACKUP)})
    master.hold()
    assert master.minion.runs(23) == set()
    assert master.minion.runs(25) == {"backup"}


def test_a_job_of_the_minions_configuration_is_as_it_was_after(night):
    own = {**BACKUP, "after": "2020-01-01T00:00:00", "metadata": {"team": "ops"}}
    master = night(opts={"backup": dict(own)})
    master.hold()
    assert master.minion.runs(1) == set()
    master.give_back()
    left = master.minion.scheduler.opts["schedule"]["backup"]
    assert {key: left[key] for key in own} == own
    assert master.minion.runs(2) == {"backup"}


def test_what_was_held_in_another_night_is_held_anew(night):
    master = night(pillar={"backup": dict(BACKUP)})
    master.hold()
    master.minion.scheduler.opts["schedule"]["backup"]["after"] = "2020-01-01T00:00:00"
    assert master.hold()["changes"]
    assert master.minion.runs(1) == set()
    master.give_back()
    assert "backup" not in master.minion.scheduler.opts["schedule"]


def test_what_another_environment_holds_too_is_held_until_both_are_through(night, monkeypatch):
    """One master, a rehearsal on QA while production's window is open."""
    master = night(pillar={"backup": dict(BACKUP)})
    master.hold()
    run = master.modules.run
    monkeypatch.setattr(run, "environment", "mitx-production")
    assert master.hold()["changes"]
    assert master.give_back()["changes"]
    assert master.minion.runs(1) == set()
    assert master.give_back()["changes"] == {}
    monkeypatch.setattr(run, "environment", "mitx-qa")
    assert master.hold()["changes"] == {}
    assert master.give_back()["changes"]
    assert master.minion.runs(2) == {"backup"}


def test_a_name_that_is_no_job_is_refused_and_those_that_are_named(night):
    master = night(pillar={"backup": dict(BACKUP)}, names=["backup", "bakcup"])
    ret = master.hold()
    assert ret["result"] is False
    assert "mitx:environments:mitx-qa:window:pause_schedule: bakcup: no job" in ret["comment"]
    assert "There are: backup" in ret["comment"]
    assert master.minion.calls == []


def test_a_dry_run_tells_it_and_does_nothing(night):
    master = night(pillar={"backup": dict(BACKUP)}, test=True)
    ret = master.hold()
    assert ret["result"] is None
    assert f"Would be held: {MASTER}: backup" in ret["comment"]
    assert master.minion.calls == []
    assert master.minion.runs(1) == {"backup"}


def test_what_it_has_begun_before_is_waited_for(night):
    master = night(pillar={"backup": dict(BACKUP)})
    master.minion.running = [{"schedule": "backup", "jid": "7", "fun": "cmd.run"}]
    ret = master.hold()
    assert ret["result"] is False
    assert f"{MASTER}: its schedule backup (job 7)" in ret["comment"]
    master.minion.running = []
    assert master.hold()["result"] is True
    assert master.minion.calls == ["reload"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "does not answer"),
        ({MASTER: {"schedule.list": "Traceback", "pillar.get": ""}}, "is not understood"),
        ({MASTER: "Minion did not return"}, "is not understood"),
    ],
)
def test_an_answer_that_is_none_holds_nothing(night, monkeypatch, told, reason):
    master = night(pillar={"backup": dict(BACKUP)})
    monkeypatch.setattr("mitx_hosts.jobs.of_master", lambda run, fun, arg=(): told)
    for state in (master.hold, master.give_back):
        ret = state()
        assert ret["result"] is False
        assert reason in ret["comment"]
    assert master.minion.calls == []


def test_a_list_of_jobs_that_is_being_written_is_asked_for_again(night, monkeypatch):
    master = night(pillar={"backup": dict(BACKUP)})
    answers = [{}, None, {MASTER: {"schedule.list": {}, "saltutil.running": "Traceback"}}, None]

    def once_more(run, fun, arg=()):
        answer = answers.pop(0) if answers else None
        return master.minion.of_master(run, fun, arg) if answer is None else answer

    monkeypatch.setattr("mitx_hosts.jobs.of_master", once_more)
    assert master.hold()["result"] is True
    assert answers == []


def test_what_cannot_be_given_back_says_when_it_comes_back_and_how_by_hand(night, monkeypatch):
    master = night(pillar={"backup": dict(BACKUP)})
    monkeypatch.setattr("mitx_hosts.jobs.of_master", lambda run, fun, arg=(): {})
    comment = master.give_back()["comment"]
    assert "by itself a day after" in comment
    event = '{"func": "delete", "name": "backup"}'
    assert f"salt -G roles:master event.fire '{event}' manage_schedule" in comment


def test_without_names_nobody_is_asked(night, monkeypatch):
    master = night(names=[])
    monkeypatch.setattr("mitx_hosts.jobs.of_master", None)
    assert master.hold()["result"] is True
    assert master.give_back()["result"] is True


@pytest.fixture
def told(mitx, monkeypatch):
    """``told(master, hosts, names)``: what is said of schedules in which these jobs stand."""

    def inside(master=None, hosts=None, names=()):
        monkeypatch.setattr(
            "mitx_hosts.jobs.of_master",
            lambda run, fun, arg=(): {
                minion: {"schedule.list": {}, "pillar.get": found, "saltutil.running": []}
                for minion, found in (master or {}).items()
            },
        )
        monkeypatch.setattr(
            "mitx_hosts.jobs.answers", lambda run, minions, fun, arg=(): hosts or {}
        )
        fleet = [{"name": name, "state": "running"} for name in hosts or {}]
        monkeypatch.setattr("mitx_fleet.fleets.current", lambda run: fleet)
        window = {"window": {"pause_schedule": list(names)}}
        return mitx(**window).modules["mitx_hosts.schedules.inside"]()

    return inside


def test_each_job_is_named_with_its_minion_and_function(told):
    often = {"function": "saltutil.runner", "minutes": 30}
    schedule = {
        "backup": often,
        "scan": often,
        "__mine_interval": {"function": "mine.update", "minutes": 60},
    }
    found = told({"master": schedule}, names=["backup"])
    line = "(saltutil.runner) runs every 1800 s; "
    assert found == [
        f"master: its schedule backup {line}held from close to open (window:pause_schedule)",
        f"master: its schedule scan {line}window:pause_schedule would hold it from close to open",
    ]


def test_hosts_with_the_same_jobs_are_told_together(told):
    schedule = {"restart": {"function": "supervisord.restart", "days": 5}, "enabled": True}
    found = told(hosts={"edx-worker-1": schedule, "edx-worker-2": schedule, "edx-1": {}})
    assert found == [
        "edx-worker-1 and 1 more: its schedule restart (supervisord.restart) runs every 432000 s,"
        " and may do so in the window; disabled with the services"
    ]


def test_a_master_that_does_not_answer_hides_nothing_else(told):
    assert told() == []
