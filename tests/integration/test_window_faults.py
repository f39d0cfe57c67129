"""
The night going wrong, in the sandbox: taken back from each of its phases, a migration that fails,
``kill -9`` in the middle of a phase. Whatever happens, visitors see the site or the page, and the
same command ends where it should.
"""

import os
import re
import shutil
import signal
import time

import pytest

from sandbox.hosts import faults
from tests.support.upgrade_world import OURS, World

pytestmark = pytest.mark.timeout(900)
OPENEDX = {"lms", "cms", "lms_worker", "cms_worker", "gitreload"}
PHASES = ["close", "stop", "migrate", "start", "attach", "detach", "verify", "open"]
# After the others the world is nearly as after one of these; `make test
# TESTS="tests/integration/test_window_faults.py -m long"`.
EACH_TIME = ("stop", "migrate", "open")


@pytest.fixture(scope="module")
def world():
    world = World()
    status, output = world.sandbox("up", "--at", "prepared")
    assert status == 0, output[-4000:]
    shutil.copytree(world.folder / "databases", world.folder / "snapshot")
    yield world
    world.down()


def window(world, *words):
    return world.salt_run("state.orchestrate", "orchestrate.mitx.window", *words)


def restore_databases(world):
    """As one would from the snapshot of the night, while nothing runs on them."""
    alive = world.alive()
    assert not [
        host
        for host in world.fleet("juniper") | world.fleet("koa")
        if OPENEDX & set(alive.get(host, ()))
    ]
    for path in (world.folder / "snapshot").iterdir():
        shutil.copy(path, world.folder / "databases" / path.name)


def announced(output):
    return re.findall(r"Would call: (.*)", output)


def made(world, spoken, since):
    """The changes that the journal says were made, in the words of the dry run."""
    return [
        spoken(line)
        for line in world.journal()
        if line.get("stage") == "after" and line["time"] > since
    ]


@pytest.mark.parametrize(
    "phase", [pytest.param(p, marks=[] if p in EACH_TIME else pytest.mark.long) for p in PHASES]
)
def test_the_window_is_taken_back_from(world, visitor, mitx, phase):
    status, output = world.salt_run("mitx.window", "until=nowhere")
    assert status != 0
    assert "nowhere" in output
    status, output = world.salt_run("mitx.window", f"until={phase}")
    assert status == 0, output[-6000:]
    said = []
    if PHASES.index(phase) >= PHASES.index("migrate"):
        writes = len(world.writes())
        status, output = world.salt_run("mitx.rollback")
        assert status != 0
        assert "salt-run mitx.rollback stop_only=True" in output
        assert len(world.writes()) == writes
        said = ["restore=True"]
    if PHASES.index(phase) >= PHASES.index("open"):
        # What students have done since would be lost with a restore.
        status, output = world.salt_run("mitx.rollback", "restore=True")
        assert status != 0
        assert "would lose what students have done since" in output
        status, output = world.salt_run("mitx.rollback", "stop_only=True")
        assert status == 0, output[-6000:]
        restore_databases(world)
        said = ["database_restored=True"]
    status, dry = world.salt_run("mitx.rollback", *said, "test=True", "--state-output=full")
    assert status == 0, dry[-6000:]
    since = world.journal()[-1]["time"]
    status, output = world.salt_run("mitx.rollback", *said)
    assert status == 0, output[-6000:]
    assert announced(dry) == made(world, mitx().modules["mitx_run.journal.summary"], since)
    assert announced(dry)
    assert world.serving() == {
        id_ for id_ in world.fleet("juniper") if "worker" not in world.instances()[id_]["name"]
    }
    alive = world.alive()
    assert all(OPENEDX & set(alive[host]) for host in world.fleet("juniper"))
    assert not [host for host in world.fleet("koa") if OPENEDX & set(alive.get(host, ()))]
    assert not [
        name for name, target in world.records().items() if target.endswith("cloudfront.net")
    ]
    # Again: nothing is left to be taken back.
    writes = len(world.writes())
    assert world.salt_run("mitx.rollback")[0] == 0
    assert len(world.writes()) == writes


def on_the_page(world):
    return {name for name, target in world.records().items() if target.endswith("cloudfront.net")}


def test_a_rollback_that_fails_or_is_killed_leaves_the_page_up_and_is_gone_on_with(world, visitor):
    status, output = world.salt_run(
        "state.orchestrate", "orchestrate.mitx.window", "pillar={mitx: {until: attach}}"
    )
    assert status == 0, output[-6000:]
    # The old release does not run on the new schema, whatever was said. The check behind the page
    # finds out.
    said = "pillar={mitx: {rollback: {accept_new_schema: true}, checks: {timeout: 5}}}"
    status, output = world.salt_run("state.orchestrate", "orchestrate.mitx.rollback", said)
    assert status != 0
    assert "rollback failed" in output
    assert "lead to the maintenance page" in output
    assert "Next, when that is put right: salt-run mitx.rollback" in output
    assert len(on_the_page(world)) == 6
    assert "salt-run mitx.rollback" in world.salt_run("mitx.status")[1]
    # By now the old fleet runs: for the databases to be restored it must not.
    status, output = world.salt_run("mitx.rollback", "stop_only=True")
    assert status == 0, output[-6000:]
    restore_databases(world)
    began = world.journal()[-1]["time"]
    process = world.start("salt-run", "mitx.rollback", "database_restored=True")
    seen(
        process,
        lambda: [
            line
            for line in world.journal()
            if line["time"] > began and line.get("label") == "start"
        ],
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(on_the_page(world)) == 6
    status, output = world.salt_run("mitx.rollback", "database_restored=True")
    assert status == 0, output[-6000:]
    assert not on_the_page(world)
    assert world.serving() == {
        id_ for id_ in world.fleet("juniper") if "worker" not in world.instances()[id_]["name"]
    }
    alive = world.alive()
    assert not [host for host in world.fleet("koa") if OPENEDX & set(alive.get(host, ()))]


def test_a_rollback_that_restores_and_is_killed_at_its_end_shows_the_page_once(world, visitor):
    status, output = world.salt_run(
        "state.orchestrate", "orchestrate.mitx.window", "pillar={mitx: {until: migrate}}"
    )
    assert status == 0, output[-6000:]
    process = world.start("salt-run", "mitx.rollback", "restore=True")
    seen(process, lambda: not on_the_page(world))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not on_the_page(world)
    began = world.journal()[-1]["time"]
    # Nobody has to say again what was done: the run knows that it restored the databases.
    status, output = world.salt_run("mitx.rollback")
    assert status == 0, output[-6000:]
    lines = [line for line in world.journal() if line["time"] > began]
    assert not [line for line in lines if line.get("operation") == "change_resource_record_sets"]
    assert not [line for line in lines if line["event"] in ("existing", "restored")]
    assert world.serving() == {
        id_ for id_ in world.fleet("juniper") if "worker" not in world.instances()[id_]["name"]
    }


def test_a_migration_that_fails_leaves_the_page_up_and_nothing_after_it_happens(world, visitor):
    faults.put(world.folder, "migrate", {"match": {"purpose": OURS[0]}, "action": "fail"})
    status, output = window(world)
    faults.put(world.folder, "migrate")
    assert status != 0
    assert "migrate failed" in output
    assert "lead to the maintenance page" in output
    assert (
        "Next, when that is put right: salt-run state.orchestrate orchestrate.mitx.window" in output
    )
    assert "start" not in {
        line["phase"]
        for line in world.journal()
        if line["event"] == "phase" and line["time"] > world.phase("migrate", "started")
    }


GATE = "pillar={mitx: {gate: {required: true, timeout: 120}}}"


def seen(process, condition, seconds=300):
    """Wait until the journal has it; the command must go on meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert condition()
    assert process.poll() is None, process.communicate()[0][-4000:]


def test_kill_9_in_the_middle_and_the_same_command_ends_where_it_should_once_a_human_has_looked(
    world, visitor
):
    status, output = world.salt_run("mitx.approve")
    assert status != 0
    assert "nothing to look at yet" in output
    failed = world.phase("migrate", "failed")

    def told(phase, status):
        lines = [
            line for line in world.journal() if line["event"] == "phase" and line["time"] > failed
        ]
        return [line for line in lines if (line["phase"], line["status"]) == (phase, status)]

    process = world.start("salt-run", "state.orchestrate", "orchestrate.mitx.window", GATE)
    seen(process, lambda: told("attach", "started"))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = world.start("salt-run", "state.orchestrate", "orchestrate.mitx.window", GATE)
    seen(process, lambda: told("verify", "waiting"))
    assert "verify" in world.salt_run("mitx.status")[1]
    assert (
        len([name for name, target in world.records().items() if target.endswith("cloudfront.net")])
        == 6
    )
    # It takes longer, which is said without disturbing it; and nobody opens the site past it.
    status, output = world.salt_run("mitx.announce", "until=+90m")
    assert status == 0, output
    status, output = world.salt_run("mitx.maintenance", "off")
    assert status != 0
    assert "A run holds the environment" in output
    status, output = world.salt_run("mitx.maintenance", "on")
    assert status != 0
    assert "is held by" in output
    assert world.salt_run("mitx.approve", "note=looked at a course")[0] == 0
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-6000:]
    assert world.serving() <= world.fleet("koa")
    assert not [
        name for name, target in world.records().items() if target.endswith("cloudfront.net")
    ]
    # Since the databases were last put back: each migration once.
    taken_back = [
        line["time"]
        for line in world.journal()
        if line.get("phase") == "rollback" and line["status"] == "finished"
    ]
    done = [line for line in world.log("migrations") if line["time"] > max(taken_back, default="")]
    assert done
    assert len(done) == len(
        {(line["purpose"], line["database"], line["migration"]) for line in done}
    )
    launched = [
        call
        for call in world.writes()
        if call["operation"] == "run_instances" and call["agent"] == "sandbox-cloud"
    ]
    assert len(launched) == 7
