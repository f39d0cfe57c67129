"""
The states of the release branch: what they predict, change, record and repeat. Real git, real
loader.
"""

import pytest

from tests.support import release_world
from tests.support.release_world import BRANCH, EDX, lines


@pytest.fixture
def world(tmp_path):
    return release_world.build(tmp_path / "forge")


def test_the_states_pin_predict_and_repeat(world, mitx):
    dry = mitx(test=True, begin=True, release=release_world.settings(world))
    before = world.refs(world.origin)
    predicted = dry.states["mitx_release.rebased"]("release")
    assert predicted["result"] is None
    change = predicted["changes"][BRANCH]
    assert change["old"] == world.patches[-1]
    assert world.refs(world.origin) == before

    wet = mitx(release=release_world.settings(world))
    done = wet.states["mitx_release.rebased"]("release")
    assert done["result"] is True
    assert done["changes"][BRANCH]["new"] == change["new"] == world.tip()
    assert wet.modules["mitx_run.record.pinned"]("release_sha") == world.tip()
    pushes = [
        line for line in wet.modules["mitx_run.events.read"]("git") if "push" in line["command"]
    ]
    assert [line["stage"] for line in pushes] == ["before", "after"]

    again = wet.states["mitx_release.rebased"]("release")
    assert (again["result"], again["changes"]) == (True, {})
    assert (
        len(
            [
                line
                for line in wet.modules["mitx_run.events.read"]("git")
                if "push" in line["command"]
            ]
        )
        == 2
    )


def test_the_state_stops_on_a_conflict_and_predicts_it(world, mitx):
    clash = world.commit(
        world.upstream, world.rc3, {"lms/a.py": lines("a", l5="edX", l25="rc3")}, "clash", EDX
    )
    world.set(world.upstream, "open-release/koa.rc3", clash)
    before = world.refs(world.origin)
    dry = mitx(test=True, release=release_world.settings(world)).states["mitx_release.rebased"](
        "release"
    )
    assert dry["result"] is False
    assert "lms/a.py" in dry["comment"]
    assert "1 conflict" in dry["warnings"][0]
    wet = mitx(release=release_world.settings(world))
    stopped = wet.states["mitx_release.rebased"]("release")
    assert (stopped["result"], stopped["changes"]) == (False, {})
    assert "mitx.rebase resume=True" in stopped["comment"]
    assert wet.modules["mitx_run.record.pinned"]("release_sha") is None
    assert world.refs(world.origin) == before


def test_the_state_copied(world, mitx):
    dry = mitx(test=True, release=release_world.settings(world)).states["mitx_release.copied"](
        "branches", branches=["open-release/koa.rc3"]
    )
    assert (dry["result"], dry["changes"]) == (
        None,
        {"open-release/koa.rc3": {"old": None, "new": world.rc3}},
    )
    states = mitx(release=release_world.settings(world)).states
    done = states["mitx_release.copied"]("branches", branches=["open-release/koa.rc3"])
    assert (done["result"], done["changes"]) == (True, dry["changes"])
    assert (
        states["mitx_release.copied"]("branches", branches=["open-release/koa.rc3"])["changes"]
        == {}
    )
    world.set(
        world.upstream,
        "open-release/koa.rc3",
        world.commit(world.upstream, world.main, {}, "rewritten", EDX),
    )
    diverged = states["mitx_release.copied"]("branches", branches=["open-release/koa.rc3"])
    assert diverged["result"] is False
    assert "diverged" in diverged["comment"]


def test_the_states_created_and_restored(world, mitx):
    wet, dry = (mitx(test=test, release=release_world.settings(world)) for test in (False, True))
    there = wet.states["mitx_release.created"]("branch")
    assert (there["result"], there["changes"]) == (True, {})
    wet.states["mitx_release.rebased"]("release")
    new, old = world.tip(), world.patches[-1]

    assert wet.states["mitx_release.restored"]("branch", backup="0" * 40)["result"] is False
    predicted = dry.states["mitx_release.restored"]("branch", backup=old)
    assert (predicted["result"], predicted["changes"][BRANCH]["new"]) == (None, old)
    assert world.tip() == new
    done = wet.states["mitx_release.restored"]("branch", backup=old)
    assert (done["result"], done["changes"][BRANCH]["old"], world.tip()) == (True, new, old)
    assert done["changes"][BRANCH]["backup"] in world.refs(world.origin)
    assert wet.states["mitx_release.restored"]("branch", backup=old)["changes"] == {}

    world.git(world.origin, "update-ref", "-d", f"refs/heads/{BRANCH}")
    predicted = dry.states["mitx_release.created"]("branch")
    assert predicted["result"] is None
    assert f"refs/heads/{BRANCH}" not in world.refs(world.origin)
    assert wet.states["mitx_release.created"]("branch")["changes"][BRANCH]["new"] == world.tip()
