"""
Answers of minions as Salt gives them, and what may pass for success: the answers that no lab gives
on demand.
"""

import contextlib
import pathlib
import socket
import threading

import pytest
import salt.client
from salt.exceptions import CommandExecutionError, SaltClientError

WEB, WORKER = (
    "edx-mitx-qa-next-residential-live-0-v1",
    "edx-worker-mitx-qa-next-residential-live-0-v1",
)


class Client:
    """LocalClient, with its answers said beforehand; remembers what was published."""

    keys, incoming, published = [WEB, WORKER], [], []

    def __init__(self, c_path):
        self.c_path = c_path

    def destroy(self):
        pass

    def run_job(self, tgt, fun, arg, tgt_type, listen, timeout):
        if isinstance(self.keys, Exception):
            raise self.keys
        type(self).published = [*self.published, (tgt, fun, arg, tgt_type)]
        there = [minion for minion in tgt if minion in self.keys]
        return {"jid": "20261220210000000000", "minions": there} if there else {}

    def get_iter_returns(self, jid, minions, **kwargs):
        yield from self.incoming


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(Client, "keys", [WEB, WORKER])
    monkeypatch.setattr(Client, "incoming", [])
    monkeypatch.setattr(Client, "published", [])
    monkeypatch.setattr(salt.client, "LocalClient", Client)
    return Client


def good(minion, ret=True):
    return {minion: {"ret": ret, "retcode": 0}}


def test_one_job_for_all_hosts(mitx, client):
    client.incoming = [None, good(WORKER), None, good(WEB)]
    assert mitx().modules["mitx_hosts.jobs.execute"]([WEB, WORKER], "test.ping", change=False) == {
        WEB: True,
        WORKER: True,
    }
    assert client.published == [([WEB, WORKER], "test.ping", [], "list")]


def test_keyword_arguments_travel_marked_for_one_function_and_for_several(mitx, client):
    modules = mitx().modules
    client.incoming = [good(WEB, {"cmd.run_all": {}, "test.ping": True})]
    client.incoming[0][WEB]["retcode"] = {"cmd.run_all": 0, "test.ping": 0}
    modules["mitx_hosts.jobs.execute"](
        [WEB],
        ["cmd.run_all", "test.ping"],
        [["ls"], []],
        [{"python_shell": True}, None],
        change=False,
    )
    assert client.published[0][2] == [["ls", {"__kwarg__": True, "python_shell": True}], []]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"ret": True}, "return code None, returned True"),
        ({"ret": None, "retcode": 1}, "return code 1, returned None"),
        ({"ret": "'x.y' is not available.", "retcode": 0}, "'x.y' is not available."),
        (
            {
                "ret": "The minion function caused an exception: Traceback\nValueError: no",
                "retcode": 0,
            },
            "ValueError: no",
        ),
        (
            {"ret": {"pid": 1, "retcode": 137, "stdout": "", "stderr": "gone"}, "retcode": 137},
            r"exit status 137 \(it was killed\): gone",
        ),
        (
            # The shell itself, and all that it ran.
            {"ret": {"pid": 1, "retcode": -9, "stdout": "", "stderr": ""}, "retcode": -9},
            r"exit status -9 \(it was killed\)",
        ),
        (
            {
                "ret": {
                    "file_|-a_|-a_|-managed": {
                        "result": False,
                        "__id__": "a",
                        "comment": "no source",
                    }
                },
                "retcode": 2,
            },
            "a: no source",
        ),
        (
            {
                "ret": [
                    "Rendering SLS failed",
                    'The function "state.highstate" is running as PID 7',
                ],
                "retcode": 1,
            },
            "is running as PID 7",
        ),
        ({"failed": True}, "no answer"),
    ],
)
def test_what_is_no_success(mitx, client, answer, reason):
    client.incoming = [good(WORKER), {WEB: answer}]
    with pytest.raises(
        CommandExecutionError,
        match=rf"1 of 2 minions did not do it \(1 did\):\n  - {WEB}: .*{reason}",
    ):
        mitx().modules["mitx_hosts.jobs.execute"]([WEB, WORKER], "x.y", change=False)


def test_a_function_among_several_that_has_no_return_code_raised(mitx, client):
    client.incoming = [
        {WEB: {"ret": {"a.a": True, "b.b": "Traceback\nKeyError: 'c'"}, "retcode": {"a.a": 0}}}
    ]
    with pytest.raises(CommandExecutionError, match="b.b: .*KeyError: 'c'"):
        mitx().modules["mitx_hosts.jobs.execute"]([WEB], ["a.a", "b.b"], change=False)


def test_two_hosts_under_one_name_are_told(mitx, client):
    client.incoming = [good(WEB), good(WEB), good(WORKER)]
    with pytest.raises(CommandExecutionError, match=f"{WEB}: 2 hosts answer to this name"):
        mitx().modules["mitx_hosts.jobs.execute"]([WEB, WORKER], "test.ping", change=False)


def test_nobody_with_a_key_is_no_success(mitx, client):
    client.keys = []
    with pytest.raises(
        CommandExecutionError, match=rf"2 of 2 .*\n  - {WEB}: the master has no accepted key"
    ):
        mitx().modules["mitx_hosts.jobs.execute"]([WEB, WORKER], "test.ping", change=False)


def test_a_master_that_is_down_is_told_as_such(mitx, client):
    client.keys = SaltClientError("The salt master could not be contacted. Is master running?")
    with pytest.raises(CommandExecutionError, match="Is salt-master running"):
        mitx().modules["mitx_hosts.jobs.execute"]([WEB], "test.ping", change=False)


@pytest.fixture
def bus(mitx):
    """
    ``bus()``: a master begins to listen on the event bus, in place of an earlier one;
    ``bus.loaded`` is the package.
    """
    loaded = mitx()
    path = pathlib.Path(loaded.opts["sock_dir"]) / "master_event_pub.ipc"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:

        def listen():
            path.unlink(missing_ok=True)
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(path))
            server.listen(8)
            return server

        listen.loaded = loaded
        yield listen


def test_a_master_that_was_killed_is_not_waited_for(client, bus):
    bus().close()
    with pytest.raises(
        CommandExecutionError, match="nobody listens on its event bus. Is salt-master running"
    ):
        bus.loaded.modules["mitx_hosts.jobs.execute"]([WEB], "test.ping", change=False)
    assert client.published == []


@pytest.mark.parametrize("again", [False, True], ids=["stays away", "is started again"])
def test_with_a_master_that_goes_the_answers_are_lost_and_nobody_waits_for_them(client, bus, again):
    server = bus()

    class Silence:
        def __iter__(self):
            server.close()
            if again:
                bus()
            threading.Event().wait(30)
            yield

    client.incoming = Silence()
    with pytest.raises(
        CommandExecutionError, match="stopped or restarted meanwhile, and the answers are lost"
    ):
        bus.loaded.modules["mitx_hosts.jobs.execute"](
            [WEB], "test.sleep", [600], timeout=3600, change=False
        )


@pytest.mark.parametrize(("seconds", "times"), [(0, 4), (3600, 0)])
def test_what_is_to_go_on_meanwhile_is_called_every_few_seconds_of_a_job(
    mitx, client, monkeypatch, seconds, times
):
    modules, called = mitx().modules, []
    monkeypatch.setattr("mitx_hosts.jobs._MEANWHILE", seconds)
    # What is no answer yet lets it look as well.
    client.incoming = [{WEB: {"failed": True}}, {WEB: {"failed": True}}, good(WEB)]
    modules["mitx_hosts.jobs.execute"](
        [WEB], "test.ping", change=False, meanwhile=lambda: called.append(seconds)
    )
    assert len(called) == times


def test_a_password_in_an_answer_is_not_told(mitx, client):
    client.incoming = [
        {
            WEB: {
                "ret": {
                    "retcode": 128,
                    "stdout": "",
                    "stderr": "fatal: https://me:secret@git.example.org/",
                },
                "retcode": 128,
            }
        }
    ]
    with pytest.raises(CommandExecutionError) as told:
        mitx().modules["mitx_hosts.jobs.execute"]([WEB], "cmd.run_all", ["git fetch"], change=False)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/edx/app", "/edx/app"),
        ("~/edx app", "~/'edx app'"),
        ("/a;b", "'/a;b'"),
        ("~/$(x)", "~/'$(x)'"),
    ],
)
def test_only_a_leading_home_is_left_to_the_shell(mitx, path, quoted):
    assert mitx().modules["mitx_hosts.jobs.quoted"](path) == quoted


def listing(*lines):
    return {
        WEB: {
            "ret": {
                "cmd.run_all": {"pid": 1, "retcode": 3, "stdout": "\n".join(lines), "stderr": ""},
                "schedule.is_enabled": False,
                "saltutil.running": [],
                "service.get_running": ["ssh", "cron"],
            },
            "retcode": dict.fromkeys(
                ("cmd.run_all", "schedule.is_enabled", "saltutil.running", "service.get_running"), 0
            ),
        }
    }


def problems(mitx, client, wanted, *lines):
    client.incoming = [listing(*lines)]
    modules = mitx().modules
    found = modules["mitx_hosts.services.status"]([WEB])
    return [
        line.removeprefix(f"{WEB}: ")
        for line in modules["mitx_hosts.services.problems"](found, wanted)
    ]


def test_stopped_means_no_process_and_none_to_come(mitx, client):
    lines = [
        f"edxapp:{state.lower():20} {state}   Dec 20 09:00 PM"
        for state in ("STOPPED", "EXITED", "FATAL", "BACKOFF", "STARTING", "UNKNOWN")
    ]
    assert problems(mitx, client, "stopped", *lines) == [
        "edxapp:backoff is BACKOFF",
        "edxapp:starting is STARTING",
        "edxapp:unknown is UNKNOWN",
    ]


def test_the_name_of_a_program_that_does_not_run_is_kept(mitx, client):
    """Salt's own supervisord.status calls it ERROR:."""
    assert "edxapp:lms is FATAL" in problems(
        mitx,
        client,
        "running",
        "edxapp:lms   FATAL     Exited too quickly (process log may have details)",
    )


@pytest.mark.parametrize(
    "said",
    [
        "unix:///var/run/supervisor.sock no such file",
        "unix:///tmp/s.sock refused connection",
        "",
        "error: <class 'socket.error'>",
    ],
)
def test_an_answer_without_a_list_is_neither_stopped_nor_running(mitx, client, said):
    for wanted in ("stopped", "running"):
        assert any(
            "supervisord does not answer" in line for line in problems(mitx, client, wanted, said)
        )


def unreadable():
    """What a host answers that reads Salt's list of its jobs while Salt writes it."""
    found = listing("lms RUNNING pid 7, uptime 1:00:00")
    found[WEB]["ret"]["saltutil.running"] = "Traceback\nSaltDeserializationError: incomplete"
    found[WEB]["retcode"]["saltutil.running"] = 1
    return found


@pytest.mark.parametrize("program", ["dependent-startup", "xqueue:dependent-startup"])
def test_a_program_that_ends_on_purpose_is_as_wanted_both_times(mitx, client, program):
    client.incoming = [
        listing(f"{program}  EXITED  Dec 20 09:00 PM", "lms RUNNING pid 7, uptime 1")
    ]
    modules = mitx(services={"oneshot": ["dependent-startup"]}).modules
    found = modules["mitx_hosts.services.status"]([WEB])
    found[WEB]["schedule"] = True
    assert modules["mitx_hosts.services.problems"](found, "running", ["web"]) == []


def test_a_program_that_ended_and_was_not_to_is_named(mitx, client):
    client.incoming = [listing("lms  EXITED  Dec 20 09:00 PM", "cms RUNNING pid 7, uptime 1")]
    modules = mitx(services={"oneshot": ["dependent-startup"]}).modules
    found = modules["mitx_hosts.services.status"]([WEB])
    lines = modules["mitx_hosts.services.problems"](found, "running", ["web"])
    assert f"{WEB}: lms is EXITED" in lines


class Turns:
    """The answers to one job after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __iter__(self):
        return iter(self.answers.pop(0))


def test_a_list_of_jobs_that_cannot_be_read_is_read_again(mitx, client):
    client.incoming = Turns([unreadable()], [listing("lms RUNNING pid 7, uptime 1:00:00")])
    found = mitx().modules["mitx_hosts.services.status"]([WEB])
    assert (found[WEB]["supervisor"], found[WEB]["busy"]) == ({"lms": "RUNNING"}, [])


def test_a_list_of_jobs_that_is_never_read_is_not_taken_for_an_idle_host(mitx, client):
    client.incoming = Turns([unreadable()], [unreadable()])
    modules = mitx().modules
    found = modules["mitx_hosts.services.status"]([WEB])
    assert any(
        "cannot determine what is at work there" in line
        for line in modules["mitx_hosts.services.problems"](found, "stopped")
    )


def test_jobs_of_the_schedule_and_restarts_of_others_are_busy_and_salts_own_are_not(mitx, client):
    client.incoming = [listing("lms STOPPED Not started")]
    client.incoming[0][WEB]["ret"]["saltutil.running"] = [
        {"fun": "supervisord.restart", "jid": "1", "schedule": "restart_edx_workers"},
        {"fun": "state.highstate", "jid": "2", "user": "sudo_ann"},
        {"fun": "mine.update", "jid": "3", "schedule": "__mine_interval"},
        {"fun": "cmd.run_all", "jid": "4"},
        {"fun": ["cmd.run_all", "schedule.is_enabled"], "jid": "5"},
    ]
    busy = mitx().modules["mitx_hosts.services.status"]([WEB])[WEB]["busy"]
    assert busy == [
        "its schedule restart_edx_workers is at work (supervisord.restart, job 1)",
        "state.highstate is at work there (job 2, by sudo_ann)",
    ]


@pytest.mark.parametrize("said", ["", "boom", "12 jobs", "-1"])
def test_a_queue_depth_is_a_number(mitx, client, said):
    client.incoming = [good(WORKER, {"retcode": 0, "stdout": said, "stderr": ""})]
    fleet = [{"name": WORKER, "role": "edx-worker", "purpose": "next-residential-live"}]
    with pytest.raises(CommandExecutionError, match="must print a number"):
        mitx(drain={"command": "depth"}).modules["mitx_hosts.queues.depths"](fleet)


def test_unknown_parts_are_refused(mitx, client):
    with pytest.raises(
        CommandExecutionError, match="There are the parts web, workers, systemd, not wev"
    ):
        mitx().modules["mitx_hosts.services.stop"]([WEB], ["wev"])


def test_a_purpose_without_a_new_web_host_is_not_migrated_by_somebody_else(mitx):
    fleet = [{"name": WORKER, "role": "edx-worker", "purpose": "next-residential-live"}]
    with pytest.raises(CommandExecutionError, match="No new web instance of next-residential-live"):
        mitx().modules["mitx_hosts.migrations.hosts"](fleet)


def test_the_same_host_migrates_on_every_rerun(mitx):
    fleet = [
        {"name": f"edx-mitx-qa-p-{n}-v1", "role": "edx", "purpose": "p"} for n in (10, 2, 0, 1)
    ]
    assert mitx().modules["mitx_hosts.migrations.hosts"](fleet) == {"p": "edx-mitx-qa-p-0-v1"}


def test_each_state_of_the_servers_own_tests_that_fails_is_named(mitx, client):
    states = {
        f"testinfra_|-{name}_|-{name}_|-x": {"result": good, "__id__": name, "comment": "as told"}
        for name, good in (("nginx", True), ("efs", False), ("lms.yml", False))
    }
    client.incoming = [{WEB: {"ret": states, "retcode": 2}}]
    modules = mitx(smoke={"states": ["edx.tests"]}).modules
    with pytest.raises(CommandExecutionError, match=r"efs: as told; lms\.yml: as told"):
        modules["mitx_hosts.hosts.smoke_test"]([WEB])
    assert client.published[0][1:3] == ("state.sls", [["edx.tests"]])
