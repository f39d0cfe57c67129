"""
Against a real master and real minions: what an operator would be told wrongly if the gateway to the
minions lied.
"""

import pathlib
import shutil
import threading

import pytest
from salt.client import LocalClient
from salt.exceptions import CommandExecutionError

from tests.support.lab import PURPOSE, WEB, WORKER, wait

GHOST = "edx-mitx-qa-next-residential-draft-1-v1"
BOTH = [WEB, WORKER]


def minions_lines(loaded):
    return loaded.modules["mitx_run.events.read"]("minions")


# ---- the gateway


def test_exactly_those_that_were_asked_have_answered(salt):
    modules = salt().modules
    assert modules["mitx_hosts.jobs.execute"](BOTH, "test.ping", change=False) == {
        WEB: True,
        WORKER: True,
    }
    both = modules["mitx_hosts.jobs.execute"](
        BOTH, ["test.echo", "grains.get"], [["a b"], ["purpose"]], change=False
    )
    assert both == dict.fromkeys(BOTH, {"test.echo": "a b", "grains.get": PURPOSE})


def test_a_change_is_in_the_journal_before_and_after(salt):
    loaded = salt()
    loaded.modules["mitx_hosts.jobs.shell"]([WEB], "true", label="nothing")
    assert [(line["stage"], line["label"], line["minions"]) for line in minions_lines(loaded)] == [
        ("before", "nothing", [WEB]),
        ("after", "nothing", [WEB]),
    ]


def test_a_dry_run_asks_nobody_to_change_anything(lab, salt):
    mark = lab.hosts[WEB].home / "was-here"
    with pytest.raises(CommandExecutionError, match="Refused under test=True"):
        salt(test=True).modules["mitx_hosts.jobs.shell"]([WEB], "touch ~/was-here")
    assert not mark.exists()


def test_a_dead_minion_and_an_unknown_one_are_named(lab, salt):
    keys = pathlib.Path(lab.master.config["pki_dir"]) / "minions"
    shutil.copy(keys / WORKER, keys / GHOST)
    try:
        with pytest.raises(CommandExecutionError) as told:
            salt(timeouts={"minions": 6}).modules["mitx_hosts.jobs.execute"](
                [WEB, GHOST, "edx-nobody"], "test.ping", change=False
            )
    finally:
        (keys / GHOST).unlink()
    assert f"{GHOST}: no answer" in str(told.value)
    assert "edx-nobody: the master has no accepted key of it" in str(told.value)
    assert "2 of 3 minions did not do it (1 did)" in str(told.value)


@pytest.mark.parametrize("nobody", [[], None, "", WEB, [None]])
def test_no_list_of_minions_is_no_success(salt, nobody):
    with pytest.raises(CommandExecutionError, match="Nothing was asked of anybody"):
        salt().modules["mitx_hosts.jobs.execute"](nobody, "test.ping", change=False)


@pytest.mark.parametrize(
    ("fun", "arg", "kwarg", "reason"),
    [
        ("cmd.run_all", ["echo so; exit 3"], {"python_shell": True}, "exit status 3: so"),
        ("nosuch.function", [], None, "'nosuch.function' is not available"),
        ("test.exception", ["boom"], None, "Exception: boom"),
        ("test.ping", ["too", "many"], None, "Passed invalid arguments|test.ping"),
        (
            ["test.ping", "test.exception"],
            [[], ["boom"]],
            None,
            "test.exception: .*Exception: boom",
        ),
        (["test.ping", "nosuch.function"], [[], []], None, "nosuch.function: "),
        ("state.sls", ["no.such.sls"], None, "No matching sls found|not found"),
    ],
)
def test_what_failed_on_a_minion_fails_here_with_its_reason(salt, fun, arg, kwarg, reason):
    with pytest.raises(CommandExecutionError, match=f"{WEB}: .*({reason})"):
        salt().modules["mitx_hosts.jobs.execute"]([WEB], fun, arg, kwarg, change=False)


def test_one_host_that_fails_among_others_that_succeed_is_a_failure(lab, salt):
    (lab.hosts[WEB].home / "only-here").touch()
    with pytest.raises(
        CommandExecutionError,
        match=rf"1 of 2 minions did not do it \(1 did\):\n  - {WORKER}: exit status 1",
    ):
        salt().modules["mitx_hosts.jobs.shell"](BOTH, "test -e ~/only-here")


def test_a_pipe_hides_no_failure_and_a_command_ends_when_its_time_runs_out(salt):
    modules = salt().modules
    with pytest.raises(CommandExecutionError, match="exit status 1"):
        modules["mitx_hosts.jobs.shell"]([WEB], "false | cat")
    with pytest.raises(CommandExecutionError, match=r"exit status 124 \(its time ran out\)"):
        modules["mitx_hosts.jobs.shell"]([WEB], "sleep 60", timeout=1)


def test_a_job_that_outlasts_its_limit_is_told_with_its_id(salt):
    with pytest.raises(CommandExecutionError, match=rf"{WEB}: no answer after 2 s: .*find_job \d+"):
        salt().modules["mitx_hosts.jobs.execute"]([WEB], "test.sleep", [8], timeout=2)


def test_a_minion_killed_between_ask_and_answer_is_a_failure(lab, salt):
    loaded = salt(timeouts={"minions": 8})
    proc = pathlib.Path(lab.minions[WORKER].config["cachedir"]) / "proc"

    def kill():
        wait(lambda: any(proc.iterdir()), what="the job on the minion")
        lab.kill(WORKER)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(CommandExecutionError, match=rf"1 of 2 .*\n  - {WORKER}: no answer"):
            loaded.modules["mitx_hosts.jobs.execute"](BOTH, "test.sleep", [5], timeout=60)
    finally:
        killer.join()
        lab.minions[WORKER].start()
    assert [line["stage"] for line in minions_lines(loaded)] == ["before", "failed"]
    wait(lambda: _answers(loaded, WORKER), what="the minion, started again")


def _answers(loaded, minion):
    try:
        return loaded.modules["mitx_hosts.jobs.execute"]([minion], "test.ping", change=False)
    except CommandExecutionError:
        return False


def test_a_host_of_another_release_under_the_same_name_is_found_out(lab, salt):
    modules = salt().modules
    assert modules["mitx_hosts.hosts.identity_mismatches"](lab.instances()) == []
    told = modules["mitx_hosts.hosts.identity_mismatches"](
        lab.instances(codename="juniper", release=3)
    )
    assert f"{WEB} (i-{len(WEB)}) is tagged codename juniper, its minion says 'koa'" in told
    assert len(told) == 4


# ---- services


def test_stop_ends_everything_and_proves_it_and_the_second_time_changes_nothing(supervised, salt):
    loaded = salt()
    stopped = loaded.modules["mitx_hosts.services.stop"](BOTH)
    assert set(stopped) == set(BOTH)
    assert "gitreload is running" in stopped[WEB]
    for host in supervised.hosts.values():
        assert set(host.status().values()) == {"STOPPED"}
    assert supervised.hosts[WEB].unit("gitreload") is False
    found = loaded.modules["mitx_hosts.services.status"](BOTH)
    assert [one["schedule"] for one in found.values()] == [False, False]
    changes = len(minions_lines(loaded))
    assert loaded.modules["mitx_hosts.services.stop"](BOTH) == {}
    assert len(minions_lines(loaded)) == changes


def test_start_brings_everything_back_and_proves_it(supervised, salt):
    modules = salt().modules
    modules["mitx_hosts.services.stop"](BOTH)
    modules["mitx_hosts.services.start"](BOTH)
    for host in supervised.hosts.values():
        assert set(host.status().values()) == {"RUNNING"}
    assert supervised.hosts[WEB].unit("gitreload") is True
    found = modules["mitx_hosts.services.status"](BOTH)
    assert modules["mitx_hosts.services.problems"](found, "running") == []
    assert len(modules["mitx_hosts.services.problems"](found, "stopped")) == 3 + 1 + 2


def test_web_goes_first_and_the_workers_go_on(supervised, salt):
    salt().modules["mitx_hosts.services.stop"](BOTH, ["web", "systemd"])
    assert set(supervised.hosts[WEB].status().values()) == {"STOPPED"}
    assert supervised.hosts[WORKER].status() == {"lms_worker": "RUNNING"}


def test_a_dead_supervisord_is_neither_stopped_nor_running(supervised, salt):
    supervised.hosts[WORKER].unsupervise()
    modules = salt().modules
    for verb in ("stop", "start", "restart"):
        with pytest.raises(
            CommandExecutionError,
            match=rf"supervisord does not answer.*\n  - {WORKER}: .*no such file",
        ):
            modules[f"mitx_hosts.services.{verb}"](BOTH)
    assert set(supervised.hosts[WEB].status().values()) == {"RUNNING"}, (
        "nothing is touched before everything is known"
    )
    assert any(
        "supervisord does not answer" in line
        for line in modules["mitx_hosts.services.problems"](
            modules["mitx_hosts.services.status"](BOTH), "stopped"
        )
    )


def test_one_program_that_is_fatal_is_told_at_once(supervised, salt):
    supervised.hosts[WORKER].supervise(broken="/bin/false")
    modules = salt(services={"timeout": 600}).modules
    with pytest.raises(
        CommandExecutionError, match=rf"Not running:\n  - {WORKER}: broken is FATAL\n"
    ):
        modules["mitx_hosts.services.start"](BOTH)
    assert "broken is FATAL" not in str(modules["mitx_hosts.services.stop"](BOTH)), (
        "no process: nothing to stop"
    )


def test_restart_replaces_every_process_and_starts_nothing_that_was_stopped(supervised, salt):
    modules = salt().modules
    supervised.hosts[WEB].ctl("stop", "cms")
    before = modules["mitx_hosts.services.status"](BOTH)
    assert modules["mitx_hosts.services.restart"](BOTH) == {WEB: ["lms"], WORKER: ["lms_worker"]}
    after = modules["mitx_hosts.services.status"](BOTH)
    assert after[WEB]["supervisor"] == {"lms": "RUNNING", "cms": "STOPPED"}
    assert after[WEB]["pids"]["lms"] != before[WEB]["pids"]["lms"]


def test_a_worker_that_its_schedule_restarts_all_the_time_is_stopped_for_good(
    supervised, salt, lab
):
    modules = salt().modules
    modules["mitx_hosts.services.start"](BOTH)
    worker = supervised.hosts[WORKER]
    job = {
        "function": "cmd.run",
        "args": ["~/bin/supervisorctl restart all; echo >> ~/restarts"],
        "seconds": 1,
        "maxrunning": 1,
    }
    lab.pillar({"restart_workers": job})
    try:
        modules["mitx_hosts.jobs.execute"](
            [WORKER], "saltutil.refresh_pillar", kwarg={"wait": True}
        )
        restarts = worker.home / "restarts"
        wait(restarts.exists, what="the schedule at work")
        modules["mitx_hosts.services.stop"](BOTH)
        count = restarts.read_text()
        # Time in which it would have been at work again, measured by the minion's own clock of
        # schedules.
        for _ in range(3):
            modules["mitx_hosts.jobs.execute"]([WORKER], "test.sleep", [1], change=False)
        assert restarts.read_text() == count
        assert worker.status() == {"lms_worker": "STOPPED"}
        modules["mitx_hosts.services.start"](BOTH)
        wait(lambda: restarts.read_text() != count, what="the schedule at work again")
    finally:
        lab.pillar(None)
        modules["mitx_hosts.jobs.execute"](
            [WORKER], "saltutil.refresh_pillar", kwarg={"wait": True}
        )


def test_the_schedule_stays_held_when_the_minion_is_started_again(supervised, salt):
    modules = salt().modules
    modules["mitx_hosts.services.stop"]([WORKER])
    supervised.minions[WORKER].terminate()
    supervised.minions[WORKER].start()
    assert modules["mitx_hosts.services.stop"]([WORKER]) == {}
    assert modules["mitx_hosts.services.start"]([WORKER]) != {}


def test_a_highstate_under_way_is_told_since_it_may_start_what_was_stopped(supervised, salt):
    salt().modules["mitx_hosts.services.stop"](BOTH)
    loaded = salt(services={"timeout": 8})
    home = supervised.hosts[WEB].home
    (home / "ansible").write_text(
        "touch ~/at-work; while [ ! -e ~/go-on ]; do sleep 0.1; done; rm ~/go-on ~/at-work"
    )
    with LocalClient(c_path=supervised.master.config_file) as client:
        client.run_job([WEB], "state.sls", ["edx.run_ansible"], tgt_type="list")
    try:
        wait((home / "at-work").exists, what="the highstate")
        with pytest.raises(
            CommandExecutionError, match=rf"Not stopped:\n  - {WEB}: state.sls is at work there"
        ):
            loaded.modules["mitx_hosts.services.stop"](BOTH)
    finally:
        (home / "go-on").touch()
        wait(
            lambda: loaded.modules["mitx_hosts.services.status"]([WEB])[WEB]["busy"] == [],
            what="the end of the highstate",
        )
    assert loaded.modules["mitx_hosts.services.stop"](BOTH) == {}
