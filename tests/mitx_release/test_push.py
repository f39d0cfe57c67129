"""
What lands on origin, and what never does: races, refusals, kills, backups, copies. Real git, real
loader.
"""

import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import release_world
from tests.support.release_world import BRANCH, EDX


@pytest.fixture
def world(tmp_path):
    return release_world.build(tmp_path / "forge")


@pytest.fixture
def load(world, mitx):
    """``load(test=False, **release)``: the modules, with settings of the world."""
    return lambda test=False, **changed: (
        mitx(test=test, release=release_world.settings(world, **changed)).modules
    )


def _hook(world, name, text):
    path = world.origin / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_origin_moves_between_plan_and_push(world, load, tmp_path):
    """
    A colleague pushes at the last moment: his commit stays, ours is refused, and the next run takes
    it along.
    """
    modules = load()
    colleague = world.commit(world.origin, world.tip(), {"z.txt": "z\n"}, "feat: a colleague's")
    # pre-receive runs after git has read origin's refs and before it compares them with the lease.
    once = tmp_path / "once"
    move = (
        f"test -e {once} || {{ touch {once}; unset GIT_QUARANTINE_PATH; git update-ref"
        f" refs/heads/{BRANCH} {colleague}; }}"
    )
    hook = _hook(world, "pre-receive", move)
    with pytest.raises(CommandExecutionError, match="nothing of it landed"):
        modules["mitx_release.release.sync"]()
    assert world.tip() == colleague
    assert not [ref for ref in world.refs(world.origin) if ref.startswith("refs/mitx/backup")]
    hook.unlink()
    answer = modules["mitx_release.release.sync"]()
    assert answer["patches"][-1]["subject"] == "feat: a colleague's"
    assert world.show("z.txt") == "z\n"


def test_a_stale_lease_is_told(world, load):
    """The sha that was read no longer holds when git connects."""
    modules = load()
    release = modules["mitx_run.settings.get"]()["release"]
    with modules["mitx_release.mirror.locked"](release):
        refs = modules["mitx_release.mirror.fetch"](release)
    stale = modules["mitx_release.branches.updates"](
        release, modules["mitx_release.branches.tip"](release, refs), world.rc3
    )
    colleague = world.set(
        world.origin, BRANCH, world.commit(world.origin, world.tip(), {}, "feat: a colleague's")
    )
    before = world.refs(world.origin)
    with pytest.raises(
        CommandExecutionError, match=r"stale info\): someone has pushed to it.*mitx\.plan"
    ):
        modules["mitx_release.mirror.push"](release, stale)
    assert world.refs(world.origin) == before
    assert world.tip() == colleague


def test_a_protected_branch_takes_nothing_of_the_push(world, load):
    """update hooks run ref by ref: without --atomic the backup would land and the branch not."""
    _hook(
        world,
        "update",
        f'test "$1" != refs/heads/{BRANCH} || {{ echo "protected branch" >&2; exit 1; }}',
    )
    before = world.refs(world.origin)
    with pytest.raises(
        CommandExecutionError, match=r"hook declined.*It said: remote: protected branch"
    ):
        load()["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before


def test_a_push_that_landed_before_the_connection_broke_counts(world, load):
    """git reports a failure, origin has it all the same: no error, and no second push."""
    _hook(world, "post-receive", "kill -9 $PPID")
    modules = load()
    answer = modules["mitx_release.release.sync"]()
    assert world.tip() == answer["new"]
    assert len([ref for ref in world.refs(world.origin) if ref.startswith("refs/mitx/backup")]) == 1


def test_an_unreachable_origin_or_upstream_is_named(world, load):
    with pytest.raises(CommandExecutionError, match="upstream cannot be fetched"):
        load(upstream="/nowhere/upstream.git")["mitx_release.release.plan"]()
    with pytest.raises(CommandExecutionError, match="origin cannot be fetched"):
        load(origin="/nowhere/origin.git")["mitx_release.release.plan"]()


def test_a_git_that_hangs_is_stopped_at_the_timeout(world, load):
    _hook(world, "pre-receive", "exec sleep 60")
    before, started = world.refs(world.origin), time.monotonic()
    with pytest.raises(CommandExecutionError, match=r"not done after 3 s \(release:timeout\)"):
        load(timeout=3)["mitx_release.release.sync"]()
    assert time.monotonic() - started < 30
    assert world.refs(world.origin) == before


def test_only_mitx_branches_are_ever_rewritten(world, load):
    for branch in ("open-release/koa.master", "master"):
        with pytest.raises(CommandExecutionError, match="must be mitx/<codename>"):
            load(branch=branch)["mitx_release.release.sync"]()


def test_ten_backups_are_kept(world, load):
    modules = load()
    for number in range(12):
        ref = f"refs/mitx/backup/koa/202001{number + 1:02d}T000000Z-{world.rc2}"
        world.set(world.origin, ref, world.rc2)
    foreign = world.set(
        world.origin, "refs/mitx/backup/juniper/20190101T000000Z-" + world.rc2, world.rc2
    )
    modules["mitx_release.release.sync"]()
    found = modules["mitx_release.branches.backups"]()
    assert len(found) == 10
    assert found[0]["sha"] == world.patches[-1]
    assert found[-1]["time"] == "20200104T000000Z"
    assert (
        world.refs(world.origin)["refs/mitx/backup/juniper/20190101T000000Z-" + world.rc2]
        == foreign
    )


def test_restore_goes_back_and_can_be_undone(world, load):
    modules, old = load(), world.tip()
    new = modules["mitx_release.release.sync"]()["new"]
    with pytest.raises(CommandExecutionError, match=f"one of:\n  .*{old}"):
        modules["mitx_release.branches.restore"]()
    answer = modules["mitx_release.branches.restore"](
        backup=modules["mitx_release.branches.backups"]()[0]["name"]
    )
    assert (world.tip(), answer["old"], answer["changed"]) == (old, new, True)
    assert world.refs(world.origin)[answer["backup"]] == new
    assert modules["mitx_release.branches.restore"](backup=old)["changed"] is False
    modules["mitx_release.branches.restore"](backup=new)
    assert world.tip() == new


def test_create_makes_the_branch_once(world, load):
    modules = load(branch="mitx/lilac", onto="open-release/lilac.1")
    world.set(world.upstream, "open-release/lilac.master", world.rc3)
    answer = modules["mitx_release.branches.create"]()
    assert (answer["changed"], world.tip("mitx/lilac")) == (True, world.rc3)
    world.set(
        world.origin,
        "mitx/lilac",
        world.commit(world.origin, world.rc3, {"x": "x\n"}, "feat: ours"),
    )
    before = world.refs(world.origin)
    again = modules["mitx_release.branches.create"]()
    assert (again["changed"], again["pushes"]) == (False, [])
    assert world.refs(world.origin) == before


def test_copy_brings_upstreams_branches_and_never_forces(world, load):
    modules = load()
    answer = modules["mitx_release.branches.copy"]()
    assert answer["created"] == {
        f"open-release/koa.{name}": sha
        for name, sha in (("master", world.rc3), ("rc2", world.rc2), ("rc3", world.rc3))
    }
    assert world.tip("open-release/koa.rc3") == world.rc3
    assert modules["mitx_release.branches.copy"]()["changed"] is False

    later = world.set(
        world.upstream,
        "open-release/koa.rc3",
        world.commit(world.upstream, world.rc3, {}, "later", EDX),
    )
    redone = world.set(
        world.upstream,
        "open-release/koa.rc2",
        world.commit(world.upstream, world.main, {}, "rewritten", EDX),
    )
    answer = modules["mitx_release.branches.copy"]()
    assert answer["updated"] == {"open-release/koa.rc3": [world.rc3, later]}
    assert answer["diverged"] == {"open-release/koa.rc2": [world.rc2, redone]}
    assert world.tip("open-release/koa.rc2") == world.rc2


def test_the_names_that_open_edx_gives_its_releases_since_teak(world, load):
    """``release/teak``, without a .master; its tags are ``release/teak.1``."""
    modules = load(branch="mitx/teak", onto="release/teak.1")
    world.set(world.upstream, "release/teak", world.rc3)
    world.set(world.upstream, "release/teaks-sister", world.rc2)
    answer = modules["mitx_release.branches.create"]()
    assert (answer["onto"]["ref"], world.tip("mitx/teak")) == (
        "refs/heads/release/teak",
        world.rc3,
    )
    assert modules["mitx_release.branches.copy"]()["created"] == {"release/teak": world.rc3}


def test_without_the_branch_the_hint_names_the_right_one(world, load):
    modules = load(branch="mitx/teak", onto="release/teak")
    world.set(world.upstream, "release/teak", world.rc3)
    with pytest.raises(
        CommandExecutionError, match="mitx.create_release makes it from release/teak"
    ):
        modules["mitx_release.release.list_patches"]()


def test_copy_takes_a_tag_as_it_is(world, load):
    who = {"GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@y"}
    world.git(world.upstream, "tag", "-a", "-m", "Koa.1", "open-release/koa.1", world.rc3, **who)
    modules = load()
    modules["mitx_release.branches.copy"](names=["open-release/koa.1"])
    tag = "refs/tags/open-release/koa.1"
    assert world.git(world.origin, "rev-parse", tag) == world.git(world.upstream, "rev-parse", tag)
    assert modules["mitx_release.branches.copy"](names=["open-release/koa.1"])["same"] == [
        "open-release/koa.1"
    ]
    with pytest.raises(
        CommandExecutionError, match=r"no release open-release/koa\.7; nothing was copied"
    ):
        modules["mitx_release.branches.copy"](names=["open-release/koa.7"])


def test_an_environment_that_takes_qas_amis_pushes_nothing(world, mitx):
    before = world.refs(world.origin)
    modules = mitx(release={**release_world.settings(world), "from": "mitx-qa"}).modules
    for name in (
        "mitx_release.release.sync",
        "mitx_release.release.resume",
        "mitx_release.branches.create",
        "mitx_release.branches.copy",
        "mitx_release.branches.restore",
    ):
        with pytest.raises(CommandExecutionError, match="release:from"):
            modules[name]()
    assert world.refs(world.origin) == before


# A process of its own that syncs, as a master would: it can be killed.
_SYNC = """
    import json, sys
    sys.path[:0] = [{root!r}]
    import salt.loader
    from tests.support.rooms import Modules
    opts = json.load(open(sys.argv[1]))
    Modules(salt.loader.minion_mods(opts))["mitx_release.release.sync"]()
"""


@pytest.fixture
def syncing(world, mitx, tmp_path):
    """
    Start ``mitx_release.release.sync`` in a process of its own, git and all in one process group.
    """
    opts = mitx(release=release_world.settings(world)).opts
    path = tmp_path / "opts.json"
    path.write_text(json.dumps(opts, default=str))
    script = tmp_path / "sync.py"
    script.write_text(textwrap.dedent(_SYNC.format(root=str(pathlib.Path(__file__).parents[2]))))
    started = []

    def start():
        with open(tmp_path / f"out{len(started)}", "w") as out:
            # Whoever runs the tests in the background has Ctrl-C ignored, and that is inherited.
            command = ["env", "--default-signal=INT", sys.executable, str(script), str(path)]
            started.append(subprocess.Popen(command, stdout=out, stderr=out))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_two_at_once_push_once(world, syncing):
    processes = [syncing(), syncing()]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert world.log(f"{world.rc3}..{BRANCH}") == ["feat: one", "feat: two", "feat: three"]
    assert len([ref for ref in world.refs(world.origin) if ref.startswith("refs/mitx/backup")]) == 1


@pytest.mark.parametrize("seed", range(6))
def test_killed_anywhere_the_next_run_ends_right(world, load, syncing, seed, tmp_path):
    """
    kill -9 while it fetches, rebases or pushes: origin has the old tip or the new one, and the next
    run ends with the new.
    """
    old = world.tip()
    _slow_push(world)
    process, mirror = syncing(), world.folder / "git/edx-platform.git"
    _wait(lambda: mirror.exists() or process.poll() is not None)
    # From here a whole run takes about a second; another moment for each seed.
    time.sleep(random.Random(seed).uniform(0, 1.2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert world.tip() in (old, *_possible(world))
    for name in ("HEAD.lock", "config.lock", "packed-refs.lock", "refs/mitx/upstream/heads/x.lock"):
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).touch()

    answer = load()["mitx_release.release.sync"]()

    assert world.tip() == answer["new"]
    assert world.log(f"{world.rc3}..{BRANCH}") == ["feat: one", "feat: two", "feat: three"]
    assert [
        sha for ref, sha in world.refs(world.origin).items() if ref.startswith("refs/mitx/backup")
    ] == [old]
    assert not list(pathlib.Path("/dev/shm").glob(_scratch_of(mirror)))


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_it_takes_a_fix_back_the_fix_is_not_lost(world, load, syncing, seed):
    clash = world.commit(world.upstream, world.rc3, {"lms/a.py": None}, "chore: remove", EDX)
    world.set(world.upstream, "open-release/koa.rc3", clash)
    with pytest.raises(CommandExecutionError) as stopped:
        load()["mitx_release.release.sync"]()
    folder = pathlib.Path(stopped.value.conflict["folder"])
    # A decision that rerere does not remember.
    (folder / "lms/a.py").write_text("kept by hand\n")
    subprocess.run(["git", "-C", str(folder), "add", "lms/a.py"], check=True)
    _slow_push(world)
    process = syncing()
    _wait(
        lambda: (
            list(pathlib.Path("/dev/shm").glob(_scratch_of(world.folder / "git/edx-platform.git")))
            or process.poll() is not None
        )
    )
    time.sleep(random.Random(seed).uniform(0, 0.8))
    process.send_signal(signal.SIGKILL)
    process.wait()

    answer = load()["mitx_release.release.sync"]()

    assert world.tip() == answer["new"]
    assert world.show("lms/a.py") == "kept by hand\n"
    assert load()["mitx_release.release.plan"]()["changed"] is False


def _slow_push(world):
    _hook(world, "pre-receive", "sleep 0.3")


def _possible(world):
    tip = world.tip()
    return (
        [tip]
        if world.log(f"{world.rc3}..{tip}") == ["feat: one", "feat: two", "feat: three"]
        else []
    )


def _scratch_of(mirror):
    return f"mitx-release-{hashlib.sha256(str(mirror).encode()).hexdigest()[:12]}-*"


def _wait(ready, seconds=60):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_git_that_outlives_its_master_keeps_the_lock(world, load, syncing):
    """The killed run's push still goes on: the next run waits for it, and finds everything done."""
    gate = world.folder / "gate"
    os.mkfifo(gate)
    once = world.folder / "once"
    _hook(world, "pre-receive", f"test -e {once} || {{ touch {once}; cat {gate}; }}")
    process = syncing()
    _wait(once.exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    threading.Timer(1.0, lambda: gate.write_text("go\n")).start()
    answer = load()["mitx_release.release.sync"]()
    assert answer["changed"] is False
    assert world.tip() == answer["new"]


def test_whoever_waits_too_long_is_told_who_holds_the_mirror(world, load, monkeypatch):
    modules = load()
    release = modules["mitx_run.settings.get"]()["release"]
    monkeypatch.setattr("mitx_release.mirror.LOCK_TIMEOUT", 0.2)
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def hold():
        with modules["mitx_release.mirror.locked"](release):
            ready.set()
            done.wait(30)

    other = context.Process(target=hold)
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(
            CommandExecutionError,
            match=rf"in use by process {other.pid} since .*Nothing was changed",
        ):
            modules["mitx_release.mirror.locked"](release).__enter__()
    finally:
        done.set()
        other.join()
    assert modules["mitx_release.release.plan"]()["changed"] is True


def test_ctrl_c_stops_git_too(world, load, syncing):
    """
    Nothing goes on behind the operator's back: the push ends with the command, and the mirror is
    free again.
    """
    reached = world.folder / "reached"
    _hook(world, "pre-receive", f"touch {reached}; exec sleep 60")
    before, process = world.refs(world.origin), syncing()
    _wait(reached.exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    (world.origin / "hooks/pre-receive").unlink()
    assert world.refs(world.origin) == before
    assert load()["mitx_release.release.sync"]()["new"] == world.tip()
