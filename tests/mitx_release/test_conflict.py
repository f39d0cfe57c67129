"""
A conflict on the release branch: reported exactly, handed to a human, taken back. Real git, real
loader.
"""

import os
import pathlib
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import release_world
from tests.support.release_world import BRANCH, EDX, lines


@pytest.fixture
def world(tmp_path):
    return release_world.build(tmp_path / "forge")


@pytest.fixture
def load(world, mitx):
    """``load(test=False, **release)``: the modules, with settings of the world."""
    return lambda test=False, **changed: (
        mitx(test=test, release=release_world.settings(world, **changed)).modules
    )


def _clash(world, files=None, message="fix: upstream's own"):
    """Upstream's candidate gets a commit that is in conflict with our first patch."""
    sha = world.commit(
        world.upstream,
        world.rc3,
        files or {"lms/a.py": lines("a", l5="edX one", l25="rc3")},
        message,
        EDX,
    )
    return world.set(world.upstream, "open-release/koa.rc3", sha)


def _stop(modules, **arguments):
    """Sync into the conflict; returns the folder and the error."""
    with pytest.raises(CommandExecutionError) as stopped:
        modules["mitx_release.release.sync"](**arguments)
    return pathlib.Path(stopped.value.conflict["folder"]), stopped.value


def _human(folder, *command, check=True):
    """What a person types in the folder, with nothing of ours in the environment."""
    who = {
        "GIT_AUTHOR_NAME": "Hu",
        "GIT_AUTHOR_EMAIL": "h@x",
        "GIT_COMMITTER_NAME": "Hu",
        "GIT_COMMITTER_EMAIL": "h@x",
        "GIT_EDITOR": "true",
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), **who}
    return subprocess.run(
        ["git", "-C", str(folder), *command], env=env, capture_output=True, text=True, check=check
    )


def test_a_content_conflict_is_reported_with_its_hunk_and_origin_is_untouched(world, load):
    _clash(world)
    before, modules = world.refs(world.origin), load()

    plan = modules["mitx_release.release.plan"]()
    assert world.refs(world.origin) == before
    (conflict,) = plan["conflicts"]
    assert (conflict["sha"], conflict["subject"], conflict["paths"]) == (
        world.patches[0],
        "feat: one",
        ["lms/a.py"],
    )
    (detail,) = conflict["details"]
    assert (detail["type"], detail["paths"]) == ("contents", ["lms/a.py"])
    assert detail["hunks"] == [
        f"<<<<<<< onto\nedX one\n=======\nmit one\n>>>>>>> {world.patches[0][:12]}"
    ]
    assert (plan["new"], plan["pushes"], plan["waiting"]) == (None, [], None)

    folder, error = _stop(modules)
    assert world.refs(world.origin) == before
    for said in (
        world.patches[0][:12],
        "feat: one",
        "lms/a.py",
        str(folder),
        "mitx.rebase resume=True",
        "mitx.rebase abort=True",
    ):
        assert said in str(error)
    assert modules["mitx_release.release.plan"]()["waiting"] == str(folder)


def test_only_the_folder_in_conflict_and_the_top_of_the_tree_are_on_disk(world, load):
    _clash(world)
    folder, _ = _stop(load())
    files = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    )
    assert files == ["README.rst", "lms/a.py", "lms/b.py", "lms/d/e.py", "lms/new.py"]


def test_modify_delete_and_rename_conflicts_name_type_and_paths(world, load):
    _clash(world, {"lms/a.py": None})
    conflict = load()["mitx_release.release.plan"]()["conflicts"][0]
    assert [(one["type"], one["paths"]) for one in conflict["details"]] == [
        ("modify/delete", ["lms/a.py"])
    ]
    assert "deleted in onto and modified in" in conflict["details"][0]["message"]

    mine = world.commit(
        world.origin, world.rc2, {"lms/d/e.py": None, "lms/d/ours.py": lines("e")}, "feat: rename"
    )
    world.set(world.origin, BRANCH, mine)
    _clash(world, {"lms/d/e.py": None, "lms/d/theirs.py": lines("e")})
    (conflict,) = load()["mitx_release.release.plan"]()["conflicts"]
    assert conflict["details"][0]["type"] == "rename/rename"
    assert conflict["paths"] == ["lms/d/e.py", "lms/d/ours.py", "lms/d/theirs.py"]


def test_all_conflicts_of_the_stack_are_listed_at_once(world, load):
    files = {
        "lms/a.py": lines("a", l5="edX one", l25="rc3"),
        "lms/b.py": lines("b", l5="edX two", l25="rc2"),
    }
    _clash(world, files)
    found = load()["mitx_release.release.plan"]()["conflicts"]
    assert [(one["subject"], one["paths"]) for one in found] == [
        ("feat: one", ["lms/a.py"]),
        ("feat: two", ["lms/b.py"]),
    ]


def test_resume_after_a_human_has_staged_the_fix(world, load):
    _clash(world)
    modules, old = load(), world.tip()
    folder, _ = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")

    answer = modules["mitx_release.release.resume"]()

    assert world.tip() == answer["new"]
    assert world.show("lms/a.py") == lines("a", l5="both", l25="rc3")
    assert world.log(f"{BRANCH}~3..{BRANCH}", "%an %s") == [
        "MIT ODL feat: one",
        "Ann Other feat: two",
        "MIT ODL feat: three",
    ]
    assert "# and a hash line" in world.git(world.origin, "log", "-1", "--format=%B", f"{BRANCH}~2")
    assert (
        answer["patches"][0]["note"]
        == "a conflict, solved by hand; 1 of its lines are left out, by hand"
    )
    assert answer["check"]["explained"]["lms/a.py"]
    assert world.refs(world.origin)[answer["backup"]] == old
    assert not folder.exists()
    assert modules["mitx_release.release.sync"]()["changed"] is False


def test_the_same_command_goes_on_when_the_human_is_done(world, load):
    """The phase is run again by the same orchestration; nobody needs to know of resume."""
    _clash(world)
    modules = load()
    folder, _ = _stop(modules)
    with pytest.raises(CommandExecutionError, match=r"still in conflict: lms/a\.py"):
        modules["mitx_release.release.sync"]()
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    with pytest.raises(CommandExecutionError, match="still in conflict"):
        modules["mitx_release.release.sync"]()
    _human(folder, "add", "lms/a.py")
    assert modules["mitx_release.release.sync"]()["changed"] is True


@pytest.mark.parametrize(
    "finish", [("commit", "-m", "feat: one, adapted"), ("rebase", "--continue")]
)
def test_a_human_who_commits_or_continues_himself_is_understood(world, load, finish):
    _clash(world)
    modules = load()
    folder, _ = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    _human(folder, *finish)
    answer = modules["mitx_release.release.resume"]()
    assert world.show("lms/a.py") == lines("a", l5="both", l25="rc3")
    assert [one["fate"] for one in answer["patches"]] == ["carry", "carry", "carry"]
    assert "by hand" in answer["patches"][0]["note"]


def test_markers_unstaged_edits_and_an_emptied_patch_are_not_taken(world, load):
    _clash(world)
    before, modules = world.refs(world.origin), load()
    folder, _ = _stop(modules)
    _human(folder, "add", "lms/a.py")
    with pytest.raises(
        CommandExecutionError, match=r"conflict markers are still staged in: lms/a\.py"
    ):
        modules["mitx_release.release.resume"]()
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    with pytest.raises(CommandExecutionError, match=r"changed but not staged: lms/a\.py"):
        modules["mitx_release.release.resume"]()
    _human(folder, "checkout", "HEAD", "--", "lms/a.py")
    with pytest.raises(CommandExecutionError, match=r"all of it would be lost"):
        modules["mitx_release.release.resume"]()
    assert world.refs(world.origin) == before

    _human(folder, "rebase", "--skip")
    answer = modules["mitx_release.release.resume"]()
    assert (answer["patches"][0]["fate"], answer["patches"][0]["note"]) == (
        "drop",
        "skipped by hand",
    )
    assert answer["counts"]["dropped"] == 1


def test_a_rebase_that_the_human_aborted_pushes_nothing(world, load):
    _clash(world)
    before, modules = world.refs(world.origin), load()
    folder, _ = _stop(modules)
    _human(folder, "rebase", "--abort")
    with pytest.raises(CommandExecutionError, match=r"abort=True"):
        modules["mitx_release.release.resume"]()
    assert world.refs(world.origin) == before


def test_two_conflicts_one_after_the_other(world, load):
    files = {
        "lms/a.py": lines("a", l5="edX one", l25="rc3"),
        "lms/b.py": lines("b", l5="edX two", l25="rc2"),
    }
    _clash(world, files)
    modules = load()
    folder, first = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    with pytest.raises(CommandExecutionError, match="feat: two") as second:
        modules["mitx_release.release.resume"]()
    assert second.value.conflict["paths"] == ["lms/b.py"]
    (folder / "lms/b.py").write_text(lines("b", l5="both two", l25="rc2"))
    _human(folder, "add", "lms/b.py")
    answer = modules["mitx_release.release.resume"]()
    assert ["solved by hand" in one["note"] for one in answer["patches"]] == [True, True, False]
    assert world.show("lms/b.py") == lines("b", l5="both two", l25="rc2")


def test_what_was_solved_once_is_solved_by_itself_the_second_time(world, load):
    _clash(world)
    modules, old = load(), world.tip()
    folder, _ = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    modules["mitx_release.release.resume"]()

    # The next candidate, from the old tip again, as after a restore.
    rc4 = world.commit(
        world.upstream,
        world.tip("open-release/koa.rc3", world.upstream),
        {"cms/c.py": lines("c", l2="rc4")},
        "rc4",
        EDX,
    )
    world.set(world.upstream, "open-release/koa.rc4", rc4)
    modules["mitx_release.branches.restore"](backup=old)
    later = load(onto="open-release/koa.rc4")
    plan = later["mitx_release.release.plan"]()
    assert plan["conflicts"] == []
    answer = later["mitx_release.release.sync"]()
    assert answer["new"] == plan["new"] == world.tip()
    assert answer["patches"][0]["note"].startswith("a conflict, solved as it was the last time")
    # It may have been wrong: told each time, with what it makes of the patch.
    told = "\n".join(answer["notes"])
    assert f"forget={world.patches[0]}" in told
    assert "-+mit one" in told
    assert "++both" in told
    assert world.show("lms/a.py") == lines("a", l5="both", l25="rc3")
    assert "# and a hash line" in world.git(world.origin, "log", "-1", "--format=%B", f"{BRANCH}~2")


def test_abort_throws_it_away_and_a_plan_leaves_no_memory(world, load):
    _clash(world)
    modules = load()
    modules["mitx_release.release.plan"]()
    memory = pathlib.Path(modules["mitx_run.settings.get"]()["release"]["mirror"]) / "rr-cache"
    assert list(memory.glob("*/*")) == []
    folder, _ = _stop(modules)
    assert modules["mitx_release.release.abort"]() == {"removed": str(folder)}
    assert not folder.exists()
    assert modules["mitx_release.release.abort"]() == {"removed": None}
    with pytest.raises(CommandExecutionError, match="No conflict waits"):
        modules["mitx_release.release.resume"]()


def test_a_conflict_that_origin_has_overtaken_is_refused_and_nothing_is_lost(world, load):
    _clash(world)
    modules = load()
    folder, _ = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    world.set(
        world.origin,
        BRANCH,
        world.commit(world.origin, world.tip(), {"z.txt": "z\n"}, "feat: a colleague's"),
    )
    before = world.refs(world.origin)
    with pytest.raises(CommandExecutionError, match="old was .* is .*abort=True"):
        modules["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
    assert (folder / "lms/a.py").read_text() == lines("a", l5="both", l25="rc3")


def test_a_refused_push_after_a_fix_keeps_the_fix(world, load):
    _clash(world)
    modules = load()
    folder, _ = _stop(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    hook = world.origin / "hooks/pre-receive"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandExecutionError, match="refused the push"):
        modules["mitx_release.release.resume"]()
    hook.unlink()
    assert modules["mitx_release.release.resume"]()["new"] == world.tip()


def test_a_file_name_that_means_something_to_a_shell_or_to_git(world, load):
    name = 'lms/-rf "$(touch pwned)" é/a\tb.py'
    world.set(
        world.origin,
        BRANCH,
        world.commit(world.origin, world.rc2, {name: lines("x", l3="ours")}, "feat: odd name"),
    )
    _clash(world, {name: lines("x", l3="theirs")})
    modules = load()
    folder, _ = _stop(modules)
    (folder / name).write_text(lines("x", l3="both"))
    _human(folder, "add", "--", name)
    modules["mitx_release.release.resume"]()
    assert world.show(name) == lines("x", l3="both")


def _printed(error, whose):
    """The command that is printed for one side, run as a shell runs it."""
    line = next(line for line in str(error).splitlines() if line.endswith(f"# {whose}"))
    return subprocess.run(
        line.partition("   #")[0].strip(), shell=True, capture_output=True, text=True, check=True
    )


@pytest.fixture
def picture(world):
    """A picture that both sides have changed, beside a text that only we have."""
    base = {"lms/logo.png": "\0base\0", "lms/a.py": lines("a")}
    onto = world.commit(world.upstream, world.rc3, base, "feat: a logo", EDX)
    ours = world.commit(
        world.upstream, onto, {"lms/logo.png": "\0MIT\0", "lms/b.py": "b\n"}, "feat: our logo"
    )
    world.git(world.origin, "fetch", "-q", str(world.upstream), ours)
    world.set(world.origin, BRANCH, ours)
    world.set(world.upstream, "open-release/koa.rc2", onto)
    theirs = world.commit(world.upstream, onto, {"lms/logo.png": "\0edX\0"}, "feat: new", EDX)
    world.set(world.upstream, "open-release/koa.rc3", theirs)
    return ours


@pytest.mark.parametrize(("whose", "content"), [("MIT's", "\0MIT\0"), ("edX's", "\0edX\0")])
def test_of_a_picture_one_side_is_taken_by_the_command_that_is_printed(
    world, load, picture, whose, content
):
    modules = load()
    _, error = _stop(modules)
    assert "lms/logo.png is a binary file, and taken whole" in str(error)
    _printed(error, whose)
    more = {"accept": [picture]} if whose == "edX's" else {}
    modules["mitx_release.release.sync"](**more)
    assert world.show("lms/logo.png") == content
    assert world.show("lms/b.py") == "b\n"


def test_a_picture_that_is_only_added_is_not_silently_edxs(world, load, picture):
    modules = load()
    folder, _ = _stop(modules)
    before = world.refs(world.origin)
    _human(folder, "add", "--sparse", "lms/logo.png")
    with pytest.raises(CommandExecutionError, match="staged as edX has it") as refused:
        modules["mitx_release.release.sync"]()
    assert f"salt-run mitx.rebase resume=True accept={picture}" in str(refused.value)
    assert world.refs(world.origin) == before


@pytest.mark.parametrize(("whose", "link"), [("MIT's", "1" * 40), ("edX's", "2" * 40)])
def test_of_a_submodule_one_side_is_taken_by_the_command_that_is_printed(world, load, whose, link):
    """``git add`` fails without a checkout of it."""
    onto = world.commit(world.upstream, world.rc3, {"themes/x": ("0" * 39 + "1",)}, "feat: x", EDX)
    ours = world.commit(
        world.upstream, onto, {"themes/x": ("1" * 40,), "lms/b.py": "b\n"}, "feat: our theme"
    )
    world.git(world.origin, "fetch", "-q", str(world.upstream), ours)
    world.set(world.origin, BRANCH, ours)
    world.set(world.upstream, "open-release/koa.rc2", onto)
    theirs = world.commit(world.upstream, onto, {"themes/x": ("2" * 40,)}, "feat: new", EDX)
    world.set(world.upstream, "open-release/koa.rc3", theirs)
    modules = load()
    _, error = _stop(modules)
    assert "themes/x is a submodule" in str(error)
    _printed(error, whose)
    more = {"accept": [ours]} if whose == "edX's" else {}
    modules["mitx_release.release.sync"](**more)
    assert link in world.git(world.origin, "ls-tree", BRANCH, "themes/x")
    assert world.show("lms/b.py") == "b\n"
