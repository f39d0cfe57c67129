"""
The hold of new workers: what would work the live queues if it broke, and whom it must never touch.
"""

import contextlib
import datetime
import fcntl
import os
import signal
import threading
import time

import pytest
import salt.client
from salt.exceptions import CommandExecutionError

HOLD = {"services": {"hold": {"begin": "touch ~/held", "end": "rm -f ~/held"}}}
MINE = [
    "edx-worker-mitx-qa-next-residential-draft-0-v1",
    "edx-worker-mitx-qa-next-residential-live-0-v1",
]


class Client:
    """
    Stands for LocalClient: minions that are up answer with their codename, and what they were told
    to do is in a file.
    """

    codenames, log = dict, None

    def __init__(self, **_):
        pass

    def destroy(self):
        pass

    def run_job(self, tgt, fun, arg, **_):
        self.up = {
            name: codename for name, codename in type(self).codenames().items() if name in tgt
        }
        self.fun = fun
        if fun != "grains.get" and self.up:
            with self.log.open("a") as out:
                out.write(f"{arg[0].split()[-1]} {','.join(self.up)}\n")
        return {"jid": "1", "minions": list(self.up)}

    def get_iter_returns(self, *_, **__):
        for name, codename in self.up.items():
            ret = codename if self.fun == "grains.get" else {"stdout": "", "retcode": 0}
            yield {name: {"ret": ret, "retcode": 0}}


def starting(codenames):
    """Stands for the event bus: a function that returns each minion that is up once."""
    told = set()

    def started():
        time.sleep(0.02)
        name = next((name for name in sorted(codenames()) if name not in told), None)
        told.add(name)
        return name

    return started


@pytest.fixture
def held(mitx, monkeypatch, tmp_path):
    """
    ``held(codenames)``: the package, where ``codenames()`` are up; ``held.by()`` is who was held,
    job by job.
    """
    monkeypatch.setattr(salt.client, "LocalClient", Client)
    monkeypatch.setattr(Client, "log", tmp_path / "commands")

    def load(codenames):
        monkeypatch.setattr(Client, "codenames", staticmethod(codenames))
        modules = mitx(**HOLD).modules
        # The event bus, on which the minions that are up have just said that they have started; and
        # what EC2 says of them.
        monkeypatch.setattr(
            "mitx_hosts.fence._listening", lambda: contextlib.nullcontext(starting(codenames))
        )

        def tagged(names):
            return [{"codename": codenames()[name]} for name in names if name in codenames()]

        modules["mitx_fleet.instances.find"] = tagged
        modules["mitx_run.record.pin"]("release_number", 1)
        return modules

    load.by = lambda: (
        [line.split()[-1] for line in Client.log.read_text().splitlines()]
        if Client.log.exists()
        else []
    )
    yield load
    # A watcher outlives a command that failed, and would outlive a test that does.
    for path in tmp_path.rglob("fence.pid"):
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int(file.read().split()[0]), signal.SIGKILL)


def test_only_workers_of_the_codename_that_is_deployed_are_held(held):
    """Juniper v1 and Koa v1 have the same names: the other one is the fleet that serves."""
    modules = held(lambda: {MINE[0]: "koa", MINE[1]: "juniper"})
    assert modules["mitx_hosts.fence.fence"](MINE) == [MINE[0]]
    assert held.by() == [MINE[0]]


def test_nobody_there_yet_is_no_error_and_nothing_is_run(held):
    modules = held(dict)
    assert modules["mitx_hosts.fence.fence"](MINE) == []
    assert held.by() == []


def test_each_is_held_once_as_soon_as_it_answers(held, tmp_path):
    up = tmp_path / "up"
    modules = held(lambda: {name: "koa" for name in MINE if up.exists()})
    with modules["mitx_hosts.fence.workers"]():
        up.touch()
        deadline = time.monotonic() + 30
        while len(",".join(held.by()).split(",")) < len(MINE) and time.monotonic() < deadline:
            time.sleep(0.05)
    # One job each: a host may run one at a time, and deploy configures it next.
    assert sorted(",".join(held.by()).split(",")) == sorted(MINE)


def killed_command(modules):
    """A command that was killed, with its whole process group, while it deployed."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        with modules["mitx_hosts.fence.workers"]():
            os.write(write, b"in it")
            time.sleep(60)
        os._exit(0)
    os.read(read, 5)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_workers_are_fenced_that_start_after_the_command_was_killed(held, tmp_path):
    up = tmp_path / "up"
    killed_command(held(lambda: {name: "koa" for name in MINE if up.exists()}))
    assert held.by() == []
    up.touch()
    assert until(lambda: sorted(",".join(held.by()).split(",")) == sorted(MINE))


def test_the_same_command_again_ends_the_watcher_of_the_killed_one(held, tmp_path):
    up = tmp_path / "up"
    modules = held(lambda: {name: "koa" for name in MINE if up.exists()})
    killed_command(modules)
    with modules["mitx_hosts.fence.workers"]():
        up.touch()
        assert until(lambda: len(",".join(held.by()).split(",")) >= len(MINE))
    # Two watchers would have sent each of them two jobs.
    assert sorted(",".join(held.by()).split(",")) == sorted(MINE)


def test_a_process_of_another_master_is_never_ended_here(held, tmp_path, monkeypatch):
    """With a shared run_dir its number may be that of anybody on this host."""
    modules = held(dict)
    killed_command(modules)
    path = next((tmp_path / "runs").rglob("fence.pid"))
    pid, here = path.read_text().split()
    path.write_text(f"{pid} another-master")
    monkeypatch.setattr("mitx_hosts.fence._TRIES", 2)
    with (
        pytest.raises(CommandExecutionError, match="does not end"),
        modules["mitx_hosts.fence.workers"](),
    ):
        pass
    os.kill(int(pid), 0)
    path.write_text(f"{pid} {here}")
    os.kill(int(pid), signal.SIGKILL)


def test_nobody_is_held_any_more_once_the_deploy_has_ended(held, tmp_path, monkeypatch):
    """
    What was asked of a slow host is waited for: a hold that came after the release would last into
    the night.
    """
    begun = tmp_path / "begun"

    def slow(self, *_, **__):
        for name, codename in self.up.items():
            if self.fun != "grains.get":
                begun.touch()
                time.sleep(1)
                (tmp_path / "answered").touch()
            yield {
                name: {
                    "ret": codename if self.fun == "grains.get" else {"stdout": "", "retcode": 0},
                    "retcode": 0,
                }
            }

    monkeypatch.setattr(Client, "get_iter_returns", slow)
    modules = held(lambda: {MINE[0]: "koa"})
    with modules["mitx_hosts.fence.workers"]():
        deadline = time.monotonic() + 30
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert (tmp_path / "answered").exists()


def test_without_the_setting_nothing_is_asked(mitx):
    modules = mitx(services={"hold": {"begin": None, "end": None}}).modules
    modules["mitx_run.record.pin"]("release_number", 1)
    with modules["mitx_hosts.fence.workers"]():
        pass
    assert modules["mitx_run.events.read"]("minions") == []


def test_on_without_off_is_refused(mitx):
    with pytest.raises(CommandExecutionError, match="services:hold: begin and end belong together"):
        mitx(services={"hold": {"begin": "true", "end": None}})


def test_the_lock_is_the_parents_alone(held):
    """
    Were it the child's too, a killed command would hold the environment for as long as the child
    lives.
    """
    modules = held(dict)
    modules["mitx_run.lock.acquire"](why="test")
    with modules["mitx_hosts.fence.workers"]():
        os.close(modules["mitx_run.lock.locked_by"]()["fd"])
        # The child may not have closed its copy yet.
        deadline = time.monotonic() + 30
        while modules["mitx_run.lock.locked_by"]() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert modules["mitx_run.lock.locked_by"]() is None


def test_one_that_cannot_be_held_keeps_no_other_from_it_and_is_told(held, monkeypatch):
    def answers(self, *_, **__):
        for name in self.up:
            broken = self.fun != "grains.get" and name == MINE[0]
            good = "koa" if self.fun == "grains.get" else {"stdout": "", "retcode": 0}
            yield {
                name: {
                    "ret": {"stdout": "no iptables", "retcode": 127} if broken else good,
                    "retcode": 127 if broken else 0,
                }
            }

    monkeypatch.setattr(Client, "get_iter_returns", answers)
    modules = held(lambda: dict.fromkeys(MINE, "koa"))
    assert modules["mitx_hosts.fence.fence"](MINE) == [MINE[1]]
    assert modules["mitx_hosts.fence.missed"](MINE) == [MINE[0]]


def deploying(modules):
    modules["mitx_run.events.write"](
        "existing", stage="before", sls="orchestrate.edx.deploy", environ={}
    )


def test_the_reactor_fences_a_worker_that_starts_while_a_run_deploys(held):
    modules = held(lambda: {MINE[0]: "koa"})
    deploying(modules)
    assert modules["mitx_hosts.fence_worker"](MINE[0]) == f"{MINE[0]} is fenced"
    assert held.by() == [MINE[0]]
    assert modules["mitx_hosts.fence.missed"](MINE) == [MINE[1]]


@pytest.mark.parametrize(
    ("up", "said"), [({MINE[0]: "koa"}, "is fenced"), ({MINE[0]: "juniper"}, "is left alone")]
)
def test_where_ec2_does_not_answer_the_worker_itself_is_asked(held, monkeypatch, up, said):
    modules = held(lambda: up)
    deploying(modules)
    monkeypatch.setattr("mitx_fleet.instances.find", nobody_answers)
    assert said in modules["mitx_hosts.fence_worker"](MINE[0])
    assert held.by() == ([MINE[0]] if said == "is fenced" else [])


def test_a_worker_of_which_nobody_knows_anything_is_an_error_and_not_left_alone(held, monkeypatch):
    modules = held(dict)
    deploying(modules)
    monkeypatch.setattr("mitx_fleet.instances.find", nobody_answers)
    with pytest.raises(CommandExecutionError, match="could not be fenced: it may work live jobs"):
        modules["mitx_hosts.fence_worker"](MINE[0])


def nobody_answers(*_, **__):
    raise CommandExecutionError("EC2 does not answer")


def test_the_reactor_leaves_alone_what_was_unfenced_and_starts_again(held):
    """A worker that serves, and whose host was rebooted."""
    modules = held(lambda: {MINE[0]: "koa"})
    deploying(modules)
    modules["mitx_hosts.fence.unfence"](MINE[:1])
    before = held.by()
    assert "is left alone" in modules["mitx_hosts.fence_worker"](MINE[0])
    assert held.by() == before


@pytest.mark.parametrize(
    ("minion", "codename"),
    [
        (MINE[0], "juniper"),
        ("edx-worker-mitx-qa-next-residential-live-0-v7", "koa"),
        ("edx-worker-mitx-qa-current-residential-live-0-v1", "koa"),
    ],
    ids=["another codename", "another release", "another purpose"],
)
def test_the_reactor_leaves_alone_what_no_run_deploys(held, minion, codename):
    modules = held(lambda: {minion: codename})
    deploying(modules)
    assert "is left alone" in modules["mitx_hosts.fence_worker"](minion)
    assert held.by() == []


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")


def test_the_reactor_leaves_a_worker_to_the_process_that_hears_of_it_sooner(held, tmp_path):
    up = tmp_path / "up"
    modules = held(lambda: {MINE[0]: "koa"} if up.exists() else {})
    deploying(modules)
    began = now()
    with modules["mitx_hosts.fence.workers"]():
        up.touch()
        assert modules["mitx_hosts.fence_worker"](MINE[0], started=began) == f"{MINE[0]} is fenced"
    assert held.by() == [MINE[0]]


def test_the_reactor_fences_what_a_killed_process_cannot_any_more(held, tmp_path):
    """Killed after the minion had started, and before it was fenced."""
    modules = held(dict)
    deploying(modules)
    killed_command(modules)
    watcher = int(next((tmp_path / "runs").rglob("fence.pid")).read_text().split()[0])
    modules = held(lambda: {MINE[0]: "koa"})
    threading.Timer(0.5, os.kill, (watcher, signal.SIGKILL)).start()
    assert modules["mitx_hosts.fence_worker"](MINE[0], started=now()) == f"{MINE[0]} is fenced"
    assert held.by() == [MINE[0]]


def test_the_reactor_does_not_wait_for_ever_for_a_process_that_hangs(held, monkeypatch):
    modules = held(dict)
    deploying(modules)
    monkeypatch.setattr("mitx_hosts.fence._PATIENCE", 0.5)
    with modules["mitx_hosts.fence.workers"]():
        modules = held(lambda: {MINE[0]: "koa"})
        assert modules["mitx_hosts.fence_worker"](MINE[0], started=now()) == f"{MINE[0]} is fenced"


def test_a_worker_that_starts_again_is_fenced_again(held):
    """A reboot takes a firewall's rule with it."""
    modules = held(lambda: {MINE[0]: "koa"})
    deploying(modules)
    for _ in range(2):
        assert modules["mitx_hosts.fence_worker"](MINE[0], started=now()) == f"{MINE[0]} is fenced"
    assert held.by() == [MINE[0]] * 2


def test_what_was_fenced_under_the_words_of_an_earlier_version_counts(held):
    modules = held(dict)
    deploying(modules)
    modules["mitx_run.events.write"](
        "minions", stage="after", label="hold workers", minions=MINE, seconds=1
    )
    assert modules["mitx_hosts.fence.missed"](MINE) == []
