"""
What the journal of a night is made into: where it stands, which command goes on with it, and where
its time went.
"""

import pathlib

import pytest
import salt.loader
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

RUNNERS = pathlib.Path(__file__).resolve().parents[2] / "_runners"
PREPARE = [
    "preflight",
    "announce",
    "rebase",
    "build",
    "images",
    "record",
    "deploy",
    "smoke",
    "quiesce",
]
WINDOW = ["close", "stop", "migrate", "start", "attach", "detach", "verify", "open"]
PREPARES, OPENS, RETIRES = (
    "salt-run state.orchestrate orchestrate.mitx.prepare",
    "salt-run state.orchestrate orchestrate.mitx.window",
    "salt-run mitx.retire",
)


class Night:
    """The package, and a journal written by hand."""

    def __init__(self, loaded):
        self.loaded, self.modules = loaded, loaded.modules

    def told(self, question, *args, **kwargs):
        return self.modules[f"mitx_run.phases.{question}"](*args, **kwargs)

    def phase(self, name, status="finished", **fields):
        return self.modules["mitx_run.events.write"]("phase", phase=name, status=status, **fields)

    def wait(self, reason, seconds):
        self.modules["mitx_run.events.write"](
            "wait", waits_for=reason, what="seen", seconds=seconds
        )

    def job(self, label, stage, **fields):
        self.modules["mitx_run.events.write"]("minions", label=label, stage=stage, **fields)


@pytest.fixture
def night(mitx):
    return Night(mitx())


def test_a_run_that_has_not_begun_has_no_record_and_begins_with_prepare(night):
    assert (night.told("statuses"), night.told("durations")) == ({}, {})
    assert night.told("unfinished") == PREPARE + WINDOW
    assert night.told("next_command") == PREPARES


def test_the_last_word_on_a_phase_counts(night):
    night.phase("deploy", "started")
    failed = night.phase("deploy", "failed", seconds=12.5, error="edx-0: failed=1")
    assert night.told("statuses") == {
        "deploy": {
            "status": "failed",
            "time": failed["time"],
            "seconds": 12.5,
            "error": "edx-0: failed=1",
        }
    }
    night.phase("deploy", "started")
    assert night.told("statuses")["deploy"]["status"] == "started"
    finished = night.phase("deploy", seconds=20.1)
    assert night.told("statuses")["deploy"] == {
        "status": "finished",
        "time": finished["time"],
        "seconds": 20.1,
        "error": None,
    }


def test_only_phases_are_phases(night):
    night.phase("close")
    night.phase("coffee", seconds=900)
    night.modules["mitx_run.journal.write"]("note", phase="stop", status="finished")
    assert list(night.told("statuses")) == list(night.told("durations")) == ["close"]


def test_last_months_run_finishes_nothing_of_this_one(night):
    night.phase("preflight")
    night.modules["mitx_run.record.begin"]("another")
    assert (
        night.told("statuses", run_id="another") == night.told("durations", run_id="another") == {}
    )
    assert night.told("unfinished", run_id="another")[0] == "preflight"
    assert night.told("unfinished")[0] == "announce"


@pytest.mark.parametrize("status", ["started", "failed", "waiting"])
def test_a_phase_that_was_begun_or_has_failed_is_not_finished(night, status):
    for name in PREPARE:
        night.phase(name)
    night.phase("close", status)
    assert night.told("unfinished") == WINDOW
    assert night.told("next_command") == OPENS


def test_a_phase_asks_only_for_those_before_it(night):
    for name in PREPARE[:-1]:
        night.phase(name)
    assert night.told("unfinished", upto="quiesce") == []
    assert night.told("unfinished", upto="stop") == ["quiesce", "close"]
    assert night.told("unfinished", upto="preflight") == []


def test_a_phase_of_the_days_before_that_was_undone_sends_the_engineer_back_to_prepare(night):
    """The window would refuse: what it opens is no longer deployed."""
    for name in [*PREPARE, "close"]:
        night.phase(name)
    night.phase("deploy", "failed", error="an instance is gone")
    assert night.told("unfinished")[0] == "deploy"
    assert night.told("next_command") == PREPARES


def test_when_the_site_is_open_the_old_fleet_is_what_is_left(night):
    for name in PREPARE + WINDOW:
        night.phase(name)
    assert night.told("unfinished") == []
    assert night.told("next_command") == RETIRES


def test_every_attempt_counts_in_the_time_of_a_phase(night):
    night.phase("attach", "started")
    night.phase("attach", "failed", seconds=61.26)
    night.phase("attach", "started")
    night.phase("attach", seconds=30.02)
    assert night.told("durations") == {"attach": {"seconds": 91.3, "waited": {}}}


def test_what_a_phase_waited_for_is_told_by_its_kind(night):
    night.phase("detach", "started")
    night.wait("health", 30.04)
    night.wait("drain", 300)
    night.wait("health", 15)
    night.phase("detach", seconds=350)
    night.phase("verify", "started")
    night.wait("approval", 600.5)
    night.phase("verify", seconds=610)
    assert night.told("durations") == {
        "detach": {"seconds": 350.0, "waited": {"health": 45.0, "drain": 300}},
        "verify": {"seconds": 610.0, "waited": {"approval": 600.5}},
    }


def test_a_wait_before_any_phase_is_nobodys(night):
    night.wait("DNS", 60)
    night.phase("preflight", seconds=1)
    assert night.told("durations") == {"preflight": {"seconds": 1.0, "waited": {}}}


def test_of_an_earlier_versions_journal_migrations_are_known_by_their_jobs(night):
    """Whether they fail or not."""
    night.phase("migrate", "started")
    night.job("migration lms of next-residential-live", "before")
    night.job("migration lms of next-residential-live", "after", seconds=400.25)
    night.job("migration cms of next-residential-live", "before")
    night.job("migration cms of next-residential-live", "failed", seconds=20, error="exit status 1")
    night.wait("migration", 5)
    night.phase("migrate", "failed", seconds=430)
    assert night.told("durations") == {
        "migrate": {"seconds": 430.0, "waited": {"migration": 425.2}}
    }


def test_other_jobs_on_minions_are_the_upgrades_own_time(night):
    night.phase("migrate", "started")
    night.job("pending migrations", "after", seconds=9)
    night.job(None, "after", seconds=9)
    night.modules["mitx_run.events.write"]("aws", label="migration lms", stage="after", seconds=9)
    night.phase("migrate", seconds=30)
    assert night.told("durations") == {"migrate": {"seconds": 30.0, "waited": {}}}


def until(mitx, pillar, phase):
    pillar["mitx"]["until"] = phase
    return mitx().modules["mitx_run.phases.postponed"]


def test_nothing_is_left_for_later_unless_that_was_said(night):
    assert [name for name in [*PREPARE, *WINDOW, "retire"] if night.told("postponed", name)] == []


def test_what_comes_after_the_named_phase_is_left_for_later_and_itself_is_not(mitx, pillar):
    postponed = until(mitx, pillar, "deploy")
    assert [name for name in [*PREPARE, *WINDOW, "retire"] if postponed(name)] == [
        "smoke",
        "quiesce",
        *WINDOW,
        "retire",
    ]


def test_a_misspelt_phase_does_not_let_everything_run(mitx, pillar):
    postponed = until(mitx, pillar, "depoly")
    with pytest.raises(
        CommandExecutionError,
        match="mitx:until: there is no phase 'depoly'; there are: preflight, announce",
    ):
        postponed("preflight")


@pytest.fixture
def report(mitx, pillar, tmp_path):
    """
    ``(night, report)``: the run that the settings name, and ``salt-run mitx.report`` as salt-run
    loads it. No master is asked.
    """
    del pillar["mitx"]["run"]
    loaded = mitx()
    loaded.modules["mitx_run.record.begin"](
        loaded.modules["mitx_run.folders.use"](
            loaded.modules["mitx_run.record.identify"](loaded.settings)
        )
    )
    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar" / "top.sls").write_text("base: {'*': [all]}")
    (tmp_path / "pillar" / "all.sls").write_text(salt.utils.yaml.safe_dump(pillar))
    opts = loaded.opts | {
        "runner_dirs": [str(RUNNERS)],
        "pillar_roots": {"base": [str(tmp_path / "pillar")]},
    }
    return Night(loaded), salt.loader.runner(opts)["mitx.report"]


def test_the_report_tells_the_windows_own_time_apart_from_what_it_waited_for(report):
    night, report = report
    # Days before: not in the window.
    night.phase("deploy", seconds=3000)
    night.phase("close", "started")
    night.wait("DNS", 100.0)
    night.phase("close", seconds=110)
    night.phase("migrate", "started")
    night.job("migrate lms of next-residential-live", "before")
    night.job("migrate lms of next-residential-live", "after", seconds=400.0)
    night.wait("migration", 400.0)
    night.phase("migrate", "failed", seconds=405)
    night.phase("migrate", seconds=2.5)
    told = report()
    assert told["window"] == "517.5 s in its phases, of that its own 17.5 s"
    [deploy, close, migrate] = told["phases"]
    assert deploy.endswith("(3000 s): its own 3000.0 s")
    assert close.endswith("(110 s): its own 10.0 s, waiting for DNS 100.0 s")
    assert migrate.endswith("(2.5 s): its own 7.5 s, waiting for migration 400.0 s")
    assert told["changes"] == {"minions migrate lms of next-residential-live": 1}


def test_what_a_killed_attempt_waited_for_is_not_taken_off_the_one_that_was_finished(night):
    night.phase("stop", "started")
    night.wait("queue", 300.0)
    night.phase("stop", "started")
    night.wait("queue", 5.0)
    night.phase("stop", seconds=20)
    assert night.told("durations") == {"stop": {"seconds": 20.0, "waited": {"queue": 5.0}}}


def test_what_a_rollback_waits_for_is_no_phases(night):
    night.phase("stop", "started")
    night.phase("stop", seconds=20)
    night.phase("rollback", "started")
    night.wait("health", 60.0)
    assert night.told("durations") == {"stop": {"seconds": 20.0, "waited": {}}}


# ---- a rollback that has begun


def test_a_rollback_that_broke_off_leaves_nothing_of_the_window_to_rely_on(night):
    """
    Else the window would go on behind `migrate`, on databases that were restored, or stop the old
    fleet under visitors.
    """
    for phase in ("quiesce", "close", "stop", "migrate", "open"):
        night.phase(phase)
    night.phase("rollback", "started")
    assert list(night.told("statuses")) == ["quiesce"]
    assert "salt-run mitx.rollback" in night.told("next_command")
    assert list(night.told("touched")) == ["quiesce", "close", "stop", "migrate", "open"]
    night.phase("rollback", "finished")
    assert list(night.told("touched")) == ["quiesce"]
    assert night.told("rolling_back") is None


def test_halted_for_the_databases_the_next_command_is_not_the_window(night):
    night.phase("migrate")
    night.phase("rollback", "started")
    night.phase("rollback", "halted")
    assert night.told("next_command") == "salt-run mitx.rollback database_restored=True"


def test_after_a_rollback_that_failed_the_next_command_can_be_pasted_with_what_was_said_to_it(
    night,
):
    night.phase("close", "finished")
    night.phase(
        "rollback", "started", database_restored=False, accept_new_schema=True, stop_only=False
    )
    night.phase("rollback", "failed", error="x")
    assert night.told("next_command") == "salt-run mitx.rollback accept_new_schema=True"


def test_whoever_runs_the_window_again_has_decided_against_the_rollback(night):
    night.phase("rollback", "started")
    night.phase("close", "started")
    assert night.told("rolling_back") is None
    assert night.told("statuses")["close"]["status"] == "started"


def test_the_window_goes_on_after_its_end_only_if_it_has_closed_the_site(night):
    assert night.told("closed") is None
    first = night.phase("close")
    night.phase("close", "started")
    assert night.told("closed") == first["time"]
    night.phase("rollback")
    assert night.told("closed") is None
