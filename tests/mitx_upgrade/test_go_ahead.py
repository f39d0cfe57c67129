"""
Before the window: rehearsed elsewhere with the very commit, and approved with the very facts.
"""

import copy
import datetime
import json

import pytest
from salt.exceptions import CommandExecutionError

SHA, OTHER = "a" * 40, "b" * 40
OLD = [{"id": "i-1", "name": "edx-0"}]
NEW = [{"id": "i-2", "name": "edx-1"}]


@pytest.fixture
def night(mitx, pillar):
    """``night(test=False, **settings)``: a run that is prepared; ``ask()`` for its ``allowed``."""
    pillar["mitx"]["environments"]["mitx-rp"] = copy.deepcopy(
        pillar["mitx"]["environments"]["mitx-qa"]
    )

    def load(test=False, prepared=True, **settings):
        loaded = mitx(**settings)
        modules = loaded.modules
        facts = {"release_sha": SHA, "images": {"edx": "ami-1"}, "old_fleet": OLD, "new_fleet": NEW}
        for fact, value in facts.items():
            modules["mitx_run.record.pin"](fact, value)
        for phase in modules["mitx_run.phases.names"]("prepare") if prepared else ():
            modules["mitx_run.phases.mark"](phase, "finished")
        loaded.opts["test"] = test
        loaded.approve = modules["mitx_upgrade.go_ahead.approve"]
        loaded.ask = lambda: loaded.states["mitx_upgrade.allowed"]("window may begin")
        return loaded

    return load


def rehearse(loaded, sha=SHA, ago=1, phase="open", status="finished"):
    """A run of mitx-rp that came so far, so many days ago."""
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=ago)
    folder = loaded.run_dir / "mitx-rp" / f"run-{sha[:4]}-{ago}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"id": folder.name, "began": folder.name, "facts": {"release_sha": sha}})
    )
    line = {
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
        "event": "phase",
        "phase": phase,
        "status": status,
    }
    (folder / "journal.jsonl").write_text(json.dumps(line) + "\n")


REHEARSAL = {"rehearsal": {"required": True, "environment": "mitx-rp", "days": 30}}


def test_nobody_is_asked_where_pillar_does_not_say_so(night):
    assert night().ask()["result"] is True


def test_the_very_commit_was_opened_in_the_other_environment(night):
    loaded = night(**REHEARSAL)
    rehearse(loaded)
    assert loaded.ask()["result"] is True


@pytest.mark.parametrize(
    "before",
    [
        {"sha": OTHER},
        {"ago": 31},
        {"phase": "verify"},
        {"status": "failed"},
        None,
    ],
    ids=["another commit", "too long ago", "not opened", "opening failed", "never"],
)
def test_what_was_not_rehearsed_does_not_begin(night, before):
    loaded = night(**REHEARSAL)
    if before is not None:
        rehearse(loaded, **before)
    ret = loaded.ask()
    assert ret["result"] is False
    assert f"{SHA[:12]} was not rehearsed in mitx-rp in the last 30 days" in ret["comment"]
    assert "salt-run mitx.upgrade environment=mitx-rp" in ret["comment"]
    # Days before, too.
    assert loaded.states["mitx_upgrade.rehearsed"]("rehearsal")["result"] is False


def test_a_run_without_a_commit_was_not_rehearsed_either(night):
    loaded = night(**REHEARSAL)
    loaded.modules["mitx_run.record.pin"]("release_sha", None, again=True)
    assert loaded.ask()["result"] is False
    loaded.opts["test"] = True
    assert loaded.ask()["result"] is True


def test_a_rehearsal_in_no_environment_is_refused_with_its_path(night):
    with pytest.raises(CommandExecutionError, match="rehearsal:environment: missing"):
        night(rehearsal={"required": True})


GATE = {"gate": {"before_window": True}}


def test_a_window_that_nobody_approved_does_not_begin(night):
    loaded = night(**GATE)
    ret = loaded.ask()
    assert ret["result"] is False
    assert "salt-run mitx.approve gate=close" in ret["comment"]
    loaded.approve(note="with Ann")
    ret = loaded.ask()
    assert ret["result"] is True
    assert "Approved by" in ret["comment"]


def test_a_dry_run_says_what_it_would_wait_for(night):
    ret = night(test=True, **GATE).ask()
    assert ret["result"] is None
    assert "salt-run mitx.approve gate=close" in ret["comment"]


def test_before_the_days_before_are_done_there_is_nothing_to_approve(night):
    loaded = night(prepared=False, **GATE)
    with pytest.raises(CommandExecutionError, match="orchestrate.mitx.prepare"):
        loaded.approve()
    assert loaded.ask()["result"] is False


@pytest.mark.parametrize(
    ("fact", "value", "told"),
    [
        ("images", {"edx": "ami-2"}, 'images: {"edx": "ami-1"} then, {"edx": "ami-2"} now'),
        ("new_fleet", [{"id": "i-9", "name": "edx-1"}], '"edx-1 (i-2)"'),
        ("release_sha", OTHER, OTHER),
    ],
)
def test_another_fact_voids_the_approval_and_is_told(night, fact, value, told):
    loaded = night(**GATE)
    loaded.approve()
    loaded.modules["mitx_run.record.pin"](fact, value, again=True)
    ret = loaded.ask()
    assert ret["result"] is False
    assert told in ret["comment"]
    loaded.approve()
    assert loaded.ask()["result"] is True


def test_a_rollback_voids_the_approval(night):
    loaded = night(**GATE)
    loaded.approve()
    for status in ("started", "finished"):
        loaded.modules["mitx_run.phases.mark"]("rollback", status)
    ret = loaded.ask()
    assert ret["result"] is False
    assert "rollbacks: 0 then, 1 now" in ret["comment"]


def test_what_the_window_itself_changes_voids_nothing(night):
    loaded = night(**GATE)
    loaded.approve()
    for status in ("started", "failed", "started"):
        loaded.modules["mitx_run.phases.mark"]("close", status)
    assert loaded.ask()["result"] is True
