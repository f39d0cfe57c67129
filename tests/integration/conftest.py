"""One lab for all tests here that need real minions, and the package with the lab's master."""

import os
import pathlib
import shutil
import sys
import tempfile

import pytest

from sandbox import assembly, processes
from tests.support.lab import running


@pytest.fixture(scope="session")
def salt_factories_config():
    # Where pip has put Salt's commands; the shell's PATH may know another Salt, or none.
    # And folders of this run only, their paths short: that of a socket may have 107 characters.
    root = pathlib.Path(tempfile.mkdtemp(prefix="lab"))
    yield {"scripts_dir": str(pathlib.Path(sys.executable).parent), "root_dir": str(root)}
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def lab(salt_factories):
    with running(salt_factories, pathlib.Path(tempfile.mkdtemp(prefix="lab"))) as one:
        yield one


@pytest.fixture
def salt(lab, mitx, tmp_path):
    """``salt(test=False, **overrides)``: the package, its master the lab's."""
    os.symlink(lab.master.config_file, tmp_path / "master")
    os.symlink(lab.master.config["sock_dir"], tmp_path / "s")

    def load(test=False, **overrides):
        mine = {
            "services": {
                "supervisorctl": "~/bin/supervisorctl",
                "user": None,
                "platform": "~/edx-platform",
                "timeout": 30,
                "ansible_log": "~/tmp/ansible-log.txt",
                "systemd": {"edx": ["gitreload"], "edx-worker": []},
                "playbooks": {"edx": ["edxapp"], "edx-worker": ["edxapp"]},
            },
            "timeouts": {"minions": 60},
        }
        return mitx(
            test=test,
            **{
                key: {**mine.get(key, {}), **overrides.get(key, {})}
                for key in {**mine, **overrides}
            },
        )

    return load


@pytest.fixture
def supervised(lab):
    """Everything of both hosts runs."""
    for host in lab.hosts.values():
        host.supervise()
    return lab


@pytest.fixture
def visitor(world):
    """Visitors all through one test; what they have seen is judged at its end."""
    (world.folder / "visitor-summary.json").unlink(missing_ok=True)
    # A rollback brings the earlier release back, behind the page: that alone is no violation here.
    assembly.daemon(
        world.config, "visitor", "sandbox.public.visitor", "--dir", str(world.folder), "--rollback"
    )
    yield
    processes.stop(world.folder, "visitor")
    summary = world.summary()
    assert summary["asked"] > 20
    assert summary["violations"] == 0, summary
