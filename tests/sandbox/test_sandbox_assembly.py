"""
The sandbox's assembly: its processes, its git history, its command line, its report; and a whole
one, killed and taken down.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml

from sandbox import assembly, breaking, cli, git_history, master, points, processes, report
from sandbox import config as settings
from sandbox.hosts import record

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
# A daemon whose child outlives it.
PARENT = [
    sys.executable,
    "-c",
    f"import subprocess, time; subprocess.Popen({SLEEPER!r}); time.sleep(600)",
]


def _yaml(config, name):
    return yaml.safe_load(
        (pathlib.Path(config["directory"]) / "pillar" / f"{name}.sls").read_text()
    )


class TestProcesses:
    def test_a_daemon_is_started_once_and_stopped(self, tmp_path):
        pid = processes.start(tmp_path, "one", SLEEPER)
        assert processes.start(tmp_path, "one", SLEEPER) == pid
        assert processes.alive(tmp_path, "one")
        assert processes.stop(tmp_path, "one") == 1
        assert not processes.alive(tmp_path, "one")
        assert not pathlib.Path(f"/proc/{pid}/exe").exists()

    def test_a_process_that_took_over_the_pid_is_left_alone(self, tmp_path):
        innocent = subprocess.Popen(SLEEPER, start_new_session=True)
        try:
            (tmp_path / "pids").mkdir()
            (tmp_path / "pids" / "one.json").write_text(
                json.dumps({"pid": innocent.pid, "started": 1})
            )
            assert not processes.alive(tmp_path, "one")
            assert processes.stop(tmp_path, "one") == 0
            assert innocent.poll() is None
        finally:
            innocent.kill()
            innocent.wait()

    def test_what_a_killed_daemon_left_behind_is_stopped_too(self, tmp_path):
        pid = processes.start(tmp_path, "one", PARENT)
        child = processes.wait_until(lambda: _children(pid), 20, "the daemon has a child")[0]
        os.kill(pid, signal.SIGKILL)
        processes.wait_until(lambda: not processes.alive(tmp_path, "one"), 20, "the daemon is dead")
        assert pathlib.Path(f"/proc/{child}/exe").exists()
        assert processes.stop(tmp_path, "one") == 1
        assert not pathlib.Path(f"/proc/{child}/exe").exists()

    def test_one_that_ignores_sigterm_is_killed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(processes, "TERM_SECONDS", 0.2)
        code = (
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True);"
            " time.sleep(600)"
        )
        processes.start(tmp_path, "deaf", [sys.executable, "-c", code])
        processes.wait_until(
            lambda: "deaf" in processes.tail(tmp_path, "deaf"), 20, "it ignores SIGTERM"
        )
        assert processes.stop(tmp_path, "deaf") == 1

    def test_waiting_ends_and_says_for_what(self):
        with pytest.raises(processes.DaemonFailed, match="not so after 0.1 s: pigs fly"):
            processes.wait_until(lambda: False, 0.1, "pigs fly", interval=0.01)


def _children(pid):
    return [
        int(found) for found in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


class TestGitHistory:
    @pytest.fixture(scope="class")
    def git(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("git")
        git_history.build(folder)

        def run(repository, *words):
            command = ["git", "--git-dir", str(folder / repository), *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(
                "\n"
            )[:-1]

        run.folder = folder
        return run

    def test_it_is_the_same_everywhere(self, git, tmp_path):
        git_history.build(tmp_path)
        for branch in ("mitx/juniper", "mitx/koa"):
            assert git_history.tip(tmp_path, branch) == git_history.tip(git.folder, branch)

    def test_upstream_has_releases_and_origin_the_patched_ones(self, git):
        refs = git("upstream.git", "for-each-ref", "--format=%(refname:short)")
        assert {
            "open-release/juniper.1",
            "open-release/koa.master",
            "open-release/koa.rc3",
            "master",
        } <= set(refs)
        assert git("origin.git", "for-each-ref", "--format=%(refname:short)") == [
            "mitx/juniper",
            "mitx/koa",
            "open-release/juniper.master",
        ]

    def test_koa_has_four_patches_on_an_older_candidate_one_taken_up_by_edx(self, git):
        git(
            "origin.git",
            "fetch",
            "-q",
            str(git.folder / "upstream.git"),
            "+refs/heads/*:refs/up/*",
            "+refs/tags/*:refs/uptags/*",
        )
        mine = git(
            "origin.git",
            "log",
            "--format=%s",
            "mitx/koa",
            "--not",
            "--glob=refs/up",
            "--glob=refs/uptags",
        )
        assert len(mine) == 4
        left = [
            line[0]
            for line in git("origin.git", "cherry", "refs/up/open-release/koa.master", "mitx/koa")
        ]
        assert sorted(left) == ["+", "+", "+", "-"]
        assert git("origin.git", "rev-list", "mitx/koa..refs/up/open-release/koa.master") != []

    def test_going_to_the_next_codename_the_runbooks_log_lists_edxs_backports_as_ours(self, git):
        git(
            "origin.git", "fetch", "-q", str(git.folder / "upstream.git"), "+refs/heads/*:refs/up/*"
        )
        listed = git(
            "origin.git",
            "log",
            "--format=%an",
            "mitx/juniper",
            "--not",
            "refs/up/open-release/koa.master",
        )
        assert listed.count("edX Release") == 6
        assert listed.count("MIT ODL") == 2

    def test_each_codename_says_its_migrations(self, git):
        for codename, count in (("juniper", 2), ("koa", 3)):
            (text,) = [
                "\n".join(git("origin.git", "show", f"mitx/{codename}:openedx/core/release.json"))
            ]
            said = json.loads(text)
            assert said["codename"] == codename
            assert {name: len(found) for name, found in said["migrations"].items()} == {
                "default": count,
                "student_module_history": count,
            }


class TestCommandLine:
    def test_without_a_sandbox_it_says_how_to_get_one(self, tmp_path, capsys):
        for command in ("status", "window", "env", "salt-run"):
            assert cli.main(["--dir", str(tmp_path / "none"), command]) == 1
            assert "python -m sandbox up" in capsys.readouterr().err

    def test_down_where_nothing_runs(self, tmp_path, capsys):
        assert cli.main(["--dir", str(tmp_path), "down"]) == 0
        assert "Nothing runs" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words", [["up", "--size", "huge"], ["up", "now"], ["fly"], [], ["up", "--at", "lunch"]]
    )
    def test_bad_words_are_refused(self, words, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2
        assert "usage" in capsys.readouterr().err

    def test_a_new_window_is_another_run(self, tmp_path, capsys):
        config = settings.create(tmp_path, "qa")
        assert cli.main(["--dir", str(tmp_path), "window", "--new"]) == 0
        changed = settings.read(tmp_path)
        assert changed["window"]["start"] != config["window"]["start"]
        assert (
            _yaml(changed, "mitx")["mitx"]["defaults"]["window"]["start"]
            == changed["window"]["start"]
        )
        assert (
            cli.main(
                ["--dir", str(tmp_path), "window", "--start", "2031-01-02 03:04", "--hours", "2"]
            )
            == 0
        )
        assert "2031-01-02 03:04 UTC, 2.0 hours" in capsys.readouterr().out
        assert cli.main(["--dir", str(tmp_path), "window", "--start", "tomorrow"]) == 1

    def test_orchestrations_of_ones_own_do_not_replace_a_running_sandbox(self, tmp_path):
        """One that an earlier version has made: its config says nothing of them."""
        config = settings.create(tmp_path, "qa")
        del config["salt_ops"]
        settings.write(tmp_path, config)
        processes.start(tmp_path, "aws", SLEEPER)
        arn = "arn:aws:acm:us-east-1:610119931565:certificate/263b0a3a"
        given = {"tree": "/a b/salt-ops", "extensions": "/e", "certificate": arn}
        wanted = "up --anew --size qa --salt-ops '/a b/salt-ops' --salt-extensions /e"
        try:
            with pytest.raises(settings.SandboxError, match=wanted):
                assembly.up(tmp_path, given=given)
            assert processes.alive(tmp_path, "aws")
        finally:
            processes.stop(tmp_path, "aws")

    def test_another_size_does_not_replace_a_running_sandbox(self, tmp_path):
        settings.create(tmp_path, "qa")
        processes.start(tmp_path, "aws", SLEEPER)
        try:
            with pytest.raises(
                settings.SandboxError, match="size qa runs .* up --anew --size production"
            ):
                assembly.up(tmp_path, "production")
            assert processes.alive(tmp_path, "aws")
        finally:
            processes.stop(tmp_path, "aws")


class TestReport:
    @pytest.fixture
    def config(self, tmp_path):
        config = settings.create(tmp_path, "qa")
        folder = pathlib.Path(config["paths"]["run"]) / "mitx-qa" / "20261122T211500Z-koa-abc123"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"began": "2026-11-22T21:20:00Z"}))
        lines = [
            {
                "time": "2026-11-22T21:20:01Z",
                "event": "phase",
                "phase": "preflight",
                "status": "started",
            },
            {
                "time": "2026-11-22T21:20:03Z",
                "event": "phase",
                "phase": "preflight",
                "status": "finished",
                "seconds": 2.1,
            },
            {
                "time": "2026-11-22T21:30:03Z",
                "event": "phase",
                "phase": "announce",
                "status": "failed",
                "seconds": 1,
                "error": "no bucket",
            },
        ]
        (folder / "journal.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines) + '{"time": "2026-11'
        )
        git_history.build(config["paths"]["git"])
        return config

    def test_it_tells_phases_violations_and_where_things_are(self, config):
        one = {
            "time": "T",
            "host": "lms",
            "reason": "two releases",
            "status": 200,
            "target": "elb:x",
        }
        summary = {
            "asked": 9,
            "per_second": 25.0,
            "hostnames": {"lms": {}},
            "site": 8,
            "page": 0,
            "violations": 1,
        }
        summary |= {"window": None, "first_violations": [one], "finished": True}
        (pathlib.Path(config["directory"]) / "visitor-summary.json").write_text(json.dumps(summary))
        text = report.upgrade(config, "2026-11-22T21:00:00", 61, 2)
        assert "FAILED (salt-run ended with 2), 61 s" in text
        assert "announce   failed       1.0 s  no bucket" in text
        assert "\nviolations: 1\n" in text
        assert "lms: two releases" in text
        assert "20261122T211500Z-koa-abc123" in text

    def test_what_happened_before_is_not_told_again(self, config):
        text = report.upgrade(config, "2026-11-22T22:00:00", 5, 0)
        assert "nothing was left to do" in text
        assert "preflight" not in text

    def test_a_point_that_lies_behind_is_refused(self, config):
        assert points.finished(config) == ["preflight"]
        with pytest.raises(
            settings.SandboxError, match="past fresh: preflight is done.*up --anew --at fresh"
        ):
            points.go(config, "fresh")

    def test_a_point_that_is_not_reached_is_an_error_even_when_salt_says_0(
        self, config, monkeypatch
    ):
        monkeypatch.setattr(assembly, "enforce_policy", lambda _: None)
        monkeypatch.setattr(master, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
        pathlib.Path(config["paths"]["logs"]).mkdir()
        with pytest.raises(settings.SandboxError, match="quiesce was not reached"):
            points.go(config, "prepared", say=lambda _: None)


@pytest.mark.timeout(400)
def test_it_stands_again_after_being_killed_and_leaves_nothing_behind(tmp_path, capsys):
    """The real thing: up, again, the watcher killed, AWS killed, down."""
    directory = tmp_path / "sandbox"
    try:
        config = assembly.up(directory)
        capsys.readouterr()
        pids = {name: processes.read(directory, name)["pid"] for name in assembly.DAEMONS}
        started = time.monotonic()
        assembly.up(directory)
        assert time.monotonic() - started < 5
        assert {name: processes.read(directory, name)["pid"] for name in assembly.DAEMONS} == pids
        _every_fault_is_put_and_mended(directory, config)
        hosts = {host["id"]: host["init"] for host in assembly.hosts(config)}
        for name in ("hosts", "salt-master"):
            os.kill(pids[name], signal.SIGKILL)
            processes.wait_until(
                lambda name=name: not processes.alive(directory, name), 10, f"{name} is dead"
            )
        assembly.up(directory)
        assert {host["id"]: host["init"] for host in assembly.hosts(config)} == hosts
        for name in assembly.DAEMONS:
            os.kill(processes.read(directory, name)["pid"], signal.SIGKILL)
        processes.wait_until(lambda: not processes.alive(directory, "aws"), 10, "AWS is dead")
        capsys.readouterr()
        config = assembly.up(directory)
        assert "building from nothing" in capsys.readouterr().out
        assert not assembly.silent_minions(config)
        assert not set(hosts) & {host["id"] for host in assembly.hosts(config)}
    finally:
        assembly.down(directory)
    assert _naming(directory) == []


def _every_fault_is_put_and_mended(directory, config):
    aws = breaking.aws(config)
    for name in breaking.FAULTS:
        words = ["--dir", str(directory), "break", name]
        # Nothing runs that could be killed, and it says so.
        assert cli.main(words) == (1 if name == "kill" else 0)
    assert assembly.silent_minions(config)
    assert not processes.alive(directory, "dns")
    assert {fault["error"] for fault in aws.faults()} == {"Throttling", "AccessDenied"}
    assert cli.main(["--dir", str(directory), "mend"]) == 0
    assert not assembly.silent_minions(config)
    assert processes.alive(directory, "dns")
    assert aws.faults() == []
    left = [path for path in (directory / "faults").glob("*.json") if record.read(path)]
    assert left == []


def _naming(directory):
    """Command lines of the processes that name a folder, or work in it."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            folder = os.readlink(path / "cwd")
        except OSError:
            continue
        if str(directory) in line or folder.startswith(str(directory)):
            found.append(line)
    return found
