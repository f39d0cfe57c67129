"""Migrations on real minions: run once, alone, with their output kept, whatever dies."""

import json
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest
from salt.client import LocalClient
from salt.exceptions import CommandExecutionError

from tests.support.lab import PURPOSE, WEB, WORKER, wait

# What is unapplied is a file of the home; a command takes it away, and leaves a line for each time
# that it ran.
PENDING = {
    "lms": "cat ~/unapplied 2>/dev/null || true",
    "cms": "true",
    "student_module_history": "true",
}
NOTHING = {PURPOSE: {"lms": [], "cms": [], "student_module_history": []}}
APPLY = "echo applying; echo ran >> ~/ran; rm ~/unapplied; echo done"
ROOT = pathlib.Path(__file__).resolve().parents[2]
WAITING = f"touch ~/begun; while [ ! -e ~/go-on ]; do sleep 0.1; done; {APPLY}"


@pytest.fixture
def database(lab, salt):
    """
    Both hosts stopped, two migrations unapplied; ``database(command)`` is the package that would
    run the command.
    """
    for host in lab.hosts.values():
        host.supervise()
        for left in (".mitx-upgrade", "ran", "unapplied", "begun", "go-on"):
            subprocess.run(["rm", "-rf", host.home / left], check=True)
    home = lab.hosts[WEB].home
    (home / "unapplied").write_text("app.0001_initial\napp.0002_more\n")
    (home / "edx-platform").mkdir(exist_ok=True)
    salt().modules["mitx_hosts.services.stop"]([WEB, WORKER])

    def load(command=APPLY, **migrate):
        return salt(
            migrate={
                "pending": PENDING,
                "commands": [{"name": "lms", "command": command}],
                "timeout": 60,
                **migrate,
            }
        )

    load.home = home
    return load


def migrate(loaded, lab):
    return loaded.modules["mitx_hosts.migrations.migrate"]([], lab.instances())


def output(loaded, name=f"migrate/{PURPOSE}-lms.log"):
    return (pathlib.Path(loaded.modules["mitx_run.folders.folder"]()) / "output" / name).read_text()


def test_what_is_unapplied_is_applied_once_and_its_output_kept(database, lab):
    loaded = database()
    assert migrate(loaded, lab) == {
        PURPOSE: {**NOTHING[PURPOSE], "lms": ["app.0001_initial", "app.0002_more"]}
    }
    assert "applying\ndone\n# exit status 0" in output(loaded)
    assert "app.0002_more" in output(loaded, "migrate/00-unapplied.txt")
    assert migrate(loaded, lab) == NOTHING
    assert (database.home / "ran").read_text() == "ran\n"


def test_what_runs_again_is_stopped_before_anything_is_migrated(database, lab):
    """An engineer starts one to look why a migration failed, and runs the window again."""
    loaded = database(
        f"! {lab.hosts[WORKER].home}/bin/supervisorctl status | grep RUNNING && {APPLY}"
    )
    lab.hosts[WORKER].ctl("start", "lms_worker")
    loaded.modules["mitx_hosts.jobs.execute"]([WORKER], "schedule.enable")
    migrate(loaded, lab)
    assert (database.home / "ran").read_text() == "ran\n"
    assert (
        loaded.modules["mitx_hosts.services.problems"](
            loaded.modules["mitx_hosts.services.status"]([WORKER]), "stopped"
        )
        == []
    )


def test_nothing_is_migrated_while_nobody_knows_what_runs(database, lab):
    loaded = database()
    lab.hosts[WORKER].unsupervise()
    with pytest.raises(CommandExecutionError, match=f"supervisord does not answer(.|\n)*{WORKER}"):
        migrate(loaded, lab)
    assert not (database.home / "ran").exists()


def test_commands_run_where_the_code_lies(database, lab):
    loaded = database(f"pwd > ~/where; {APPLY}")
    migrate(loaded, lab)
    assert (database.home / "where").read_text().strip() == str(database.home / "edx-platform")


def test_a_migration_that_fails_says_why_where_and_what_next_and_running_again_goes_on(
    database, lab
):
    failing = database(
        "echo half; echo 'django.db.utils.OperationalError: no such column' >&2; exit 1"
    )
    with pytest.raises(CommandExecutionError) as told:
        migrate(failing, lab)
    assert "exit status 1" in str(told.value)
    assert "OperationalError: no such column" in str(told.value)
    assert "stays on the maintenance page" in str(told.value)
    assert "salt-run state.orchestrate orchestrate.mitx.prepare" in str(told.value)
    assert f"output/migrate/{PURPOSE}-lms.log" in str(told.value)
    repaired = database()
    assert migrate(repaired, lab)[PURPOSE]["lms"] != []
    assert output(repaired).index("OperationalError") < output(repaired).index("done"), (
        "the failed attempt's output is kept too"
    )


def test_a_migration_that_hangs_is_ended(database, lab):
    with pytest.raises(CommandExecutionError, match=r"exit status 124 \(its time ran out\)"):
        migrate(database("echo begun; echo $$ > ~/pid; sleep 600", timeout=2), lab)
    pid = (database.home / "pid").read_text().strip()
    assert not pathlib.Path(f"/proc/{pid}").exists()


def test_a_migration_that_is_killed_is_a_failure(database, lab):
    with pytest.raises(CommandExecutionError, match=r"exit status 137 \(it was killed\)"):
        migrate(database("kill -9 $$"), lab)


def test_commands_that_succeed_and_apply_nothing_are_found_out(database, lab):
    with pytest.raises(
        CommandExecutionError,
        match=f"still unapplied:\n  - {PURPOSE}, lms: app.0001_initial, app.0002_more",
    ):
        migrate(database("true"), lab)


def test_a_list_of_what_is_unapplied_that_fails_is_not_an_empty_list(database, lab):
    with pytest.raises(
        CommandExecutionError,
        match=r"unapplied migrations \(lms, cms, student_module_history\): 1 of 1",
    ):
        migrate(database(pending={"lms": "cat /nonexistent | sort"}), lab)


def test_the_list_may_be_that_of_showmigrations(database, lab):
    (database.home / "unapplied").write_text("[X]  app.0001_initial\n[ ]  app.0002_more\n")
    loaded = database()
    assert loaded.modules["mitx_hosts.migrations.pending"](lab.instances()) == {
        PURPOSE: {**NOTHING[PURPOSE], "lms": ["app.0002_more"]}
    }


def test_what_is_not_understood_is_no_migration_and_not_none(database, lab):
    lines = (
        "Planned operations:",
        "(no migrations)",
        "System check identified some issues:",
        "?: (urls.W005) URL namespace 'x' isn't unique.",
        "[-] app.0002_more",
        "lms",
        "[ ] 0002_more",
    )
    (database.home / "unapplied").write_text("[X]  app.0001_initial\n" + "\n".join(lines) + "\n")
    loaded = database()
    with pytest.raises(CommandExecutionError, match="is not understood") as told:
        migrate(loaded, lab)
    assert all(f"{WEB}, migrate:pending:lms: {line!r}" in str(told.value) for line in lines)
    assert not (database.home / "ran").exists()


def test_colours_and_the_migrations_that_one_waits_for_are_understood(database, lab):
    (database.home / "unapplied").write_text(
        "\033[1m[X]\033[0m  app.0001_initial\n[ ]  app.0002_more ... (app.0001_initial)\n"
    )
    found = database().modules["mitx_hosts.migrations.pending"](lab.instances())
    assert found[PURPOSE]["lms"] == ["app.0002_more"]


def test_a_migration_that_a_kill_left_half_applied_is_called_that_with_both_ways_out(database, lab):
    """MySQL does not take back what a migration has changed when it is killed."""
    half = (
        "echo '  Applying app.0001_initial... OK'; echo '  Applying app.0002_more...'; echo"
        ' "django.db.utils.OperationalError: (1060, \\"Duplicate column name \'more\'\\")" >&2;'
        " exit 1"
    )
    loaded = database(half)
    with pytest.raises(CommandExecutionError) as told:
        migrate(loaded, lab)
    assert (
        'app.0002_more was begun before and ended in the middle: (1060, "Duplicate column name'
        " 'more'\")" in str(told.value)
    )
    assert "migrate --fake app 0002_more" in str(told.value)
    assert "salt-run mitx.rollback" in str(told.value)
    # The next attempt fails for another reason.
    with pytest.raises(CommandExecutionError) as told:
        migrate(database("echo '  Applying app.0002_more...'; exit 1"), lab)
    assert "ended in the middle" not in str(told.value)


def test_a_second_migration_never_runs_beside_one_that_was_left_behind(database, lab):
    """The command that began it is gone (killed); the job goes on on the host."""
    loaded = database(WAITING)
    line = loaded.modules["mitx_hosts.migrations.command_line"](
        {"name": "lms", **loaded.settings["migrate"]["commands"][0]}, loaded.settings
    )
    with LocalClient(c_path=lab.master.config_file) as client:
        client.run_job(
            [WEB], "cmd.run_all", [line, {"__kwarg__": True, "python_shell": True}], tgt_type="list"
        )
    wait((database.home / "begun").exists, what="the first migration")
    with pytest.raises(CommandExecutionError, match="another migration is at work here"):
        loaded.modules["mitx_hosts.jobs.shell"]([WEB], line)
    (database.home / "go-on").touch()
    assert migrate(loaded, lab) == NOTHING
    assert (database.home / "ran").read_text() == "ran\n"
    assert "done" in output(loaded), "the output of the one that was left behind is fetched"


DRIVER = """
    import json, sys
    import salt._logging, salt.config, salt.loader
    salt._logging.shutdown_temp_handler()
    sys.path.insert(0, sys.argv[3])
    from tests.support.rooms import Modules
    opts, instances = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    minion = {**salt.config.DEFAULT_MINION_OPTS, **opts}
    modules = Modules(salt.loader.minion_mods(minion, utils=salt.loader.utils(opts)))
    modules["mitx_hosts.migrations.migrate"]([], instances)
"""


def test_kill_9_in_the_middle_and_the_same_command_again(database, lab, tmp_path):
    loaded = database(WAITING)
    kept = (
        "id",
        "root_dir",
        "cachedir",
        "extension_modules",
        "conf_file",
        "file_client",
        "module_dirs",
        "grains",
        "pillar",
        "test",
    )
    opts = json.dumps({key: loaded.opts[key] for key in kept})
    driver = [
        sys.executable,
        "-c",
        textwrap.dedent(DRIVER),
        opts,
        json.dumps(lab.instances()),
        str(ROOT),
    ]
    mirror = (
        pathlib.Path(loaded.modules["mitx_run.folders.folder"]())
        / "output"
        / "migrate"
        / f"{PURPOSE}-lms.log"
    )
    with (tmp_path / "driver.log").open("w") as log:
        first = subprocess.Popen(driver, stdout=log, stderr=log)
        wait((database.home / "begun").exists, what="the first migration")
        first.send_signal(signal.SIGKILL)
        first.wait(20)
        mirror.unlink(missing_ok=True)
        second = subprocess.Popen(driver, stdout=log, stderr=log)
        try:
            wait(mirror.exists, what="the second one, waiting for the end of the first")
            (database.home / "go-on").touch()
            assert second.wait(120) == 0, (tmp_path / "driver.log").read_text()
        finally:
            (database.home / "go-on").touch()
            second.kill()
    assert (database.home / "ran").read_text() == "ran\n"
    assert not (database.home / "unapplied").exists()
    assert "done" in mirror.read_text()
