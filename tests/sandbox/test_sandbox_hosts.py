"""
The sandbox's hosts: real supervisord, minions and web processes for instances that a file names. No
AWS, no master.
"""

import http.client
import importlib.util
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import time

import pytest

from sandbox import config as settings
from sandbox import git_history
from sandbox.hosts import aws as host_aws
from sandbox.hosts import databases, faults, proc, queue, record
from sandbox.hosts.watcher import Watcher
from sandbox.public import tls

PURPOSE = "next-residential-live"
PLATFORM = "edx/app/edxapp/edx-platform"
WEB, WORKER, BASE = "i-00000000000000web", "i-000000000000worker", "i-00000000000000base"
KOA = "courseware.0003_koa"


def wait_until(check, what, seconds=30):
    """Poll until ``check()`` is true; fails with ``what``."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def instance(identity, role, name, purpose=PURPOSE):
    tags = {
        "Name": name,
        "role": role,
        "environment": "mitx-qa",
        "purpose": purpose,
        "edx_codename": "koa",
    }
    tags |= {"release-version": "1", "launch-date": "2026-12-20", "business_unit": "residential"}
    return {"id": identity, "image": f"ami-{role}", "private_ip": "10.5.1.4", "tags": tags}


class Sandbox:
    """
    A folder with everything that hosts need, and a watcher that takes its instances from a file.
    """

    def __init__(self, folder):
        self.folder = folder
        self.config = settings.create(folder, "qa")
        # Here workers need no time to load before their first job.
        self.config["times"]["worker_start"] = 0
        settings.write(folder, self.config)
        tls.make(folder, self.config["zone"])
        git_history.build(self.config["paths"]["git"])
        self.seed()
        for role in ("edx", "edx-worker"):
            target = folder / "images" / f"ami-{role}" / "root" / PLATFORM
            git_history.checkout(self.config["paths"]["git"], "mitx/juniper", target)
        self.watcher = None
        self.touched = set()

    def seed(self):
        """Juniper's databases, whatever there was."""
        for file in (self.folder / "databases").glob("*"):
            file.unlink()
        databases.seed_databases(self.folder, [PURPOSE], git_history.release("juniper"))

    def watch(self, *instances):
        """Say which instances run; start a watcher unless one does."""
        record.write(self.folder / "instances.json", list(instances))
        if self.watcher is None or self.watcher.poll() is not None:
            command = [
                sys.executable,
                "-m",
                "sandbox.hosts",
                "--dir",
                self.folder,
                "--instances",
                self.folder / "instances.json",
            ]
            with open(self.folder / "watcher.log", "ab") as log:
                self.watcher = subprocess.Popen(
                    command, cwd=settings.REPOSITORY, stdout=log, stderr=log
                )

    def stop(self):
        """End watcher and hosts by the command that ``down`` would give."""
        command = [sys.executable, "-m", "sandbox.hosts", "--dir", self.folder, "--stop"]
        subprocess.run(command, cwd=settings.REPOSITORY, check=True, timeout=60)
        if self.watcher:
            self.watcher.terminate()  # one that had not begun to watch when it was told to stop
            self.watcher.wait(timeout=30)

    def host(self, identity):
        return record.read(self.folder / "hosts" / identity / "host.json") or {"state": None}

    def run(self, identity, *command, check=True):
        """Run a command as its minion would."""
        host = self.folder / "hosts" / identity
        env = {"HOME": str(host / "root"), "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=30, cwd=host / "root"
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def supervisor(self, identity):
        """{program: state}."""
        said = self.run(identity, "supervisorctl", "status", check=False).stdout
        return {
            line.split()[0]: line.split()[1]
            for line in said.splitlines()
            if "pid" in line or "STOPPED" in line
        }

    def supervise(self, identity, *words):
        """
        ``supervisorctl`` …; whoever stops something may leave it to ``juniper`` to start it again.
        """
        self.touched.add(identity)
        self.run(identity, "supervisorctl", *words)

    def get(self, identity, hostname, path="/"):
        """(status, headers, text) of a page, or None where nobody answers."""
        host = self.host(identity)
        if host["state"] is None:
            return None
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.check_hostname = False
        connection = http.client.HTTPSConnection(
            host["address"], host["port"], context=context, timeout=10
        )
        try:
            connection.request("GET", path, headers={"Host": hostname})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        except OSError:
            return None
        finally:
            connection.close()

    def log(self, name):
        return record.lines(self.folder / "logs" / f"{name}.jsonl")

    def init(self, identity):
        return self.host(identity).get("init")

    def serves(self, identity):
        return lambda: (self.get(identity, "lms", "/heartbeat") or [None])[0] == 200


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    made = Sandbox(tmp_path_factory.mktemp("sb"))
    web, worker = (
        instance(WEB, "edx", "edx-0-v1"),
        instance(WORKER, "edx-worker", "edx-worker-0-v1"),
    )
    made.standing = (web, worker, instance(BASE, "edx", "edxapp-mitx-qa-koa-base"))
    try:
        made.watch(*made.standing)
        wait_until(made.serves(WEB), "the web host answers")
        wait_until(
            lambda: made.supervisor(WORKER) == {"lms_worker": "RUNNING", "cms_worker": "RUNNING"},
            "the worker works",
        )
        wait_until(lambda: made.supervisor(BASE), "the base's supervisord answers")
        yield made
    finally:
        made.stop()
    assert not proc.of_hosts(made.folder / "hosts")


@pytest.fixture
def juniper(sandbox):
    """Puts databases, code, faults and processes back as they were."""
    yield sandbox
    for kind in faults.KINDS:
        (sandbox.folder / "faults" / f"{kind}.json").unlink(missing_ok=True)
    sandbox.seed()
    for identity in sandbox.touched:
        sandbox.run(identity, "git", "-C", PLATFORM, "checkout", "-q", "mitx/juniper")
        sandbox.run(identity, "supervisorctl", "restart", "all")
    sandbox.touched.clear()


def koa(sandbox, identity):
    """Put Koa's code on a host's disk."""
    sandbox.touched.add(identity)
    sandbox.run(identity, "git", "-C", PLATFORM, "checkout", "-q", "mitx/koa")


def manage(sandbox, *words, identity=WEB, check=True):
    python = f"{sandbox.folder}/hosts/{identity}/root/edx/app/edxapp/venvs/edxapp/bin/python"
    return sandbox.run(identity, python, "manage.py", *words, check=check)


def test_instance_becomes_a_host(sandbox):
    hosts = [sandbox.host(identity) for identity in (WEB, WORKER, BASE)]
    assert len({host["address"] for host in hosts}) == 3
    assert (
        hosts[0]
        | {
            "name": "edx-0-v1",
            "role": "edx",
            "purpose": PURPOSE,
            "release": 1,
            "state": "running",
        }
        == hosts[0]
    )
    assert set(sandbox.supervisor(WEB).values()) == {"RUNNING"}
    assert set(sandbox.supervisor(WEB)) == {"lms", "cms", "nginx"}
    grains = record.read(sandbox.folder / "hosts" / WEB / "minion" / "grains")
    assert (
        grains | {"roles": ["edx"], "launch-date": "2026-12-20", "release-version": "1"} == grains
    )
    minions = [
        row
        for row in proc.of_hosts(sandbox.folder / "hosts")[WEB]
        if "salt-minion" in _command(row["pid"])
    ]
    assert len(minions) == 1, "one minion process a host, found although Salt changes its title"


def test_base_runs_nothing_of_open_edx(sandbox):
    assert set(sandbox.supervisor(BASE).values()) == {"STOPPED"}
    assert not [row for row in proc.of_hosts(sandbox.folder / "hosts")[BASE] if row["process"]]


@pytest.mark.parametrize(
    ("hostname", "process"),
    [
        ("lms-next-qa.mitx.mit.edu", "lms"),
        ("studio-next-qa.mitx.mit.edu", "cms"),
        ("gr-next-qa.mitx.mit.edu", "gitreload"),
    ],
)
def test_page_by_hostname(sandbox, hostname, process):
    status, headers, text = sandbox.get(WEB, hostname)
    commit = git_history.tip(sandbox.config["paths"]["git"], "mitx/juniper")
    assert (status, headers["X-Open-edX-Process"]) == (200, process)
    assert headers["X-Open-edX-Release"] == f"juniper@{commit}"
    assert f"juniper@{commit}" in text


def test_new_code_needs_restart_and_migration(juniper):
    koa(juniper, WEB)
    assert juniper.get(WEB, "lms")[1]["X-Open-edX-Release"].startswith("juniper@"), (
        "code on disk is not code that runs"
    )
    juniper.supervise(WEB, "restart", "lms")
    status, _, text = wait_until(lambda: _served(juniper, "koa@"), "koa is served")
    assert status == 500
    assert KOA in text
    assert juniper.get(WEB, "lms", "/heartbeat")[0] == 200, "a heartbeat knows no schema"
    assert f"[ ]  {KOA}" in manage(juniper, "lms", "showmigrations", "--plan").stdout
    for words in (["migrate"], ["migrate", "--database", "student_module_history"]):
        manage(juniper, "lms", *words, "--noinput", "--fake-initial", "--settings=production")
    assert juniper.get(WEB, "lms")[0] == 200
    assert manage(juniper, "cms", "migrate", "--noinput").stdout.endswith(
        "No migrations to apply.\n"
    )
    lines = [line for line in juniper.log("migrations") if line["name"] == "edx-0-v1"]
    assert [line["migration"] for line in lines[-2:]] == [KOA, "coursewarehistoryextended.0003_koa"]
    assert {row["process"] for row in lines[-1]["alive"]} == {
        "lms",
        "cms",
        "nginx",
        "gitreload",
        "lms_worker",
        "cms_worker",
    }


def test_old_code_on_new_schema_is_500(juniper):
    with databases.connected(juniper.folder, PURPOSE, "default") as connection:
        databases.add(connection, KOA)
    status, _, text = juniper.get(WEB, "lms")
    assert status == 500
    assert "unknown to this code" in text


def test_heartbeat_without_database_is_503(juniper):
    databases.path(juniper.folder, PURPOSE, "student_module_history").unlink()
    assert juniper.get(WEB, "lms", "/heartbeat")[0] == 503


def test_heartbeat_is_lms_or_cms(juniper):
    juniper.supervise(WEB, "stop", "lms")
    assert juniper.get(WEB, "127.0.0.1", "/heartbeat")[0] == 200
    assert juniper.get(WEB, "lms")[0] == 502
    juniper.supervise(WEB, "stop", "cms")
    assert juniper.get(WEB, "127.0.0.1", "/heartbeat")[0] == 502


@pytest.mark.parametrize(("action", "status"), [("fail", 1), ("kill", -signal.SIGKILL)])
def test_migration_that_fails_can_be_run_again(juniper, action, status):
    koa(juniper, WEB)
    faults.put(
        juniper.folder, "migrate", {"match": {"migration": KOA}, "action": action, "times": 1}
    )
    assert manage(juniper, "lms", "migrate", check=False).returncode == status
    assert KOA not in databases.applied(juniper.folder, PURPOSE, "default")
    manage(juniper, "lms", "migrate")
    assert databases.applied(juniper.folder, PURPOSE, "default")[-1] == KOA


def test_workers_drain_the_queue_and_new_ones_leave_evidence(juniper):
    juniper.supervise(WORKER, "stop", "all")
    queue.push(juniper.folder, PURPOSE, 7)
    assert int(juniper.run(WORKER, "queue-depth").stdout) >= 7, (
        "nobody works while the workers are stopped"
    )
    before = len(juniper.log("evidence"))
    koa(juniper, WORKER)
    juniper.supervise(WORKER, "start", "all")
    wait_until(lambda: queue.depth(juniper.folder, PURPOSE) == 0, "the queue is drained")
    evidence = juniper.log("evidence")[before:]
    assert len(evidence) >= 7
    assert KOA in evidence[-1]["evidence"]
    assert evidence[-1] | {"host": WORKER, "role": "edx-worker"} == evidence[-1]


def test_depth_of_unknown_purpose_is_no_empty_queue(sandbox):
    command = [
        sys.executable,
        "-m",
        "sandbox.hosts.queue",
        "--dir",
        sandbox.folder,
        "depth",
        "next-residential-life",
    ]
    done = subprocess.run(
        command, cwd=settings.REPOSITORY, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_gitreload_comes_back_unless_it_is_stopped(sandbox):
    service = _service_module(sandbox, WEB)
    first = service._units()["gitreload"]["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: service._units()["gitreload"]["pid"] not in (first, None), "Restart=always")
    second = service._units()["gitreload"]["pid"]
    assert service.stop("gitreload") is True
    assert not proc.entry(second), "stop returns when the process is gone"
    assert service.status("gitreload") is False
    assert sandbox.get(WEB, "gr-next-qa.mitx.mit.edu")[0] == 502
    assert service.start("gitreload") is True
    assert service.get_all() == ["gitreload", "salt-minion", "supervisor"]


def test_salt_uses_the_service_module(sandbox):
    salt_call = pathlib.Path(sys.executable).with_name("salt-call")
    config = sandbox.folder / "hosts" / WEB / "minion"
    command = [
        salt_call,
        "--local",
        "-c",
        config,
        "--out=json",
        "-l",
        "quiet",
        "service.status",
        "gitreload",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(said) == {"local": True}


def test_ansible_says_in_its_recap_what_failed(sandbox):
    faults.put(
        sandbox.folder, "ansible", {"match": {"name": "edx-0-v1"}, "action": "fail", "times": 1}
    )
    failed = sandbox.run(
        WEB, "ansible-playbook", "edx.yml", "--tags", "install:configuration", check=False
    )
    assert failed.returncode == 2
    assert re.search(
        r"PLAY RECAP \*+\nlocalhost +: ok=0 .* unreachable=0 +failed=1 ", failed.stdout
    )
    clean = sandbox.run(WEB, "ansible-playbook", "edx.yml", "--tags", "install:configuration")
    assert re.search(r"\nlocalhost +: ok=2 +changed=1 +unreachable=0 +failed=0 ", clean.stdout)
    assert "checkout" not in clean.stdout


def test_configuration_takes_effect_at_the_next_start(sandbox):
    sandbox.run(WEB, "ansible-playbook", "edx.yml", "--tags", "install:configuration")
    written = record.read(sandbox.folder / "hosts" / WEB / "root" / "edx/etc/edxapp.json")[
        "configured"
    ]
    assert sandbox.get(WEB, "lms")[1]["X-Open-edX-Configured"] != written
    sandbox.run(WEB, "supervisorctl", "restart", "lms")
    wait_until(
        lambda: sandbox.get(WEB, "lms")[1]["X-Open-edX-Configured"] == written,
        "the new process has read it",
    )


def test_ansible_checks_out_the_release_branch_of_a_base(sandbox):
    sandbox.run(BASE, "ansible-playbook", "edx.yml")
    head = sandbox.run(BASE, "git", "-C", PLATFORM, "rev-parse", "HEAD").stdout.strip()
    assert head == git_history.tip(sandbox.config["paths"]["git"], "mitx/koa")


def test_silence_of_aws_ends_no_host(sandbox):
    def silent():
        raise ConnectionError("no answer")

    before = sandbox.init(WEB)
    Watcher(sandbox.folder, sandbox.config, silent).tick()
    assert proc.alive(before)
    assert sandbox.host(WEB)["state"] == "running"


def test_watcher_killed_adopts_what_lives_and_ends_what_should_go(sandbox):
    twin = "i-00000000000000twin"
    sandbox.watch(*sandbox.standing, instance(twin, "edx", sandbox.host(WEB)["name"]))
    wait_until(sandbox.serves(twin), "a second host of the same name serves")
    os.kill(_pids(sandbox, twin, "lms")[0], signal.SIGKILL)
    adopted = [sandbox.init(one) for one in (WEB, WORKER)]
    sandbox.watcher.kill()
    sandbox.watcher.wait()
    assert sandbox.get(WEB, "lms")[0] == 200, "hosts need no watcher to live"
    sandbox.watch(*sandbox.standing)
    wait_until(
        lambda: sandbox.host(twin)["state"] == "gone", "the instance that went while nobody watched"
    )
    assert [sandbox.init(one) for one in (WEB, WORKER)] == adopted
    assert twin not in proc.of_hosts(sandbox.folder / "hosts")
    assert (sandbox.folder / "hosts" / twin / "logs").exists()
    lines = [line for line in sandbox.log("processes") if line["host"] == twin]
    started = {line["pid"] for line in lines if line["event"] == "started"}
    assert started == {line["pid"] for line in lines if line["event"] == "stopped"}, (
        "also the one killed has its end"
    )


def test_init_killed_is_a_host_booted_again(sandbox):
    before = sandbox.init(WEB)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: sandbox.init(WEB) not in (before, None), "booted again")
    wait_until(sandbox.serves(WEB), "and serving")
    assert len(_pids(sandbox, WEB, "lms")) == 1, "nothing of the first life is left"


def test_supervisord_killed_leaves_no_orphans_beside_the_next_one(sandbox):
    lms = _pids(sandbox, WEB, "lms")[0]
    os.kill(_service_module(sandbox, WEB)._units()["supervisor"]["pid"], signal.SIGKILL)
    wait_until(lambda: not proc.entry(lms), "its programs go with it")
    wait_until(sandbox.serves(WEB), "and come back")
    assert len(_pids(sandbox, WEB, "lms")) == 1


def test_instances_of_aws(aws):
    ec2 = host_aws.client({"ports": {"aws": int(aws.url.rpartition(":")[2])}})
    tags = [{"Key": "Name", "Value": "edx-0-v1"}, {"Key": "role", "Value": "edx"}]
    image = ec2.register_image(Name="any", RootDeviceName="/dev/sda1")["ImageId"]
    for specification in ([{"ResourceType": "instance", "Tags": tags}], []):
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
    found = wait_until(lambda: host_aws.instances(ec2), "the instance runs")
    assert [(one["image"], one["tags"]) for one in found] == [
        (image, {"Name": "edx-0-v1", "role": "edx"})
    ]
    ec2.terminate_instances(InstanceIds=[found[0]["id"]])
    assert host_aws.instances(ec2) == []
    assert aws.calls() == [], "the watcher is not in the log of calls"


def _served(sandbox, release):
    answer = sandbox.get(WEB, "lms")
    return (
        answer if answer and (answer[1]["X-Open-edX-Release"] or "").startswith(release) else None
    )


def _command(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def _pids(sandbox, identity, process):
    rows = proc.of_hosts(sandbox.folder / "hosts")[identity]
    return [row["pid"] for row in rows if row["process"] == process]


def _service_module(sandbox, identity):
    path = settings.REPOSITORY / "sandbox/hosts/minion_modules/service.py"
    specification = importlib.util.spec_from_file_location("sandbox_service", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.__opts__ = {"conf_file": str(sandbox.folder / "hosts" / identity / "minion" / "minion")}
    return module
