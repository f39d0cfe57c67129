"""
The night going wrong, in the sandbox: a migration that fails, ``kill -9`` in the middle of a phase. Whatever happens, visitors see
the site or the page, and the same command ends where it should.
"""

import os
import signal
import time

import pytest

from sandbox.hosts import faults
from tests.integration.world import OURS, World

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def world():
    world = World()
    status, output = world.sandbox("up", "--at", "prepared")
    assert status == 0, output[-4000:]
    yield world
    world.down()


def window(world, *words):
    return world.salt_run("state.orchestrate", "orchestrate.mitx.window", *words)


def test_a_migration_that_fails_leaves_the_page_up_and_nothing_after_it_happens(world, visitor):
    faults.put(world.folder, "migrate", {"match": {"purpose": OURS[0]}, "action": "fail"})
    status, output = window(world)
    faults.put(world.folder, "migrate")
    assert status != 0
    assert "migrate failed" in output
    assert "see the maintenance page" in output
    assert "Next, when that is put right: salt-run state.orchestrate orchestrate.mitx.window" in output
    assert "start" not in {
        line["phase"] for line in world.journal() if line["event"] == "phase" and line["time"] > world.phase("migrate", "started")
    }


def test_kill_9_in_the_middle_and_the_same_command_ends_where_it_should(world, visitor):
    process = world.start("salt-run", "state.orchestrate", "orchestrate.mitx.window")
    deadline = time.monotonic() + 300
    seen = world.phase("migrate", "failed")
    while time.monotonic() < deadline:
        started = [
            line["phase"]
            for line in world.journal()
            if line["event"] == "phase" and line["status"] == "started" and line["time"] > seen
        ]
        if "attach" in started or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()[0][-4000:]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, output = window(world)
    assert status == 0, output[-6000:]
    assert world.serving() <= world.fleet("koa")
    assert not [name for name, target in world.records().items() if target.endswith("cloudfront.net")]
    done = world.log("migrations")
    assert len(done) == len({(line["purpose"], line["database"], line["migration"]) for line in done})
    launched = [call for call in world.writes() if call["operation"] == "run_instances" and call["agent"] == "sandbox-cloud"]
    assert len(launched) == 7
