"""The depth of the queues, asked of a real RabbitMQ as a host of MITx would."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import kombu
import pytest

SERVER = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "orchestrate/mitx/files/queue_depth.py"
LIVE, DRAFT = "/celery_next_residential_live", "/celery_next_residential_draft"
PASSWORD = "p@ss/w:rd"
# A bound for a hang, not a measurement.
SECONDS = 90

pytestmark = pytest.mark.skipif(
    not SERVER.exists(), reason="no RabbitMQ here (Debian: rabbitmq-server)"
)


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """``host:port`` of a RabbitMQ of its own, with a virtual host for each purpose."""
    folder, port, epmd = tmp_path_factory.mktemp("rabbitmq"), free(), free()
    (folder / "definitions.json").write_text(
        json.dumps(
            {
                "vhosts": [{"name": LIVE}, {"name": DRAFT}],
                "users": [{"name": "celery", "password": PASSWORD, "tags": ""}],
                "permissions": [
                    {
                        "user": "celery",
                        "vhost": name,
                        "configure": ".*",
                        "write": ".*",
                        "read": ".*",
                    }
                    for name in (LIVE, DRAFT)
                ],
            }
        )
    )
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nload_definitions = {folder}/definitions.json\n"
    )
    (folder / "plugins").write_text("[].\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    # Erlang would start this one by itself, as a daemon that nobody ends.
    names = subprocess.Popen(
        [shutil.which("epmd"), "-port", str(epmd), "-address", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with open(folder / "output", "w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [str(SERVER)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_it_answers(server, port, folder)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        names.kill()
        names.wait()


def wait_until_it_answers(server, port, folder):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with connection(f"127.0.0.1:{port}", LIVE):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError((folder / "output").read_text()[-3000:])


def connection(address, vhost):
    host, _, port = address.partition(":")
    found = kombu.Connection(
        hostname=host, port=int(port), userid="celery", password=PASSWORD, virtual_host=vhost
    )
    found.connect()
    return found


@pytest.fixture
def put(broker):
    """``put(vhost, queue, count)``: so many jobs wait there."""
    made = []

    def publish(vhost, queue, count):
        with connection(broker, vhost) as there:
            made.append((vhost, queue))
            waiting = there.SimpleQueue(queue)
            for number in range(count):
                waiting.put({"job": number})
            waiting.close()

    yield publish
    for vhost, queue in made:
        with connection(broker, vhost) as there:
            there.channel().queue_delete(queue)


@pytest.fixture
def ask(broker, tmp_path):
    """``ask(**settings)``: exit status, output and errors of the script on a host."""

    def run(studio=None, **changed):
        settings = {
            "CELERY_BROKER_HOSTNAME": broker,
            "CELERY_BROKER_USER": "celery",
            "CELERY_BROKER_PASSWORD": PASSWORD,
            "CELERY_BROKER_VHOST": LIVE,
            **changed,
        }
        # JSON is YAML.
        (tmp_path / "lms.yml").write_text(json.dumps(settings))
        (tmp_path / "studio.yml").write_text(json.dumps({**settings, **(studio or {})}))
        return subprocess.run(
            [sys.executable, SCRIPT, tmp_path / "lms.yml", tmp_path / "studio.yml"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


def test_jobs_of_lms_and_studio_of_this_purpose_are_counted(put, ask):
    put(LIVE, "edx.lms.core.default", 3)
    put(LIVE, "edx.lms.core.high_mem", 1)
    put(LIVE, "edx.cms.core.default", 2)
    put(DRAFT, "edx.lms.core.default", 50)
    put(LIVE, "celeryev.somebody", 7)
    said = ask()
    assert (said.returncode, said.stdout, said.stderr) == (0, "6\n", "")


def test_empty_queues_are_none(put, ask):
    put(LIVE, "edx.lms.core.default", 0)
    assert ask().stdout == "0\n"


def test_queues_that_settings_name_count_too(put, ask):
    put(LIVE, "edx.lms.core.default", 1)
    put(LIVE, "mit.grades", 4)
    assert ask(CELERY_QUEUES=["mit.grades"]).stdout == "5\n"


def test_a_virtual_host_of_studios_own_is_asked_too(put, ask):
    put(LIVE, "edx.lms.core.default", 1)
    put(DRAFT, "edx.cms.core.default", 2)
    assert ask(studio={"CELERY_BROKER_VHOST": DRAFT}).stdout == "3\n"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "has none of the queues"),
        ({"CELERY_BROKER_VHOST": "/elsewhere"}, "cannot be asked"),
        ({"CELERY_BROKER_PASSWORD": "wrong"}, "cannot be asked"),
        ({"CELERY_BROKER_HOSTNAME": "127.0.0.1:9"}, "cannot be asked"),
    ],
    ids=["no queue", "no such virtual host", "refused", "nobody listens"],
)
def test_what_cannot_be_known_is_no_number(put, ask, changed, told):
    said = ask(**changed)
    assert (said.returncode, said.stdout) == (1, "")
    assert told in said.stderr
    assert PASSWORD not in said.stderr
    assert "Traceback" not in said.stderr


def test_no_settings_are_no_number():
    said = subprocess.run(
        [sys.executable, SCRIPT, "/nonexistent/lms.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (1, "")
    assert "no settings of Open edX" in said.stderr


def test_settings_that_cannot_be_read_are_no_number(tmp_path):
    (tmp_path / "lms.yml").write_text("a: [")
    said = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "lms.yml"], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (1, "")
    assert "cannot be read" in said.stderr
    assert "Traceback" not in said.stderr
