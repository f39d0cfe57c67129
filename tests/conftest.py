"""
What all tests share: a pillar in MITx's real shape, and Salt's real loaders over this package.
"""

import copy
import http.server
import json
import logging
import os
import pathlib
import threading
import time
import types

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.utils.dictupdate
import salt.utils.yaml

import sandbox.config
from tests.support.bus import SOCKET, bus
from tests.support.product import TREE
from tests.support.rooms import Modules

# Salt keeps early log records for a handler that never comes in a test.
salt._logging.shutdown_temp_handler()
# Their debugging output, captured for each call, takes longer than the calls.
for _name in ("boto3", "botocore", "urllib3", "werkzeug", "asyncio"):
    logging.getLogger(_name).setLevel(logging.INFO)

ROOT = pathlib.Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.support.browser"]


def pytest_collection_modifyitems(items):
    """
    A whole upgrade takes minutes: were it the last to begin, all other workers would wait for it.
    """
    items.sort(key=lambda item: "/integration/" not in str(item.path))


@pytest.fixture(autouse=True)
def _no_leftovers(monkeypatch, request):
    """A developer's own environment decides nothing; AWS is never reached by mistake."""
    for name in (
        "ENVIRONMENT",
        "PURPOSE",
        "PURPOSES",
        "RUN_MIGRATIONS",
        "ANSIBLE_FLAGS",
        "VPC_NAME",
        "BUSINESS_UNIT",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if "integration" not in request.path.parts:
        # How long boto3 waits between its tries is its own affair.
        waits = types.SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
        monkeypatch.setattr("botocore.endpoint.time", waits)


@pytest.fixture(scope="session")
def example_pillar():
    """The examples of pillar_examples/, merged: what an engineer starts from."""
    merged = {}
    for name in ("environments.sls", "mitx.sls"):
        merged |= salt.utils.yaml.safe_load((ROOT / "pillar_examples" / name).read_text())
    return merged


class Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802 http.server's name
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, body, dict(self.headers)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def post_server():
    """A web server that keeps what is posted to it, in ``posts``; answers with ``status``."""
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Post)
    found.posts, found.status = [], 200
    found.url = f"http://127.0.0.1:{found.server_address[1]}"
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(scope="session")
def event_bus():
    """Where Salt can fire its events."""
    with bus() as folder:
        yield folder


@pytest.fixture
def pillar(example_pillar, tmp_path):
    """A copy to change: mitx-qa, its run_dir below tmp_path, a window far in the future."""
    mine = copy.deepcopy(example_pillar)
    mine["mitx"]["run_dir"] = str(tmp_path / "runs")
    mine["mitx"]["run"] = "testrun"
    mine["mitx"]["environments"]["mitx-qa"]["window"]["start"] = "2099-12-20 21:00"
    return mine


@pytest.fixture
def mitx(pillar, tmp_path, monkeypatch, event_bus):
    """
    ``mitx(test=False, begin=True, **overrides)``: the package in Salt's real loader, with a run
    begun. ``overrides`` go to ``mitx:environments:mitx-qa``, merged. The result has ``modules``,
    ``states``, ``settings``, ``opts``, ``run_dir``.
    """

    def load(test=False, begin=True, **overrides):
        mine = copy.deepcopy(pillar)
        if overrides:
            qa = mine["mitx"]["environments"]["mitx-qa"]
            mine["mitx"]["environments"]["mitx-qa"] = salt.utils.dictupdate.update(
                qa, overrides, merge_lists=False
            )
        opts = _opts(tmp_path, mine, test)
        if not os.path.lexists(opts["sock_dir"]):  # else that of a real master
            os.mkdir(opts["sock_dir"])
            os.symlink(event_bus / SOCKET, os.path.join(opts["sock_dir"], SOCKET))
        context = {}
        utils = salt.loader.utils(opts, context=context)
        modules = salt.loader.minion_mods(opts, utils=utils, context=context)
        serializers = salt.loader.serializers(opts)
        states = salt.loader.states(opts, modules, utils, serializers, context=context)
        modules = Modules(modules, monkeypatch)
        loaded = types.SimpleNamespace(
            modules=modules, states=states, opts=opts, context=context, run_dir=tmp_path / "runs"
        )
        if not begin:
            return loaded
        loaded.settings = copy.deepcopy(modules.run.settings)
        if not test:
            modules["mitx_run.record.begin"]("testrun")
        return loaded

    return load


def _opts(tmp_path, pillar, test):
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts |= {
        "id": "master_master",
        "__role": "master",
        "root_dir": str(tmp_path),
        "cachedir": str(tmp_path / "cache"),
        "extension_modules": str(tmp_path / "extmods"),
        "sock_dir": str(tmp_path / "s"),
        "conf_file": str(tmp_path / "master"),
        "file_client": "local",
        "file_roots": {"base": [str(TREE)]},
        "module_dirs": [str(ROOT / "_modules")],
        "states_dirs": [str(ROOT / "_states")],
        "grains": {
            "kernel": "Linux",
            "os": "Debian",
            "os_family": "Debian",
            "oscodename": "bookworm",
            "osrelease_info": [12],
        },
        "pillar": pillar,
        "test": test,
    }
    return opts


@pytest.fixture(scope="session")
def aws_port():
    """One for all tests: clients, which are slow to make, are kept."""
    return sandbox.config.free_ports("aws")["aws"]


@pytest.fixture
def aws(tmp_path, monkeypatch, aws_port):
    """A fake AWS of its own for each test; see sandbox/aws."""
    from sandbox.aws import FakeAWS

    fake = FakeAWS(tmp_path / "aws", port=aws_port)
    fake.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", fake.url)
    yield fake
    fake.stop()
