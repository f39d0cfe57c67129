"""The night as a table: what each phase has to do, before any of it is there."""

import importlib

import pytest
from salt.exceptions import CommandExecutionError


@pytest.fixture
def night(mitx):
    """The modules of a run that has begun."""
    return mitx(release={"onto": "open-release/koa.master"}).modules


def old(serves=True, elbs=("edx-next-residential-live-mitx-qa",)):
    return {"id": "i-1", "name": "edx-1", "elbs": list(elbs), "serves": serves}


def rows(found):
    return {row["phase"]: row for row in found["phases"]}


def test_it_counts_what_settings_and_record_name(night):
    leftover = old(serves=False, elbs=())
    night["mitx_run.record.pin"]("old_fleet", [old(), old(elbs=()), leftover])
    settings = night.run.settings
    found = rows(night["mitx_upgrade.timetable.table"]())
    launched, names = len(settings["instances"]), len(settings["records"])
    assert found["rebase"]["what"] == "mitx/koa onto open-release/koa.master"
    assert found["deploy"]["what"] == f"launch {launched} new hosts"
    assert found["close"]["what"] == f"{names} names to the page"
    assert found["stop"]["what"] == "stop 3 old hosts"
    assert found["detach"]["what"].startswith("1 old host out of ")
    assert found["retire"]["what"] == "destroy 2 old hosts"
    assert found["migrate"]["what"] == f"databases of {len(settings['purposes'])} purposes"
    night["mitx_run.events.write"](
        "migrations", unapplied={"live": {"lms": 14, "cms": 2}, "draft": {"lms": 0}}, output="x"
    )
    found = rows(night["mitx_upgrade.timetable.table"]())
    assert found["migrate"]["what"].startswith("16 migrations of ")


def test_where_aws_does_not_answer_the_table_is_there_all_the_same(night, monkeypatch):
    def refused(*_, **__):
        raise CommandExecutionError("AccessDenied")

    monkeypatch.setattr("mitx_fleet.fleets.current", refused)
    assert rows(night["mitx_upgrade.timetable.table"]())["stop"]["what"] == "stop ? old hosts"


def test_changes_are_those_of_the_last_time_that_the_phase_was_finished(night):
    def phase(status):
        night["mitx_run.events.write"]("phase", phase="close", status=status, seconds=7)

    def change(stage="after"):
        night["mitx_run.events.write"]("aws", stage=stage, operation="change", service="route53")

    change()  # before any phase
    phase("started"), change("before"), change(), change()
    phase("failed"), change()  # of no phase
    phase("started"), change("before"), change(), phase("finished"), change()
    phase("started"), change()  # broke off
    night["mitx_run.record.pin"]("old_fleet", [old()])
    found = night["mitx_upgrade.timetable.table"]()
    assert rows(found)["close"]["changes"] == 1
    assert rows(found)["open"]["changes"] is None


def test_it_fits_and_says_where_the_way_back_ends(night):
    night["mitx_run.record.pin"]("old_fleet", [old()])
    found = night["mitx_upgrade.timetable.table"]()["lines"]
    assert max(map(len, found)) <= 100
    firsts = [line.split()[0] for line in found]
    assert firsts[0] == "phase"
    marks = {found[at][3:].partition(":")[0]: firsts[at + 1] for at in marked(firsts)}
    assert marks == {
        "nothing to take back": "preflight",
        "the window; back": "close",
        "point of no return": "migrate",
        "days later; no way back": "retire",
    }


def marked(firsts):
    return [at for at, word in enumerate(firsts) if word == "--"]


def test_what_never_ran_here_takes_as_long_as_where_it_was_rehearsed(mitx):
    qa = mitx().modules
    qa["mitx_run.events.write"]("phase", phase="close", status="finished", seconds=7)
    qa["mitx_run.events.write"]("phase", phase="stop", status="finished", seconds=8)
    qa["mitx_run.record.pin"]("old_fleet", [old()])
    found = qa["mitx_upgrade.timetable.table"]()
    assert (rows(found)["close"]["seconds"], rows(found)["close"]["as_in"]) == (7, "mitx-qa")
    assert rows(found)["open"]["as_in"] is None
    assert "~ a guess: there is no earlier run to go by" in found["lines"]
    # The same record, seen from another environment.
    timetable = importlib.import_module("mitx_upgrade.timetable")
    run = qa.run
    run.settings["rehearsal"]["environment"], run.environment = run.environment, "mitx-production"
    found = qa.loader.run(timetable.plan, run)
    assert rows(found)["close"]["seconds"] == 7
    assert rows(found)["close"]["as_in"] == "mitx-qa"
    run.settings["rehearsal"]["environment"] = "of-another-master"
    assert rows(qa.loader.run(timetable.plan, run))["close"]["as_in"] is None
