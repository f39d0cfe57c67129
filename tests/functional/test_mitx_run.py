"""What an engineer would lose if the record of a run were wrong: where the upgrade stands, and who else is at it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest
from salt.exceptions import CommandExecutionError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def run(mitx):
    return mitx().modules


def test_the_same_settings_are_the_same_run_and_a_new_window_is_a_new_one(mitx):
    first = mitx()
    again = mitx()
    moved = mitx(window={"start": "2099-12-21 21:00"})
    ids = [loaded.modules["mitx_run.identify"](loaded.settings) for loaded in (first, again, moved)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("20991221T0200")


def test_a_line_torn_by_a_kill_hides_neither_its_predecessors_nor_its_successors(run):
    run["mitx_journal.write"]("phase", phase="close", status="started")
    path = pathlib.Path(run["mitx_run.folder"]()) / "journal.jsonl"
    with path.open("a") as journal:
        journal.write('{"time": "2026-01-01T00:00:00Z", "event": "pha')
    run["mitx_journal.write"]("phase", phase="close", status="finished")
    assert [line["status"] for line in run["mitx_journal.entries"](event="phase")] == ["started", "finished"]


def test_a_pinned_fact_is_pinned_for_good(run):
    run["mitx_run.pin"]("release_number", 3)
    run["mitx_run.pin"]("release_number", 3)
    with pytest.raises(CommandExecutionError, match=r"already recorded release_number as 3; it is now found to be 4"):
        run["mitx_run.pin"]("release_number", 4)
    assert run["mitx_run.pinned"]("release_number") == 3


def test_a_dry_run_writes_no_byte(mitx, tmp_path):
    run = mitx(test=True).modules
    before = sorted(path for path in (tmp_path / "runs").rglob("*"))
    run["mitx_journal.write"]("phase", phase="close", status="started")
    for refused in (
        lambda: run["mitx_run.pin"]("x", 1),
        lambda: run["mitx_run.begin"]("r"),
        lambda: run["mitx_run.capture"]("a", "b"),
        lambda: run["mitx_run.approve"](),
        lambda: run["mitx_lock.hold"](),
    ):
        with pytest.raises(CommandExecutionError, match="Refused under test=True"):
            refused()
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_a_door_journals_before_and_after_and_tells_what_failed(run):
    with run["mitx_journal.door"]("git", change=True, operation="push"):
        pass
    with pytest.raises(ZeroDivisionError), run["mitx_journal.door"]("git", change=True, operation="push"):
        1 / 0  # noqa: B018
    stages = [line["stage"] for line in run["mitx_journal.entries"](event="git")]
    assert stages == ["before", "after", "before", "failed"]
    assert run["mitx_journal.entries"](event="git")[-1]["error"] == "division by zero"


def test_no_secret_reaches_the_journal(run):
    run["mitx_journal.write"](
        "x",
        password="hunter2",
        nested={"secret_access_key": "hunter2", "token": "hunter2", "url": "https://me:hunter2@example.org/x"},
        body=b"hunter2",
    )
    text = (pathlib.Path(run["mitx_run.folder"]()) / "journal.jsonl").read_text()
    assert "hunter2" not in text
    assert "example.org" in text


def test_outputs_stay_inside_the_folder_of_the_run(run):
    assert pathlib.Path(run["mitx_run.capture"]("migrate/lms.txt", "OK")).read_text() == "OK"
    with pytest.raises(CommandExecutionError, match="outside"):
        run["mitx_run.capture"]("../../../escaped", "x")


HOLDER = textwrap.dedent("""
    import json, sys, time
    import salt.loader
    with open(sys.argv[1]) as opts:
        modules = salt.loader.minion_mods(json.load(opts))
    modules["mitx_lock.hold"](why="an upgrade", phase="migrate")
    print("held", flush=True)
    time.sleep(60)
""")


@pytest.fixture
def other_process(mitx, tmp_path):
    opts = tmp_path / "opts.json"
    opts.write_text(json.dumps(mitx().opts, default=str))
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(opts)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_engineer_is_told_who_is_at_it_and_why(run, other_process):
    with pytest.raises(CommandExecutionError, match=rf"process {other_process.pid}.*in phase migrate \(an upgrade\)"):
        run["mitx_lock.hold"](why="me too")
    assert run["mitx_lock.holder"]()["mine"] is False


def test_kill_9_frees_the_environment(run, other_process):
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert run["mitx_lock.holder"]() is None
    assert run["mitx_lock.hold"](why="mine now")["pid"] == os.getpid()
    run["mitx_lock.release"]()


def test_one_process_may_take_its_own_lock_again(run):
    run["mitx_lock.hold"](why="upgrade", phase="close")
    try:
        assert run["mitx_lock.hold"](phase="stop")["phase"] == "stop"
    finally:
        run["mitx_lock.release"]()
    assert run["mitx_lock.holder"]() is None


def test_waiting_ends_at_the_deadline_and_says_what_was_seen_last(run):
    with pytest.raises(CommandExecutionError, match="INSYNC: not so after 0.05 s; last seen: PENDING"):
        run["mitx_run.wait_until"](lambda: (False, "PENDING"), 0.05, 0.01, "INSYNC")


def test_waiting_outlasts_throttling_but_not_a_refusal(run):
    answers = []

    def throttled():
        answers.append(1)
        if len(answers) < 3:
            error = CommandExecutionError("Throttling")
            error.transient = True
            raise error
        return True, "there"

    assert run["mitx_run.wait_until"](throttled, 5, 0.01, "x") == "there"

    def refused():
        raise CommandExecutionError("AccessDenied")

    with pytest.raises(CommandExecutionError, match="AccessDenied"):
        run["mitx_run.wait_until"](refused, 5, 0.01, "x")


def test_the_record_is_plain_json_for_whoever_reads_it_later(run):
    run["mitx_run.pin"]("old_fleet", [{"id": "i-1"}])
    record = json.loads((pathlib.Path(run["mitx_run.folder"]()) / "run.json").read_text())
    assert record["environment"] == "mitx-qa"
    assert record["facts"]["old_fleet"] == [{"id": "i-1"}]
