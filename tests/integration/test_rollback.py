"""
Taking the window back, from each of its phases: the old fleet serves its release again, on the schema that it knows, and visitors saw
the site or the page. And what the dry run has said is what is done.
"""

import re
import shutil

import pytest

from tests.integration.world import World

pytestmark = pytest.mark.timeout(900)
OPENEDX = {"lms", "cms", "lms_worker", "cms_worker", "gitreload"}
PHASES = ["close", "stop", "migrate", "start", "attach", "detach", "verify", "open"]


@pytest.fixture(scope="module")
def world():
    world = World()
    status, output = world.sandbox("up", "--at", "prepared")
    assert status == 0, output[-4000:]
    shutil.copytree(world.folder / "databases", world.folder / "snapshot")
    yield world
    world.down()


def restore_databases(world):
    """As one would from the snapshot of the night, while nothing runs on them."""
    alive = world.alive()
    assert not [host for host in world.fleet("juniper") | world.fleet("koa") if OPENEDX & set(alive.get(host, ()))]
    for path in (world.folder / "snapshot").iterdir():
        shutil.copy(path, world.folder / "databases" / path.name)


def announced(output):
    return re.findall(r"Would call: (.*)", output)


def made(world, spoken, since):
    """The changes that the journal says were made, in the words of the dry run."""
    return [spoken(line) for line in world.journal() if line.get("stage") == "after" and line["time"] > since]


@pytest.mark.parametrize("phase", PHASES)
def test_the_window_is_taken_back_from(world, visitor, mitx, phase):
    status, output = world.salt_run("state.orchestrate", "orchestrate.mitx.window", f"pillar={{mitx: {{until: {phase}}}}}")
    assert status == 0, output[-6000:]
    said = []
    if PHASES.index(phase) >= PHASES.index("migrate"):
        writes = len(world.writes())
        status, output = world.salt_run("mitx.rollback")
        assert status != 0
        assert "salt-run mitx.rollback stop_only=True" in output
        assert len(world.writes()) == writes
        status, output = world.salt_run("mitx.rollback", "stop_only=True")
        assert status == 0, output[-6000:]
        restore_databases(world)
        said = ["database_restored=True"]
    status, dry = world.salt_run("mitx.rollback", *said, "test=True", "--state-output=full")
    assert status == 0, dry[-6000:]
    since = world.journal()[-1]["time"]
    status, output = world.salt_run("mitx.rollback", *said)
    assert status == 0, output[-6000:]
    assert announced(dry) == made(world, mitx().modules["mitx_run.spoken"], since)
    assert announced(dry)
    assert world.serving() == {id_ for id_ in world.fleet("juniper") if "worker" not in world.instances()[id_]["name"]}
    alive = world.alive()
    assert all(OPENEDX & set(alive[host]) for host in world.fleet("juniper"))
    assert not [host for host in world.fleet("koa") if OPENEDX & set(alive.get(host, ()))]
    assert not [name for name, target in world.records().items() if target.endswith("cloudfront.net")]
    # Again: nothing is left to be taken back.
    writes = len(world.writes())
    assert world.salt_run("mitx.rollback")[0] == 0
    assert len(world.writes()) == writes
