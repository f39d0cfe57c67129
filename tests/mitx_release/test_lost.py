"""
No patch of MIT's is lost in silence: what is called absorbed is there, and what is left out has
been decided. Real git.
"""

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
    """``load(**release)``: the modules, with settings of the world."""
    return lambda **changed: mitx(release=release_world.settings(world, **changed)).modules


def ours(world, *patches):
    """
    The branch is these ``(files, subject)`` on rc2, instead of the world's three. Returns their
    shas.
    """
    tip, shas = world.rc2, []
    for files, subject in patches:
        tip = world.commit(world.origin, tip, files, subject)
        shas.append(tip)
    world.set(world.origin, BRANCH, tip)
    return shas


def theirs(world, *commits):
    """rc3 holds these ``(files, subject)`` too."""
    tip = world.rc3
    for files, subject in commits:
        tip = world.commit(world.upstream, tip, files, subject, EDX)
    world.set(world.upstream, "open-release/koa.rc3", tip)
    return tip


def added(text):
    """lms/a.py with lines below its fifth; ``r``: as in rc3."""
    return {"lms/a.py": lines("a", l5=f"a 5\n{text}")}


def added_r(text):
    return {"lms/a.py": lines("a", l5=f"a 5\n{text}", l25="rc3")}


def test_the_same_words_with_another_indentation_are_a_question_with_three_answers(world, load):
    """git's patch id knows no white space; Python does."""
    (mine,) = ours(world, (added("    check(user)"), "fix: check"))
    edx = theirs(world, (added_r("check(user)"), "fix: check, by edX"))
    before, modules = world.refs(world.origin), load()
    with pytest.raises(CommandExecutionError) as asked:
        modules["mitx_release.release.sync"]()
    text = str(asked.value)
    assert world.refs(world.origin) == before
    assert "+    check(user)" in text
    assert "+check(user)" in text
    assert edx[:12] in text
    assert [
        line
        for line in text.splitlines()
        if f"carry={mine}" in line and f"drop={mine}" in line and f"accept={mine}" in line
    ]
    assert modules["mitx_release.release.plan"]()["problems"] == [text.partition("\n  - ")[2]]

    assert modules["mitx_release.release.plan"](drop=mine)["patches"][0]["fate"] == "drop"
    (stopped,) = modules["mitx_release.release.plan"](carry=mine)["conflicts"]
    assert stopped["sha"] == mine
    answer = modules["mitx_release.release.sync"](accept=mine)
    assert (answer["patches"][0]["fate"], answer["new"]) == ("upstream", edx)
    assert "the operator accepted upstream's" in answer["patches"][0]["note"]


def test_all_questions_come_at_once(world, load):
    first = {"lms/a.py": lines("a", l5="a 5\n    one()")}
    second = {**first, "lms/b.py": lines("b", l5="b 5\n    two()", l25="rc2")}
    shas = ours(world, (first, "fix: one"), (second, "fix: two"))
    theirs(
        world,
        ({"lms/a.py": lines("a", l5="a 5\none()", l25="rc3")}, "one, by edX"),
        ({"lms/b.py": lines("b", l5="b 5\ntwo()", l25="rc2")}, "two, by edX"),
    )
    with pytest.raises(CommandExecutionError) as asked:
        load()["mitx_release.release.sync"]()
    assert all(f"carry={sha}" in str(asked.value) for sha in shas)


def test_exactly_what_upstream_has_now_is_absorbed_without_a_question(world, load):
    ours(world, (added("    check(user)"), "fix: check"))
    edx = theirs(world, (added_r("    check(user)"), "fix: check, by edX"))
    answer = load()["mitx_release.release.sync"]()
    assert (answer["patches"][0]["fate"], answer["new"]) == ("upstream", edx)


def test_a_line_that_git_leaves_out_is_in_the_result_or_nothing_is_pushed(world, load, monkeypatch):
    """
    What should never happen, is looked for: each line of a patch, in the commit that it became.
    """
    ours(world, (added("    check(user)\n    log(user)"), "fix: check"))
    theirs(world, ({"cms/c.py": lines("c", l2="other")}, "other"))
    modules, before = load(), world.refs(world.origin)
    real = modules["mitx_release.rebase.start"]

    def loses_a_line(release, folder, patches, onto, **options):
        answer = real(release, folder, patches, onto, **options)
        lost = world.commit(
            world.origin,
            onto,
            {"lms/a.py": lines("a", l5="a 5\n    check(user)", l25="rc3")},
            "fix: check",
        )
        info = pathlib.Path(folder) / ".git/objects/info/alternates"
        info.write_text(info.read_text() + f"{world.origin}/objects\n")
        raw = world.git(folder + "/.git", "cat-file", "commit", answer["new"])
        tree = world.git(world.origin, "rev-parse", f"{lost}^{{tree}}")
        raw = "\n".join([f"tree {tree}", *raw.splitlines()[1:]]) + "\n"
        made = world.git(
            folder + "/.git", "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode()
        )
        return {**answer, "new": made, "map": [made]}

    modules["mitx_release.rebase.start"] = loses_a_line
    # A dry run says so, as it says everything else.
    assert "1 lines of our patches are not in the result" in "".join(
        modules["mitx_release.release.plan"]()["problems"]
    )
    with pytest.raises(
        CommandExecutionError, match="1 lines of our patches are not in the result"
    ) as refused:
        modules["mitx_release.release.sync"]()
    assert "lms/a.py: +    log(user)" in str(refused.value)
    assert world.refs(world.origin) == before


def test_a_patch_of_which_upstream_has_a_part_is_no_loss_however_common_its_lines(world, load):
    """
    Upstream has taken one of its two hunks: what that removed stands elsewhere in the file too, and
    is removed all the same.
    """
    base = lines("a", l5="    return None", l15="    return None", l22="    return None")
    base_commit = world.commit(world.upstream, world.rc2, {"lms/a.py": base}, "returns", EDX)
    mine = base.replace("    return None\n", "", 1).replace("a 28\n", "a 28\nmit\n")
    tip = world.commit(world.origin, base_commit, {"lms/a.py": mine}, "fix: two places")
    world.set(world.origin, BRANCH, tip)
    world.set(
        world.upstream,
        "open-release/koa.rc3",
        world.commit(
            world.upstream,
            base_commit,
            {"lms/a.py": base.replace("    return None\n", "", 1)},
            "one of them",
            EDX,
        ),
    )
    answer = load()["mitx_release.release.sync"]()
    assert world.show("lms/a.py") == mine
    assert answer["patches"][0]["fate"] == "carry"


def test_a_binary_that_upstream_has_already_is_no_loss(world, load):
    image = b"\x89PNG\0" + bytes(range(256))
    ours(
        world,
        ({"lms/x.png": image, "lms/b.py": lines("b", l5="mit", l25="rc2")}, "feat: image and more"),
    )
    theirs(world, ({"lms/x.png": image}, "the image, by edX"))
    answer = load()["mitx_release.release.sync"]()
    assert answer["patches"][0]["fate"] == "carry"
    assert world.show("lms/b.py") == lines("b", l5="mit", l25="rc2")


# git refuses these in every tree; the others harm a disk of macOS or Windows, not this one.
REFUSED = (".git", ".GIT", "git~1", "..", ".")


@pytest.mark.parametrize("name", [*REFUSED, ".g\u200cit"])
def test_a_tree_that_git_refuses_ends_the_rebase_and_runs_nothing(world, load, tmp_path, name):
    """
    A hostile tree: a folder that would be written into ``.git`` or outside of the worktree. git
    puts such a patch back into its list each time it is told to continue: it would go on for ever.
    Or it takes it, since the name harms no Linux; then it is a file like any other.
    """
    program = f"[core]\n\tfsmonitor = touch {tmp_path}/ran\n\thooksPath = {tmp_path}\n"
    blob = world.git(world.origin, "hash-object", "-w", "--stdin", stdin=program.encode())
    inner = world.git(world.origin, "mktree", stdin=f"100644 blob {blob}\tconfig\n".encode())
    top = world.git(world.origin, "ls-tree", world.rc2)
    entries = f"{top}\n040000 tree {inner}\t{name}\n".encode()
    tree = world.git(world.origin, "mktree", stdin=entries)
    who = {
        f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    bad = world.git(world.origin, "commit-tree", "-p", world.rc2, "-m", "feat: evil", tree, **who)
    world.set(world.origin, BRANCH, bad)
    before = world.refs(world.origin)
    if name in REFUSED:
        with pytest.raises(CommandExecutionError, match=bad[:12]):
            load()["mitx_release.release.sync"]()
        assert world.refs(world.origin) == before
    else:
        load()["mitx_release.release.sync"]()
        assert world.git(world.origin, "rev-parse", f"{BRANCH}:{name}/config") == blob
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("config"))


# ---- a human at work


def _human(folder, *command):
    who = {
        f"GIT_{role}_{what}": "h@x"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder.parent), "GIT_EDITOR": "true", **who}
    return subprocess.run(
        ["git", "-C", str(folder), *command], env=env, capture_output=True, text=True, check=True
    )


def _stopped(modules, **said):
    with pytest.raises(CommandExecutionError) as stopped:
        modules["mitx_release.release.sync"](**said)
    return pathlib.Path(stopped.value.conflict["folder"]), str(stopped.value)


def _moved(extra=""):
    """
    What edX made of lms/a.py elsewhere: half of it, which is too little for git's own merge to
    follow.
    """
    mine = lines("a", l5=f"edX five{extra}").splitlines(keepends=True)
    return "".join(mine[: 14 + extra.count("\n")]) + lines("core", 16)


def test_a_fix_is_ported_to_where_upstream_has_moved_the_code(world, load):
    """
    The commonest real conflict: the file is gone, its code lies in a folder that is not checked
    out.
    """
    ours(world, (added("    check(user)"), "fix: check"))
    theirs(world, ({"lms/a.py": None, "openedx/core/a.py": _moved()}, "moved"))
    modules = load()
    folder, said = _stopped(modules)
    assert "lms/a.py is openedx/core/a.py now" in said
    assert "rebase --skip" not in said
    assert (folder / "openedx/core/a.py").read_text() == _moved()
    (folder / "openedx/core/a.py").write_text(_moved("\n    check(user)"))
    _human(folder, "add", "--sparse", "openedx/core/a.py")
    _human(folder, "rm", "--sparse", "--quiet", "lms/a.py")
    answer = modules["mitx_release.release.resume"]()
    assert world.show("openedx/core/a.py") == _moved("\n    check(user)")
    assert answer["patches"][0]["new"] == world.tip()


def test_a_fix_in_a_folder_that_is_not_checked_out_is_the_humans_to_stage(world, load):
    ours(world, (added("    check(user)"), "fix: check"))
    theirs(world, ({"lms/a.py": None, "openedx/core/z.py": lines("z")}, "rewritten"))
    modules = load()
    folder, _ = _stopped(modules)
    (folder / "openedx/core").mkdir(parents=True, exist_ok=True)
    (folder / "openedx/core/z.py").write_text(lines("z", l5="z 5\n    check(user)"))
    _human(folder, "add", "--sparse", "openedx/core/z.py")
    _human(folder, "rm", "--sparse", "--quiet", "lms/a.py")
    modules["mitx_release.release.resume"]()
    assert world.show("openedx/core/z.py") == lines("z", l5="z 5\n    check(user)")


def test_nothing_staged_is_no_advice_to_skip(world, load):
    (mine,) = ours(world, (added("    check(user)"), "fix: check"))
    theirs(world, ({"lms/a.py": None, "openedx/core/z.py": lines("z")}, "rewritten"))
    modules = load()
    folder, _ = _stopped(modules)
    _human(folder, "rm", "--sparse", "--quiet", "lms/a.py")
    with pytest.raises(CommandExecutionError, match="all of it would be lost") as refused:
        modules["mitx_release.release.resume"]()
    assert "--skip" not in str(refused.value)
    assert f"drop={mine}" in str(refused.value)


def _clashing(world):
    ours(
        world,
        ({"lms/a.py": lines("a", l5="mit")}, "fix: five"),
        ({"lms/a.py": lines("a", l5="mit", l15="mit")}, "fix: fifteen"),
    )
    return theirs(world, ({"lms/a.py": lines("a", l5="edX", l25="rc3")}, "clash"))


def test_what_was_solved_is_not_lost_when_a_colleague_has_pushed_meanwhile(world, load):
    _clashing(world)
    modules = load()
    folder, _ = _stopped(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    colleague = world.commit(
        world.origin, world.tip(), {"cms/c.py": lines("c", l3="colleague")}, "feat: of a colleague"
    )
    world.set(world.origin, BRANCH, colleague)
    with pytest.raises(CommandExecutionError, match="What was solved there is recorded"):
        modules["mitx_release.release.sync"]()
    modules["mitx_release.release.abort"]()
    answer = load()["mitx_release.release.sync"]()
    assert world.show("lms/a.py") == lines("a", l5="both", l15="mit", l25="rc3")
    assert [one["subject"] for one in answer["patches"]] == [
        "fix: five",
        "fix: fifteen",
        "feat: of a colleague",
    ]


def test_the_command_that_a_conflict_prints_goes_on_with_what_was_said_when_it_began(world, mitx):
    """``resume=True`` alone: what to leave out was said to the command before."""
    _clashing(world)
    first, second = world.log(f"{world.rc2}..{BRANCH}", "%H")
    states = mitx(release=release_world.settings(world)).states
    stopped = states["mitx_release.rebased"]("release", drop=second)
    assert "salt-run mitx.rebase resume=True" in stopped["comment"]
    folder = world.folder / "git/edx-platform-conflict"
    (folder / "lms/a.py").write_text(lines("a", l5="both", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    done = states["mitx_release.rebased"]("release", resume=True)
    assert done["result"] is True, done["comment"]
    assert world.log(f"{world.tip('open-release/koa.rc3', world.upstream)}..{BRANCH}") == [
        "fix: five"
    ]
    # Nothing waits any more.
    again = states["mitx_release.rebased"]("release", resume=True)
    assert (again["result"], again["comment"]) == (
        False,
        "No conflict waits to be solved; salt-run mitx.rebase begins a rebase",
    )


def test_a_wrong_solution_is_told_each_time_and_can_be_forgotten(world, load):
    _clashing(world)
    old = world.tip()
    modules = load()
    folder, _ = _stopped(modules)
    (folder / "lms/a.py").write_text(lines("a", l5="wrong", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    modules["mitx_release.release.resume"]()
    load()["mitx_release.branches.restore"](backup=old)
    again = load()["mitx_release.release.sync"]()
    assert "forget=" in "".join(again["notes"])
    load()["mitx_release.branches.restore"](backup=old)
    folder, _ = _stopped(load(), forget="lms/a.py")
    assert "<<<<<<<" in (folder / "lms/a.py").read_text()
    (folder / "lms/a.py").write_text(lines("a", l5="right", l25="rc3"))
    _human(folder, "add", "lms/a.py")
    load()["mitx_release.release.resume"]()
    assert world.show("lms/a.py") == lines("a", l5="right", l15="mit", l25="rc3")


def test_attributes_hide_no_line_from_the_comparison(world, load):
    """To git such a file is binary: every new patch of it would look like the old one."""
    ours(world, ({"lms/a.py": lines("a", l5="mit")}, "ours"))
    theirs(
        world,
        ({".gitattributes": "*.py -diff\n"}, "no diffs"),
        ({"lms/a.py": lines("a", l7="edX", l25="rc3")}, "beside it"),
    )
    answer = load()["mitx_release.release.sync"]()
    assert answer["counts"]["changed"] == 1
    assert "edX" in pathlib.Path(answer["report"]).read_text()


def test_a_report_that_cannot_be_made_bars_nothing(world, load, monkeypatch):
    modules = load()

    def broken(*_, **__):
        raise CommandExecutionError("no memory left")

    modules["mitx_release.compare.report"] = broken
    answer = modules["mitx_release.release.sync"]()
    assert world.tip() == answer["new"]
    assert "no memory left" in "".join(answer["notes"])
