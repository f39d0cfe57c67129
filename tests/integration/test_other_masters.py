"""
Other masters than the one that began: a second one on the same records, and one that is not root's.
``make test TESTS="tests/integration/test_other_masters.py -m long"``
"""

import getpass
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

from sandbox import assembly, master, processes
from tests.support.upgrade_world import ROOT, World

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]
WINDOW = ("salt-run", "state.orchestrate", "orchestrate.mitx.window")
SECOND = "master-operations-second"
SOMEBODY = "nobody"


@pytest.fixture
def world():
    world = World()
    yield world
    world.down()


def killed_in(world, phase):
    """The window is killed while it is in this phase."""
    process = world.start(*WINDOW)
    deadline = time.monotonic() + 300
    while not begun(world, phase) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert begun(world, phase)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def begun(world, phase):
    lines = [line for line in world.journal() if line["event"] == "phase"]
    return [line for line in lines if (line["phase"], line["status"]) == (phase, "started")]


def replace_master(world):
    """The first is lost, with its caches; another has its keys and its address."""
    for name in ("salt-minion", "salt-master"):
        processes.stop(world.folder, name)
    folder = pathlib.Path(world.config["paths"]["master"])
    for name, id_ in (("master", f"{SECOND}_master"), ("minion", SECOND)):
        options = yaml.safe_load((folder / name).read_text())
        shutil.rmtree(options["cachedir"])
        options["id"] = id_
        (folder / name).write_text(yaml.safe_dump(options))
    master.start(world.config)


def heard(world):
    """Every host has told the new master its grains; the first one's own minion never will."""
    status, output = world.sandbox("salt", "edx-*", "saltutil.refresh_pillar", timeout=120)
    return status == 0 and "Minion did not return" not in output


def test_a_second_master_ends_the_window_that_the_first_was_killed_in(world):
    status, output = world.sandbox("up", "--at", "prepared")
    assert status == 0, output[-4000:]
    assembly.daemon(world.config, "visitor", "sandbox.public.visitor", "--dir", str(world.folder))
    killed_in(world, "stop")
    replace_master(world)
    processes.wait_until(lambda: heard(world), 120, "every host answers the second master")
    # What it finds is said by the first's record.
    status, output = world.salt_run("mitx.status")
    assert status == 0, output
    assert "salt-run state.orchestrate orchestrate.mitx.window" in output
    status, output = world.salt_run(*WINDOW[1:])
    processes.stop(world.folder, "visitor")
    assert status == 0, output[-6000:]
    assert world.serving() <= world.fleet("koa")
    assert world.summary()["asked"] > 20
    assert world.summary()["violations"] == 0
    closes = [
        line for line in world.journal() if line.get("operation") == "change_resource_record_sets"
    ]
    assert len([line for line in closes if line["stage"] == "after"]) == 2


def owned_by_root(folder):
    return [path for path in folder.rglob("*") if path.lstat().st_uid == 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a master as another user")
def test_a_master_that_is_not_roots_upgrades_and_roots_salt_run_leaves_nothing_of_root_there():
    user = pwd.getpwnam(SOMEBODY)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mitx", dir="/tmp"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    command = [sys.executable, "-m", "sandbox", "--dir", str(folder)]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    somebody = {
        "user": SOMEBODY,
        "group": user.pw_gid,
        "extra_groups": [],
        "env": {**os.environ, "HOME": str(folder), "USER": SOMEBODY, "LOGNAME": SOMEBODY},
    }
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, **options, **somebody)
    except PermissionError:
        folder.rmdir()
        pytest.skip(f"{SOMEBODY} may not use {sys.executable}")
    try:
        done = subprocess.run(
            [*command, "upgrade"], timeout=600, check=False, **options, **somebody
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert "violations: 0" in done.stdout
        assert not owned_by_root(folder)
        # The engineer's own shell is root's.
        assert getpass.getuser() == "root"
        done = subprocess.run(
            [*command, "salt-run", "mitx.upgrade"], timeout=300, check=False, **options
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert not owned_by_root(folder)
    finally:
        subprocess.run([*command, "down"], timeout=120, check=False, **options)
        shutil.rmtree(folder, ignore_errors=True)
