"""
What an engineer would lose if the record of a run were wrong: where the upgrade stands, and who
else is at it.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest
from salt.exceptions import CommandExecutionError

from mitx_run import errors

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def run(mitx):
    return mitx().modules


def test_the_same_settings_are_the_same_run_and_a_new_window_is_a_new_one(mitx):
    first = mitx()
    again = mitx()
    moved = mitx(window={"start": "2099-12-21 21:00"})
    ids = [
        loaded.modules["mitx_run.record.identify"](loaded.settings)
        for loaded in (first, again, moved)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("20991221T0200")


def test_a_line_torn_by_a_kill_hides_neither_its_predecessors_nor_its_successors(run):
    run["mitx_run.events.write"]("phase", phase="close", status="started")
    path = pathlib.Path(run["mitx_run.folders.folder"]()) / "journal.jsonl"
    with path.open("a") as journal:
        journal.write('{"time": "2026-01-01T00:00:00Z", "event": "pha')
    run["mitx_run.events.write"]("phase", phase="close", status="finished")
    assert [line["status"] for line in run["mitx_run.events.read"]("phase")] == [
        "started",
        "finished",
    ]


def test_a_pinned_fact_is_pinned_for_good(run):
    run["mitx_run.record.pin"]("release_number", 3)
    run["mitx_run.record.pin"]("release_number", 3)
    with pytest.raises(
        CommandExecutionError,
        match=r"already recorded release_number as 3; it is now found to be 4",
    ):
        run["mitx_run.record.pin"]("release_number", 4)
    assert run["mitx_run.record.pinned"]("release_number") == 3


def test_a_dry_run_writes_no_byte(mitx, tmp_path):
    run = mitx(test=True).modules
    before = sorted(path for path in (tmp_path / "runs").rglob("*"))
    run["mitx_run.events.write"]("phase", phase="close", status="started")
    for refused in (
        lambda: run["mitx_run.record.pin"]("x", 1),
        lambda: run["mitx_run.record.begin"]("r"),
        lambda: run["mitx_run.record.capture"]("a", "b"),
        lambda: run["mitx_run.record.approve"](),
        lambda: run["mitx_run.lock.acquire"](),
    ):
        with pytest.raises(CommandExecutionError, match="Refused under test=True"):
            refused()
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_a_gateway_journals_before_and_after_and_tells_what_failed(run):
    with run["mitx_run.journal.gateway"]("git", change=True, operation="push"):
        pass
    with (
        pytest.raises(ZeroDivisionError),
        run["mitx_run.journal.gateway"]("git", change=True, operation="push"),
    ):
        1 / 0  # noqa: B018
    stages = [line["stage"] for line in run["mitx_run.events.read"]("git")]
    assert stages == ["before", "after", "before", "failed"]
    assert run["mitx_run.events.read"]("git")[-1]["error"] == "division by zero"


def test_no_secret_reaches_the_journal(run):
    run["mitx_run.journal.write"](
        "x",
        password="hunter2",
        nested={
            "secret_access_key": "hunter2",
            "token": "hunter2",
            "url": "https://me:hunter2@example.org/x",
        },
        body=b"hunter2",
    )
    text = (pathlib.Path(run["mitx_run.folders.folder"]()) / "journal.jsonl").read_text()
    assert "hunter2" not in text
    assert "example.org" in text


def test_outputs_stay_inside_the_folder_of_the_run(run):
    assert pathlib.Path(run["mitx_run.record.capture"]("migrate/lms.txt", "OK")).read_text() == "OK"
    with pytest.raises(CommandExecutionError, match="outside"):
        run["mitx_run.record.capture"]("../../../escaped", "x")


HOLDER = textwrap.dedent("""
    import json, sys, time
    import salt.loader
    sys.path.insert(0, sys.argv[2])
    from tests.support.rooms import Modules
    with open(sys.argv[1]) as opts:
        modules = salt.loader.minion_mods(json.load(opts))
    Modules(modules)["mitx_run.lock.acquire"](why="an upgrade", phase="migrate")
    print("held", flush=True)
    time.sleep(60)
""")


@pytest.fixture
def other_process(mitx, tmp_path):
    opts = tmp_path / "opts.json"
    opts.write_text(json.dumps(mitx().opts, default=str))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(opts), str(ROOT)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_engineer_is_told_who_is_at_it_and_why(run, other_process):
    with pytest.raises(
        CommandExecutionError,
        match=rf"process {other_process.pid}.*in phase migrate \(an upgrade\)",
    ):
        run["mitx_run.lock.acquire"](why="me too")
    assert run["mitx_run.lock.locked_by"]()["mine"] is False


def test_kill_9_frees_the_environment(run, other_process):
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert run["mitx_run.lock.locked_by"]() is None
    assert run["mitx_run.lock.acquire"](why="mine now")["pid"] == os.getpid()
    os.close(run["mitx_run.lock.locked_by"]()["fd"])


def test_one_process_may_take_its_own_lock_again(run):
    run["mitx_run.lock.acquire"](why="upgrade", phase="close")
    try:
        assert run["mitx_run.lock.acquire"](phase="stop")["phase"] == "stop"
    finally:
        os.close(run["mitx_run.lock.locked_by"]()["fd"])
    assert run["mitx_run.lock.locked_by"]() is None


def test_waiting_ends_at_the_deadline_and_says_what_was_seen_last(run):
    with pytest.raises(
        CommandExecutionError,
        match="timed out after 0.05 s waiting for INSYNC; last state: PENDING",
    ):
        run["mitx_run.wait.until"](lambda: (False, "PENDING"), 0.05, 0.01, "INSYNC")


def test_waiting_outlasts_throttling_but_not_a_refusal(run):
    answers = []

    def throttled():
        answers.append(1)
        if len(answers) < 3:
            raise errors.Transient("Throttling")
        return True, "there"

    assert run["mitx_run.wait.until"](throttled, 5, 0.01, "x") == "there"

    def refused():
        raise CommandExecutionError("AccessDenied")

    with pytest.raises(CommandExecutionError, match="AccessDenied"):
        run["mitx_run.wait.until"](refused, 5, 0.01, "x")


def test_the_record_is_plain_json_for_whoever_reads_it_later(run):
    run["mitx_run.record.pin"]("old_fleet", [{"id": "i-1"}])
    record = json.loads((pathlib.Path(run["mitx_run.folders.folder"]()) / "run.json").read_text())
    assert record["environment"] == "mitx-qa"
    assert record["facts"]["old_fleet"] == [{"id": "i-1"}]


def test_no_separator_of_lines_in_a_note_hides_what_was_noted(run):
    """An approval that was confirmed, and never counted."""
    for note in ("a\u2028b", "a\u2029b", "a\u0085b", "a\x0bb\x1cc"):
        run["mitx_run.journal.write"]("note", text=note)
        assert run["mitx_run.events.read"]("note")[-1]["text"] == note


def test_a_disk_that_is_full_stops_before_the_change(run, monkeypatch):
    real, made = os.write, []
    monkeypatch.setattr(
        os,
        "write",
        lambda descriptor, data: (
            real(descriptor, data[:3]) if b'"event"' in data else real(descriptor, data)
        ),
    )

    def change():
        with run["mitx_run.journal.gateway"]("aws", change=True, operation="x"):
            made.append(1)

    with pytest.raises(
        CommandExecutionError,
        match="No space left on device. What was about to be done was not begun",
    ):
        change()
    assert made == []
    # Full only afterwards: it would be a lie that nothing was done.
    full = lambda descriptor, data: real(descriptor, data[:3] if b'"after"' in data else data)  # noqa: E731
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CommandExecutionError, match="has been done, and is not recorded"):
        change()
    assert made == [1]
    monkeypatch.undo()


def test_a_disk_that_is_full_leaves_the_record_as_it_was(run, monkeypatch):
    run["mitx_run.record.pin"]("release_sha", "a" * 40)
    folder = pathlib.Path(run["mitx_run.folders.folder"]())
    before, real = (sorted(folder.iterdir()), (folder / "run.json").read_text()), os.fsync

    def full(descriptor):
        if "run.json" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandExecutionError, match="run.json: No space left on device. It is as"):
        run["mitx_run.record.pin"]("release_number", 1)
    monkeypatch.undo()
    assert (sorted(folder.iterdir()), (folder / "run.json").read_text()) == before
    # Not recorded yet: there is room again, and another value is no contradiction.
    assert run["mitx_run.record.pin"]("release_number", 2) == 2


@pytest.mark.parametrize("kept", ["_replace", "write"])
def test_a_kill_at_any_moment_of_recording_leaves_no_fact_out_of_the_journal(
    run, monkeypatch, kept
):
    """``run.json`` may be damaged later: then the journal is all there is."""

    def killed(*_, **__):
        raise SystemExit

    where = {"_replace": "mitx_run.record._replace", "write": "mitx_run.events.write"}[kept]
    monkeypatch.setattr(where, killed)
    with pytest.raises(SystemExit):
        run["mitx_run.record.pin"]("release_number", 1)
    monkeypatch.undo()
    run["mitx_run.record.pin"]("release_number", 1)
    (pathlib.Path(run["mitx_run.folders.folder"]()) / "run.json").write_text("{")
    assert run["mitx_run.record.read"]()["facts"] == {"release_number": 1}


def test_a_folder_that_may_not_be_looked_into_is_told(run, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.exists", refused)
    with pytest.raises(CommandExecutionError, match="cannot be kept: .*Permission denied"):
        run["mitx_run.folders.make"]("/srv/nobody/runs")


def test_a_symlink_in_the_place_of_the_lock_is_refused(run, tmp_path):
    lock = pathlib.Path(run["mitx_run.folders.folder"]()).parent / "lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(tmp_path / "precious")
    with pytest.raises(CommandExecutionError, match="lock: Too many levels of symbolic links"):
        run["mitx_run.lock.acquire"](why="upgrade")
    assert not (tmp_path / "precious").exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_record_is_for_the_masters_user_and_its_group_whatever_the_umask(run, umask):
    before = os.umask(umask)
    try:
        run["mitx_run.record.begin"]("another")
        run["mitx_run.record.pin"]("release_number", 1)
        run["mitx_run.record.capture"]("migrate/lms.log", "what a migration has said")
    finally:
        os.umask(before)
    mine = pathlib.Path(run["mitx_run.folders.folder"]())
    folders = [mine.parent / "another", mine.parent / "another" / "output", mine / "output/migrate"]
    files = [mine / "run.json", mine / "journal.jsonl", mine / "output/migrate/lms.log"]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o750}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def test_a_symlink_in_the_place_of_a_file_is_refused(run, tmp_path):
    (tmp_path / "precious").write_text("precious")
    journal = pathlib.Path(run["mitx_run.folders.folder"]()) / "journal.jsonl"
    journal.unlink(missing_ok=True)
    journal.symlink_to(tmp_path / "precious")
    with pytest.raises(CommandExecutionError, match="cannot be written"):
        run["mitx_run.events.write"]("wait", waits_for="x", what="x", seconds=0)
    assert (tmp_path / "precious").read_text() == "precious"


DAMAGED = [b"", b"{", b'{"id": "testrun", "fac', b"[]", b'{"facts": []}', b"\xff\xfe\x00", None]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_what_is_damaged_or_gone_of_the_record_is_in_the_journal(run, damaged, caplog):
    run["mitx_run.record.pin"]("release_number", 1)
    run["mitx_run.record.pin"]("new_fleet", [{"id": "i-1", "name": "edx-1"}])
    path = pathlib.Path(run["mitx_run.folders.folder"]()) / "run.json"
    path.unlink() if damaged is None else path.write_bytes(damaged)
    facts = {"release_number": 1, "new_fleet": [{"id": "i-1", "name": "edx-1"}]}
    # Who only looks mends nothing.
    assert run["mitx_run.record.read"]()["facts"] == facts
    assert (path.read_bytes() if path.exists() else None) == damaged
    assert "taken from the journal" in caplog.text
    # A command that goes on does.
    assert run["mitx_run.record.begin"]("testrun")["facts"] == facts
    assert json.loads(path.read_text())["facts"] == facts
    assert "damaged" not in json.loads(path.read_text())
    assert run["mitx_run.record.pin"]("release_number", 1) == 1


def test_a_damaged_record_of_an_old_run_bars_nothing(run):
    run["mitx_run.record.begin"]("20200101T000000Z-ironwood-1a2b3c")
    folder = pathlib.Path(run["mitx_run.folders.folder"]()).parent
    (folder / "20200101T000000Z-ironwood-1a2b3c" / "run.json").write_text("{")
    known = [one["id"] for one in run["mitx_run.record.runs"]()]
    assert known == ["20200101T000000Z-ironwood-1a2b3c", "testrun"]


def test_what_the_journal_holds_in_part_alone_is_not_taken_for_the_whole(run):
    run["mitx_run.record.pin"]("plan", {"text": "x" * 9000, "release_number": 1})
    path = pathlib.Path(run["mitx_run.folders.folder"]()) / "run.json"
    path.write_text("{")
    with pytest.raises(CommandExecutionError, match="does not hold plan whole. Put back a copy"):
        run["mitx_run.record.read"]()


@pytest.mark.parametrize(
    "function", ["mitx_run.record.read", "mitx_run.events.read", "mitx_run.lock.acquire"]
)
def test_whoever_may_not_open_the_record_is_told_whose_it_must_be(run, monkeypatch, function):
    """The master's ``user`` was changed: what root has written salt cannot read."""
    run["mitx_run.events.write"]("wait", waits_for="x", what="x", seconds=0)

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_text", refused)
    monkeypatch.setattr("mitx_run.lock.os.open", refused)
    with pytest.raises(
        CommandExecutionError, match=r"Permission denied\. Salt runs as .*: chown -R"
    ):
        run[function]()


@pytest.mark.parametrize(
    ("key", "value"), [("run", "../x"), ("run", "/etc"), ("environment", "../evil")]
)
def test_names_that_would_lead_out_of_the_record_are_refused(pillar, mitx, key, value):
    pillar["mitx"][key] = value
    pillar["mitx"]["environments"]["../evil"] = pillar["mitx"]["environments"]["mitx-qa"]
    with pytest.raises(CommandExecutionError, match="no plain name|no name of a run"):
        mitx(begin=False).modules["mitx_run.get_journal"]()


@pytest.mark.parametrize(
    ("aws", "told"),
    [
        ({"keyid": "AKIA1"}, "mitx:…:aws"),
        ({"region": "us_east_1"}, "mitx:…:aws"),
    ],
)
def test_a_client_that_cannot_be_made_names_the_setting(mitx, aws, told, monkeypatch):
    loaded = mitx(aws=aws)
    with pytest.raises(errors.AWSError, match=told) as failure:
        loaded.modules["mitx_run.aws.call"]("elb", "describe_load_balancers")
    assert not isinstance(failure.value, errors.Transient)
