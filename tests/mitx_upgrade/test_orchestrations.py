"""
Orchestrations inside of orchestrations, run by the real salt-run without any daemon. What passes as
success with Salt's own ``salt.runner`` and is none must fail here, and stop what comes after it.
"""

import contextlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import salt.utils.yaml

from tests.support.bus import bus
from tests.support.product import TREE

ROOT = pathlib.Path(__file__).resolve().parents[2]
SALT_RUN = pathlib.Path(sys.executable).with_name("salt-run")


class Master:
    """A configuration for salt-run, its own SLS files, and no daemon: only an event bus."""

    def __init__(self, folder, pillar):
        self.bus = contextlib.ExitStack()
        self.bus.enter_context(bus(folder / "s"))
        self.folder, self.tree = folder, folder / "tree"
        self.pillar = pillar
        for name in ("tree", "pillar", "states", "cache/proc", "cache/pillar_cache"):
            (folder / name).mkdir(parents=True)
        self.write("pillar/top.sls", {"base": {"*": ["all"]}})
        config = {
            "root_dir": str(folder),
            "sock_dir": str(folder / "s"),
            "cachedir": str(folder / "cache"),
            "user": os.environ.get("USER") or "root",
            "id": "test_master",
            "log_file": str(folder / "log"),
            "file_roots": {"base": [str(self.tree), str(TREE)]},
            "pillar_roots": {"base": [str(folder / "pillar")]},
            "module_dirs": [str(ROOT / "_modules")],
            "states_dirs": [str(ROOT / "_states"), str(folder / "states")],
            "runner_dirs": [str(ROOT / "_runners")],
        }
        import getpass

        config["user"] = getpass.getuser()
        self.config = config
        self.configure()

    def configure(self, **options):
        """Options of the master, beside what it needs."""
        self.write("master", {**self.config, **options})

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else salt.utils.yaml.safe_dump(content))

    def sls(self, name, content):
        self.write(f"tree/{name.replace('.', '/')}.sls", content)

    def start(self, *arguments, **environ):
        self.write("pillar/all.sls", self.pillar)
        # Whoever runs the tests in the background has Ctrl-C ignored, and that is inherited.
        command = [
            "env",
            "--default-signal=INT",
            str(SALT_RUN),
            "-c",
            str(self.folder),
            "--out=json",
            "-l",
            "quiet",
            *arguments,
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environ},
            start_new_session=True,
        )

    def run(self, *arguments, **environ):
        process = self.start(*arguments, **environ)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def orchestrate(self, sls, *more, **environ):
        return self.run("state.orchestrate", sls, *more, **environ)

    def journal(self):
        lines = []
        for path in pathlib.Path(self.pillar["mitx"]["run_dir"]).rglob("journal.jsonl"):
            lines += [json.loads(line) for line in path.read_text().splitlines()]
        return lines


@pytest.fixture
def master(pillar):
    del pillar["mitx"]["run"]
    # Nobody answers there, and it is told at once.
    pillar["mitx"]["environments"]["mitx-qa"]["aws"] = {
        "endpoint_url": "http://127.0.0.1:9",
        "attempts": 1,
        "region": "us-east-1",
    }
    # A short path: that of a socket may have 107 characters.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mitx"))
    found = Master(folder, pillar)
    yield found
    found.bus.close()
    shutil.rmtree(folder)


PHASE = """
run:
  mitx_upgrade.started: []
preflight:
  mitx_upgrade.phase_done:
    - failhard: True
announce:
  mitx_upgrade.phase_done:
    - failhard: True
"""


def phases(master, preflight, announce="ok:\n  test.succeed_with_changes: []\n"):
    master.sls("top1", PHASE)
    master.sls("orchestrate.mitx.phases.preflight", preflight)
    master.sls("orchestrate.mitx.phases.announce", announce)


def test_phases_run_once_and_are_skipped_when_the_same_command_runs_again(master):
    phases(master, "ok:\n  test.succeed_with_changes: []\n")
    assert master.orchestrate("top1")[0] == 0
    done = [
        (line["phase"], line["status"]) for line in master.journal() if line["event"] == "phase"
    ]
    assert done == [
        ("preflight", "started"),
        ("preflight", "finished"),
        ("announce", "started"),
        ("announce", "finished"),
    ]
    assert master.orchestrate("top1")[0] == 0
    assert [line for line in master.journal() if line["event"] == "phase"][len(done) :] == []


@pytest.mark.parametrize(
    ("sls", "said"),
    [
        ("bad:\n  test.fail_without_changes: []\n", "test.fail_without_changes (bad): Failure!"),
        ("ok:\n  test.succeed_with_changes: []\nbad:\n  test.fail_with_changes: []\n", "Failure!"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ salt.test.exception('nobody answers') }}", "nobody answers"),
        ("include:\n  - nowhere.to.be.found\n", "nowhere.to.be.found"),
        (
            # What salt.function says of a target that nobody is.
            "bad:\n  test.configurable_test_state:\n    - result: False\n"
            "    - comment: No minions responded\n",
            "It learns them by: salt '*' saltutil.refresh_pillar",
        ),
        ("{}", ""),
        ("bad:\n  mitx_site.there_is_no_such_state: []\n", "there_is_no_such_state"),
    ],
)
def test_a_phase_that_failed_in_whatever_way_stops_everything_after_it(master, sls, said):
    phases(master, sls)
    status, output = master.orchestrate("top1")
    assert status != 0
    assert said in output
    assert "Traceback" not in output
    assert (
        "Next, when that is put right: salt-run state.orchestrate orchestrate.mitx.prepare"
        in output
    )
    told = [
        (line["phase"], line["status"]) for line in master.journal() if line["event"] == "phase"
    ]
    assert told == [("preflight", "started"), ("preflight", "failed")]


def test_what_failed_after_it_had_changed_something_is_told_once(master):
    bad = "bad:\n  test.configurable_test_state:\n    - result: False\n    - changes: True\n"
    phases(master, bad + "    - comment: nobody answers\n")
    output = master.orchestrate("top1")[1]
    assert output.count("nobody answers") == 1
    assert "changed something, and failed" in output


def test_what_failed_is_told_where_salt_shows_nothing_since_its_master_is_gone(master):
    """No master runs here: the log is all that an operator gets then, and it has no traceback."""
    phases(master, "bad:\n  mitx_fleet.swapped: []\n")
    master.bus.close()
    assert master.orchestrate("top1")[0] != 0
    told = (master.folder / "log").read_text()
    assert "preflight failed:" in told
    assert "Next, when that is put right: " in told
    assert "Traceback" not in told


# ---- what the master's configuration may say


def done(master):
    return [line["phase"] for line in master.journal() if line.get("status") == "finished"]


def test_a_master_that_tests_by_itself_runs_for_real_what_says_test_false(master):
    phases(master, "ok:\n  test.succeed_with_changes: []\n")
    master.configure(test=True)
    status, output = master.orchestrate("top1")
    assert status == 0, output
    assert "A dry run (test=True), nothing is changed." in output
    assert master.journal() == []
    status, output = master.orchestrate("top1", "test=False")
    assert status == 0, output
    assert done(master) == ["preflight", "announce"]
    # What the phase ran was no dry run either.
    assert "A dry run" not in output
    assert "is set to be changed" not in output.lower()


def test_a_step_that_was_a_dry_run_of_its_own_did_not_happen(master):
    """A minion whose configuration says test: true, say."""
    master.write(
        "states/dry.py",
        "def run(name):\n"
        "    return {'name': name, 'result': None, 'changes': {}, 'comment': 'would be'}\n",
    )
    phases(master, "ok:\n  dry.run: []\n")
    status, output = master.orchestrate("top1")
    assert status != 0
    assert "dry.run (ok): would be: it was a dry run, which nobody asked for" in output
    assert done(master) == []
    assert master.orchestrate("top1", "test=True")[0] == 0


@pytest.mark.parametrize(
    ("option", "value"), [("pillar_cache", True), ("pillar_source_merging_strategy", "overwrite")]
)
def test_an_option_under_which_pillar_is_not_what_was_said_is_refused_by_name(
    master, option, value
):
    phases(master, "ok:\n  test.succeed_with_changes: []\n")
    master.configure(**{option: value})
    for command in (["state.orchestrate", "top1"], ["mitx.window"], ["mitx.status"]):
        status, output = master.run(*command)
        assert status != 0
        assert f"{option}: {str(value).lower()} in the master's configuration" in output
    assert master.journal() == []


def test_phases_are_found_in_the_environment_of_the_orchestration(master, tmp_path):
    phases(master, "ok:\n  test.succeed_with_changes: []\n")
    roots = {"base": [str(tmp_path / "nothing")], "night": [str(master.tree), str(TREE)]}
    master.configure(file_roots=roots)
    status, output = master.orchestrate("top1", "saltenv=night")
    assert status == 0, output
    assert done(master) == ["preflight", "announce"]


@pytest.mark.parametrize("test", [[], ["test=True"]], ids=["real", "dry"])
@pytest.mark.parametrize("part", ["prepare", "window"])
def test_no_phase_begins_or_is_planned_where_the_run_could_not_be_started(master, part, test):
    """A window that was edited while it is open, or a word that nobody knows."""
    status, output = master.orchestrate(
        f"orchestrate.mitx.{part}", "pillar={mitx: {untill: close}}", *test
    )
    assert status != 0
    assert "mitx:untill: unknown key" in output
    states = json.JSONDecoder().raw_decode(output)[0]["data"]["test_master"]
    assert not [
        state
        for state in states.values()
        if state["result"] is not False or "would run" in state["comment"]
    ]
    # failhard ends a real run there; a dry run Salt lets go on.
    assert test or [state["name"] for state in states.values()] == ["run"]
    assert master.journal() == []


def test_a_dry_run_descends_and_leaves_no_record(master, tmp_path):
    phases(master, "ok:\n  test.succeed_with_changes: []\n")
    status, output = master.orchestrate("top1", "test=True")
    assert status == 0, output
    assert not list((tmp_path / "runs").rglob("*"))
    # Salt 3008 says more, on stderr.
    results = json.JSONDecoder().raw_decode(output)[0]["data"]["test_master"]
    assert {state["result"] for state in results.values()} == {None}


def test_a_phase_does_not_begin_before_the_one_ahead_of_it_is_finished(master):
    master.sls("alone", "close:\n  mitx_upgrade.phase_done: []\n")
    status, output = master.orchestrate("alone")
    assert status != 0
    assert "close cannot begin: preflight, announce" in output


def slowly(flag):
    """An SLS that takes a minute, and says on a file that it has begun."""
    return f"slow:\n  cmd.run:\n    - name: touch {flag}; exec sleep 60\n"


def appears(flag):
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert flag.exists()


@pytest.fixture
def slow(master, tmp_path):
    """A run that is in its first phase for a minute: its process."""
    phases(master, slowly(tmp_path / "begun"))
    process = master.start("state.orchestrate", "top1")
    appears(tmp_path / "begun")
    yield process
    # With what the phase has started.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_control_c_ends_the_whole_run_and_not_one_step(master, slow):
    os.killpg(slow.pid, signal.SIGINT)
    output = slow.communicate(timeout=60)[0]
    assert slow.returncode != 0
    assert "preflight failed:\\nInterrupted" in output
    assert (
        "Next, when that is put right: salt-run state.orchestrate orchestrate.mitx.prepare"
        in output
    )
    assert "Traceback" not in output
    told = [
        (line["phase"], line["status"]) for line in master.journal() if line["event"] == "phase"
    ]
    assert told == [("preflight", "started"), ("preflight", "failed")]


def test_control_c_leaves_the_watch_and_not_the_run(master, slow):
    watch = master.start("mitx.watch")
    told = []
    while not any("preflight" in line for line in told):
        told.append(watch.stdout.readline())
        assert told[-1], told
    os.killpg(watch.pid, signal.SIGINT)
    output = "".join(told) + watch.communicate(timeout=60)[0]
    assert "started" in output
    assert '"locked_by": "' in output
    assert "Traceback" not in output
    assert watch.returncode == 0
    assert slow.poll() is None


def test_on_a_terminal_the_watch_is_one_screen_that_is_left_as_it_was(master, slow):
    ours, theirs = pty.openpty()
    command = [str(SALT_RUN), "-c", str(master.folder), "-l", "quiet", "mitx.watch"]
    watch = subprocess.Popen(
        ["env", "--default-signal=INT", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        start_new_session=True,
    )
    os.close(theirs)
    told, deadline = "", time.monotonic() + 60
    # Drawn twice at least.
    while told.count("\x1b[H") < 3 and time.monotonic() < deadline:
        told += os.read(ours, 65536).decode(errors="replace")
    os.killpg(watch.pid, signal.SIGINT)
    with contextlib.suppress(OSError):
        while more := os.read(ours, 65536):
            told += more.decode(errors="replace")
    assert watch.wait(timeout=60) == 0
    shown = re.sub(r"\x1b\[[0-9;]*[mK]", "", told)
    assert "preflight" in shown
    assert "running: upgrade" in shown
    assert told.startswith("\x1b[?1049h")
    # What is next stands on the terminal afterwards.
    assert "salt-run" in shown.partition("\x1b[?1049l")[2]
    assert "Traceback" not in told
    assert slow.poll() is None


def test_control_c_of_a_command_without_phases_is_no_traceback(master, tmp_path):
    master.sls("orchestrate.mitx.retire", slowly(tmp_path / "begun"))
    process = master.start("mitx.retire")
    appears(tmp_path / "begun")
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "Interrupted" in output
    assert "salt-run mitx.status" in output
    assert "Traceback" not in output


# What deploy has not done yet is what the test says.
EXISTING = """
{% do salt.fake_check.take_its_place() %}
orchestrate.edx.deploy:
  mitx_upgrade.saltops_ran: []
"""
UNFENCED = {"services": {"hold": {"begin": None, "end": None}}}
FAKE = f"""
import os, sys
def take_its_place():
    from mitx_upgrade import saltops
    saltops.PENDING["orchestrate.edx.deploy"] = lambda run: missing()
sys.path.append({str(ROOT / "_modules")!r})
"""


def test_the_existing_orchestration_sees_exactly_its_own_variables(master, tmp_path):
    master.pillar["mitx"]["environments"]["mitx-qa"] |= UNFENCED
    seen = tmp_path / "seen.json"
    # Written by a state, since Jinja of a dry run must not write.
    master.sls(
        "orchestrate.edx.deploy",
        "{% set seen = {} %}{% for name in ['ENVIRONMENT', 'PURPOSE', 'PURPOSES',"
        " 'RUN_MIGRATIONS', 'ANSIBLE_FLAGS'] %}{% do seen.update({name:"
        " salt.environ.get(name)}) %}{% endfor %}\nwrite:\n  file.managed:\n    - name:"
        f" {seen}\n    - contents: '{{{{ seen | json }}}}'\n",
    )
    master.write(
        "mods/fake_check.py",
        FAKE + f"def missing():\n    return [] if os.path.exists({str(seen)!r}) else ['nothing is"
        " deployed']\n",
    )
    config = salt.utils.yaml.safe_load((master.folder / "master").read_text())
    config["module_dirs"].append(str(master.folder / "mods"))
    master.write("master", config)
    master.sls("one", EXISTING)
    status, output = master.orchestrate(
        "one", RUN_MIGRATIONS="0", PURPOSES="current-residential-live", PURPOSE="left over"
    )
    assert status == 0, output
    told = json.loads(seen.read_text())
    assert told["PURPOSES"] == "next-residential-draft,next-residential-live"
    assert told["ENVIRONMENT"] == "mitx-qa"
    assert not told["RUN_MIGRATIONS"]
    assert not told["PURPOSE"]
    # Again: its effect is there, so it is not run.
    assert "nothing to do" in master.orchestrate("one")[1]


def test_an_existing_orchestration_that_only_says_that_it_succeeded_has_failed(master):
    master.pillar["mitx"]["environments"]["mitx-qa"] |= UNFENCED
    master.sls("orchestrate.edx.deploy", "ok:\n  test.succeed_with_changes: []\n")
    master.write(
        "mods/fake_check.py", FAKE + "def missing():\n    return ['there is no instance edx-1']\n"
    )
    config = salt.utils.yaml.safe_load((master.folder / "master").read_text())
    config["module_dirs"].append(str(master.folder / "mods"))
    master.write("master", config)
    master.sls("one", EXISTING)
    status, output = master.orchestrate("one")
    assert status != 0
    assert "reported success, but" in output
    assert "there is no instance edx-1" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mitx.maintenance", "onn"], "takes on, off or status"),
        (["mitx.maintenance", "on", "enviroment=mitx-qa"], "enviroment"),
        (["mitx.swap_elb", "environment=mitx-qua"], "mitx-production, mitx-qa"),
        (["mitx.approve"], "it has not begun"),
        (["mitx.rollback"], "has not begun"),
        (["mitx.plan", "environment=7"], "mitx-production, mitx-qa"),
    ],
)
def test_what_a_tired_engineer_types_exits_non_zero_and_says_what_to_type(master, arguments, said):
    status, output = master.run(*arguments)
    assert status != 0, output
    assert said in output
    assert "Traceback" not in output
