"""
The night going wrong, in the sandbox: a rollback from the middle of the window, ``kill -9`` in the middle of a phase, a migration that
fails. Whatever happens, visitors see the site or the page, and the same command ends where it should.
"""

import os
import signal
import time

import pytest

from sandbox import assembly, processes
from tests.integration.world import OURS, World

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def world():
    world = World()
    status, output = world.sandbox("up", "--at", "prepared")
    assert status == 0, output[-4000:]
    yield world
    world.down()


@pytest.fixture
def visitor(world):
    """Visitors all through one test; what they have seen is judged at its end."""
    (world.folder / "visitor-summary.json").unlink(missing_ok=True)
    # A rollback brings the earlier release back, behind the page: that alone is no violation here.
    assembly.daemon(world.config, "visitor", "sandbox.public.visitor", "--dir", str(world.folder), "--rollback")
    yield
    processes.stop(world.folder, "visitor")
    summary = world.summary()
    assert summary["asked"] > 20
    assert summary["violations"] == 0, summary


def fleet(world, codename):
    found = world.instances(edx_codename=codename)
    return {id_ for id_, one in found.items() if one["state"] == "running" and one["tags"].get("purpose") in OURS}


def ours_in_load_balancers(world):
    return set().union(*(ids for name, ids in world.members().items() if "next" in name))


def window(world, *words):
    return world.salt_run("state.orchestrate", "orchestrate.mitx.window", *words)


def test_the_window_can_be_taken_back_after_the_old_fleet_was_stopped(world, visitor):
    assert window(world, "pillar={mitx: {until: stop}}")[0] == 0
    status, output = world.salt_run("mitx.rollback")
    assert status == 0, output[-6000:]
    assert ours_in_load_balancers(world) <= fleet(world, "juniper")
    alive = world.alive()
    assert all({"lms", "lms_worker"} & set(alive[host]) for host in fleet(world, "juniper"))
    assert not [host for host in fleet(world, "koa") if {"lms", "cms", "lms_worker", "gitreload"} & set(alive.get(host, ()))]
    assert not [name for name, target in world.records().items() if target.endswith("cloudfront.net")]


def test_a_migration_that_fails_leaves_the_page_up_and_nothing_after_it_happens(world, visitor):
    from sandbox.hosts import faults

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


def test_after_migrate_a_rollback_asks_about_the_databases(world):
    before = len(world.writes())
    status, output = world.salt_run("mitx.rollback")
    assert status != 0
    assert "database_restored=True" in output
    assert len(world.writes()) == before


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
    assert ours_in_load_balancers(world) <= fleet(world, "koa")
    assert not [name for name, target in world.records().items() if target.endswith("cloudfront.net")]
    done = world.log("migrations")
    assert len(done) == len({(line["purpose"], line["database"], line["migration"]) for line in done})
    launched = [call for call in world.writes() if call["operation"] == "run_instances" and call["agent"] == "sandbox-cloud"]
    assert len(launched) == 7
