"""
The release branch: what becomes of each patch, and what the rebased branch is. Real git, real
loader.
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
    """``load(test=False, **release)``: the modules, with settings of the world."""
    return lambda test=False, **changed: (
        mitx(test=test, release=release_world.settings(world, **changed)).modules
    )


def _fates(answer):
    return {one["subject"]: one["fate"] for one in answer["patches"]}


def _native(world, tmp_path, onto, base):
    """The tree that git's own rebase makes in a full checkout."""
    clone = tmp_path / "clone"
    world.git(None, "clone", "--quiet", "-b", BRANCH, str(world.origin), str(clone))
    command = [
        "git",
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "rebase",
        "--quiet",
        "--onto",
        onto,
        base,
    ]
    subprocess.run(command, cwd=clone, check=True, capture_output=True)
    return world.git(clone / ".git", "rev-parse", "HEAD^{tree}")


def test_a_clean_stack_is_what_native_rebase_makes_and_again_is_nothing(world, load, tmp_path):
    modules, old = load(), world.tip()
    native = _native(world, tmp_path, world.rc3, world.rc2)

    answer = modules["mitx_release.release.sync"]()

    assert answer["changed"] is True
    assert world.tip() == answer["new"]
    assert world.git(world.origin, "rev-parse", f"{BRANCH}^{{tree}}") == native
    assert answer["check"]["equal"] is True
    assert answer["counts"] == {"kept": 3, "changed": 0, "absorbed": 0, "dropped": 0, "merges": 0}
    assert world.refs(world.origin)[answer["backup"]] == old
    assert world.log(f"{world.rc3}..{BRANCH}") == ["feat: one", "feat: two", "feat: three"]

    before = world.refs(world.origin)
    again = modules["mitx_release.release.sync"]()
    assert (again["changed"], again["pushes"], again["new"]) == (False, [], answer["new"])
    assert world.refs(world.origin) == before


def test_plan_predicts_and_touches_nothing(world, load):
    before = world.refs(world.origin), world.refs(world.upstream)
    modules = load()

    plan = modules["mitx_release.release.plan"]()

    assert (world.refs(world.origin), world.refs(world.upstream)) == before
    assert plan["onto"] == {"ref": "refs/heads/open-release/koa.rc3", "sha": world.rc3}
    updates = plan["pushes"][0]["updates"]
    assert updates[0] == {
        "ref": f"refs/heads/{BRANCH}",
        "new": plan["new"],
        "lease": world.patches[-1],
    }
    assert updates[1]["new"] == world.patches[-1]
    assert updates[1]["lease"] is None
    assert (
        f"--force-with-lease=refs/heads/{BRANCH}:{world.patches[-1]}"
        in plan["pushes"][0]["command"]
    )
    assert f"{plan['new']}:refs/heads/{BRANCH}" in plan["pushes"][0]["command"]
    assert modules["mitx_release.release.sync"]()["new"] == plan["new"]


def test_author_date_and_message_are_kept_and_a_rerun_gives_the_same_shas(world, load, tmp_path):
    shape = "%an|%ae|%ad|%B"
    before = world.log(f"{world.rc2}..{BRANCH}", shape)
    old = world.tip()
    first = load()["mitx_release.release.sync"]()["new"]
    assert world.log(f"{world.rc3}..{BRANCH}", shape) == before

    # As another master would do it on another day, from a mirror of its own.
    world.set(world.origin, BRANCH, old)
    assert (
        load(mirror=str(tmp_path / "other" / "mirror.git"))["mitx_release.release.sync"]()["new"]
        == first
    )


def test_patches_that_upstream_has_are_left_out_and_told(world, load):
    up, one, two = world.upstream, world.patches[0], world.patches[1]
    picked = world.commit(
        up, world.rc3, {"lms/a.py": lines("a", l5="mit one", l25="rc3")}, "feat: one, by edX", EDX
    )
    # Two of ours, squashed into one commit: no patch id is the same, but nothing of them is left.
    extra = world.commit(
        world.origin, world.tip(), {"lms/d/e.py": lines("e", l9="mit four")}, "feat: four"
    )
    empty = world.commit(world.origin, extra, {}, "chore: empty on purpose")
    world.set(world.origin, BRANCH, empty)
    squashed = {
        "lms/b.py": lines("b", l5="mit two", l25="rc2"),
        "lms/d/e.py": lines("e", l9="mit four"),
    }
    world.set(
        up,
        "open-release/koa.rc3",
        world.commit(up, picked, squashed, "feat: two and four, by edX", EDX),
    )

    answer = load()["mitx_release.release.sync"]()

    fates = _fates(answer)
    assert fates == {
        "feat: one": "upstream",
        "feat: two": "empty",
        "feat: three": "carry",
        "feat: four": "empty",
        "chore: empty on purpose": "carry",
    }
    assert world.log(f"refs/heads/open-release/koa.rc3..{BRANCH}", repo=_both(world)) == [
        "feat: three",
        "chore: empty on purpose",
    ]
    assert answer["counts"]["absorbed"] == 3
    report = pathlib.Path(answer["report"]).read_text()
    for sha in (one, two, extra):
        assert f"absorbed  {sha[:12]}" in report


def _both(world):
    """Origin, with upstream's release refs in it, to compare the two."""
    world.git(
        world.origin,
        "fetch",
        "--quiet",
        str(world.upstream),
        "+refs/heads/open-release/*:refs/heads/open-release/*",
    )
    return world.origin


def test_subjects_that_say_carry_or_drop_are_obeyed(world, load):
    drop = world.commit(
        world.origin,
        world.tip(),
        {"cms/c.py": lines("c", l3="hot fix")},
        "UPSTREAM: <drop>: hot fix",
    )
    carry = world.commit(
        world.origin,
        drop,
        {"cms/c.py": lines("c", l3="hot fix", l12="kept")},
        "UPSTREAM: <carry>: ours for ever",
    )
    world.set(world.origin, BRANCH, carry)

    answer = load()["mitx_release.release.sync"]()

    assert _fates(answer)["UPSTREAM: <drop>: hot fix"] == "drop"
    assert _fates(answer)["UPSTREAM: <carry>: ours for ever"] == "carry"
    assert world.show("cms/c.py") == lines("c", l12="kept")
    assert answer["check"]["unexplained"] == []
    assert "was left out" in answer["check"]["explained"]["cms/c.py"]


def test_a_drop_commit_stays_until_there_is_something_to_rebase_onto(world, load):
    modules = load()
    modules["mitx_release.release.sync"]()
    tip = world.commit(
        world.origin,
        world.tip(),
        {"cms/c.py": lines("c", l3="hot fix")},
        "UPSTREAM: <drop>: hot fix",
    )
    world.set(world.origin, BRANCH, tip)
    answer = modules["mitx_release.release.sync"]()
    assert (answer["changed"], world.tip()) == (False, tip)
    assert answer["patches"][-1]["note"] == "will be dropped by the next rebase"


def test_a_patch_that_the_operator_drops_is_left_out(world, load):
    answer = load()["mitx_release.release.sync"](drop=[world.patches[1]])
    assert _fates(answer)["feat: two"] == "drop"
    assert "mit two" not in world.show("lms/b.py")
    with pytest.raises(CommandExecutionError, match="none of our patches"):
        load(onto="open-release/juniper.master")["mitx_release.release.sync"](drop=["0" * 40])


def test_a_jump_to_the_next_codename_leaves_upstreams_backports_behind(world, load):
    up = world.upstream
    backport = world.commit(
        up,
        world.juniper,
        {"cms/c.py": lines("c", l20="juniper", l22="backport")},
        "fix: backport by edX",
        EDX,
    )
    world.set(up, "open-release/juniper.master", backport)
    mine = world.commit(
        world.origin,
        backport,
        {"cms/c.py": lines("c", l2="mit", l20="juniper", l22="backport")},
        "feat: ours",
    )
    world.set(world.origin, BRANCH, mine)
    # What `git log origin/mitx/koa --not upstream/open-release/koa.rc3` would call ours:
    assert len(world.log(f"{world.rc3}..{mine}")) == 3

    answer = load()["mitx_release.release.sync"]()

    assert _fates(answer) == {"feat: ours": "carry"}
    assert world.show("cms/c.py") == lines("c", l2="mit")
    assert answer["check"]["equal"] is True


def _merge(world, evil):
    side = world.commit(world.origin, world.rc2, {"cms/c.py": lines("c", l10="side")}, "feat: side")
    merged = {
        "cms/c.py": lines("c", l10="side", l15="added by the merge itself" if evil else "c 15")
    }
    merge = world.commit(world.origin, [world.patches[0], side], merged, "Merge side")
    return world.set(
        world.origin, BRANCH, world.commit(world.origin, merge, {"x.txt": "x\n"}, "feat: after")
    )


def test_a_merge_that_adds_nothing_is_flattened_and_told(world, load):
    _merge(world, evil=False)
    answer = load()["mitx_release.release.sync"]()
    assert _fates(answer)["Merge side"] == "merge"
    assert world.log(f"{world.rc3}..{BRANCH}") == [
        "feat: one",
        "feat: side",
        "feat: after",
    ] or world.log(f"{world.rc3}..{BRANCH}") == [
        "feat: side",
        "feat: one",
        "feat: after",
    ]
    assert world.show("cms/c.py") == lines("c", l10="side")
    assert answer["check"]["equal"] is True


def test_a_merge_with_edits_of_its_own_is_refused_and_nothing_pushed(world, load):
    _merge(world, evil=True)
    before = world.refs(world.origin)
    with pytest.raises(CommandExecutionError, match=r"merge with changes of its own.*flatten"):
        load()["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
    assert "merge with changes of its own" in load()["mitx_release.release.plan"]()["problems"][0]


def test_flattening_keeps_a_merges_own_edits(world, load):
    _merge(world, evil=True)
    answer = load(flatten=True)["mitx_release.release.sync"]()
    assert world.show("cms/c.py") == lines("c", l10="side", l15="added by the merge itself")
    assert answer["check"]["equal"] is True
    assert "Merge side" in world.log(f"{world.rc3}..{BRANCH}")


def test_an_octopus_is_refused(world, load):
    sides = [
        world.commit(world.origin, world.rc2, {f"{n}.txt": "x\n"}, f"feat: side {n}")
        for n in range(2)
    ]
    world.set(
        world.origin, BRANCH, world.commit(world.origin, [world.tip(), *sides], {}, "Merge all")
    )
    with pytest.raises(CommandExecutionError, match="merges 3 branches at once"):
        load()["mitx_release.release.sync"]()


def test_upstream_rewrote_its_candidate(world, load):
    """
    The withdrawn commit is carried, marked and told; native pull --rebase would drop it without a
    word.
    """
    modules = load()
    modules["mitx_release.release.sync"]()
    redone = world.commit(
        world.upstream,
        world.rc2,
        {"cms/c.py": lines("c", l20="rc3 again")},
        "fix: for rc3, again",
        EDX,
    )
    world.set(world.upstream, "open-release/koa.rc3", redone)
    world.set(world.upstream, "open-release/koa.master", redone)

    plan = modules["mitx_release.release.plan"]()
    withdrawn = plan["patches"][0]
    assert (withdrawn["subject"], withdrawn["fate"]) == ("fix: for rc3", "carry")
    assert "withdrawn by upstream" in withdrawn["note"]
    assert "upstream has withdrawn 1 commit" in plan["notes"][0]

    answer = modules["mitx_release.release.sync"](drop=[world.rc3])
    assert world.show("lms/a.py") == lines("a", l5="mit one")
    assert world.show("cms/c.py") == lines("c", l20="rc3 again")
    assert [one["fate"] for one in answer["patches"]] == ["drop", "carry", "carry", "carry"]


def test_onto_a_tag(world, load):
    world.git(
        world.upstream,
        "tag",
        "-a",
        "-m",
        "Koa.1",
        "open-release/koa.1",
        world.rc3,
        GIT_COMMITTER_NAME="x",
        GIT_COMMITTER_EMAIL="x@y",
    )
    answer = load(onto="open-release/koa.1")["mitx_release.release.sync"]()
    assert answer["onto"] == {"ref": "refs/tags/open-release/koa.1", "sha": world.rc3}
    assert world.git(world.origin, "merge-base", BRANCH, world.rc3) == world.rc3


def test_onto_a_tag_of_a_tag(world, load):
    who = {"GIT_COMMITTER_NAME": "edX", "GIT_COMMITTER_EMAIL": "release@edx.org"}
    for name, target in (("signed", world.rc3), ("open-release/koa.1", "signed")):
        world.git(world.upstream, "tag", "-a", "-m", name, name, target, **who)
    answer = load(onto="open-release/koa.1")["mitx_release.release.sync"]()
    assert answer["onto"]["sha"] == world.rc3


@pytest.mark.parametrize("target", ["HEAD^{tree}", "HEAD:README.rst"], ids=["tree", "blob"])
def test_a_tag_that_is_no_commit_is_refused_in_words(world, load, target):
    world.git(world.upstream, "symbolic-ref", "HEAD", "refs/heads/open-release/koa.rc3")
    world.git(world.upstream, "tag", "open-release/koa.1", target)
    for name in ("plan", "sync"):
        with pytest.raises(
            CommandExecutionError, match=r"refs/tags/open-release/koa\.1 .* leads to no commit"
        ):
            load(onto="open-release/koa.1")[f"mitx_release.release.{name}"]()


def test_a_name_that_is_branch_and_tag_must_be_told_apart(world, load):
    world.git(world.upstream, "tag", "open-release/koa.rc3", world.rc2)
    with pytest.raises(CommandExecutionError, match="has both a branch and a tag"):
        load()["mitx_release.release.plan"]()
    assert (
        load(onto="refs/heads/open-release/koa.rc3")["mitx_release.release.plan"]()["onto"]["sha"]
        == world.rc3
    )


def test_a_pinned_commit_wins_over_the_ref(world, load):
    pinned = world.rc3
    later = world.commit(world.upstream, pinned, {"later.txt": "x\n"}, "later", EDX)
    world.set(world.upstream, "open-release/koa.rc3", later)
    answer = load()["mitx_release.release.sync"](onto_sha=pinned)
    assert answer["onto"]["sha"] == pinned
    assert world.git(world.origin, "merge-base", BRANCH, later) == pinned
    with pytest.raises(
        CommandExecutionError, match="neither in upstream's releases nor in the mirror"
    ):
        load()["mitx_release.release.sync"](onto_sha="1" * 40)


def test_a_release_that_is_not_there(world, load):
    with pytest.raises(CommandExecutionError, match=r"no release open-release/koa\.rc9.*koa\.rc3"):
        load(onto="open-release/koa.rc9")["mitx_release.release.plan"]()
    with pytest.raises(CommandExecutionError, match=r"no branch mitx/lilac.*mitx\.create_release"):
        load(branch="mitx/lilac")["mitx_release.release.plan"]()


def test_a_branch_without_a_common_history_is_refused(world, load):
    world.set(world.origin, BRANCH, world.commit(world.origin, [], {"x": "x\n"}, "another project"))
    with pytest.raises(CommandExecutionError, match="no history in common"):
        load()["mitx_release.release.plan"]()


def test_going_back_to_an_older_release_is_nothing_to_do(world, load):
    load()["mitx_release.release.sync"]()
    tip = world.tip()
    answer = load(onto="open-release/koa.rc2")["mitx_release.release.sync"]()
    assert (answer["changed"], world.tip()) == (False, tip)
    assert "ahead of" in answer["notes"][0]


def test_a_branch_without_patches_goes_forward(world, load):
    world.set(world.origin, BRANCH, world.rc2)
    answer = load()["mitx_release.release.sync"]()
    assert (answer["changed"], world.tip()) == (True, world.rc3)


def test_a_latin_1_message_and_author_survive(world, load):
    message = "fix: déjà vu, naïve café\n".encode("latin-1")
    tip = world.commit(
        world.origin,
        world.tip(),
        {"x.txt": "x\n"},
        message,
        "Zoé <zoe@mit.edu>",
        encoding="ISO-8859-1",
    )
    # And one that is wrong about its encoding, as old tools wrote them.
    good = world.commit(world.origin, tip, {"y.txt": "y\n"}, "fix: bXta\n")
    raw = subprocess.run(
        ["git", "--git-dir", str(world.origin), "cat-file", "commit", good],
        capture_output=True,
        check=True,
    ).stdout
    bad = world.git(
        world.origin,
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--stdin",
        stdin=raw.replace(b"bXta", b"b\xe9ta"),
    )
    world.set(world.origin, BRANCH, bad)

    answer = load()["mitx_release.release.sync"]()

    assert [one["subject"] for one in answer["patches"][3:]] == [
        "fix: déjà vu, naïve café",
        "fix: béta",
    ]
    assert world.log(f"{BRANCH}~2..{BRANCH}") == ["fix: déjà vu, naïve café", "fix: béta"]
    assert world.log(f"{BRANCH}~2..{BRANCH}~1", "%an") == ["Zoé"]


def test_a_tree_that_a_merge_would_not_give_stops_until_a_human_accepts_it(world, load):
    """
    Ours adds a line and takes it back; upstream adds the same. Rebased, ours takes upstream's away.
    """
    up = world.upstream
    added = world.commit(
        world.origin, world.tip(), {"cms/c.py": lines("c", l8="c 8\nadded")}, "feat: add"
    )
    world.set(
        world.origin,
        BRANCH,
        world.commit(world.origin, added, {"cms/c.py": lines("c")}, "Revert: add"),
    )
    theirs = world.commit(
        up, world.rc3, {"cms/c.py": lines("c", l8="c 8\nadded")}, "feat: add, by edX", EDX
    )
    world.set(up, "open-release/koa.rc3", theirs)
    before, modules = world.refs(world.origin), load()

    with pytest.raises(
        CommandExecutionError, match=r"another tree than a merge would have, in: cms/c\.py"
    ) as refusal:
        modules["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
    plan = modules["mitx_release.release.plan"]()
    assert plan["check"]["unexplained"] == ["cms/c.py"]
    assert f"accept={plan['new']}" in str(refusal.value)
    assert modules["mitx_release.release.sync"](accept=plan["new"])["new"] == world.tip()


def test_what_upstream_took_and_took_back_is_not_lost_in_silence(world, load):
    """
    Its patch id says that upstream has it, and upstream has it no more: left out, the branch would
    lose the change.
    """
    up = world.upstream
    taken = world.commit(
        up, world.rc3, {"lms/a.py": lines("a", l5="mit one", l25="rc3")}, "feat: one, by edX", EDX
    )
    world.set(
        up,
        "open-release/koa.rc3",
        world.commit(up, taken, {"lms/a.py": lines("a", l25="rc3")}, "Revert: one", EDX),
    )
    before = world.refs(world.origin)
    with pytest.raises(CommandExecutionError, match=r"upstream had much the same change") as asked:
        load()["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
    for answer in ("carry", "drop", "accept"):
        assert f"{answer}={world.patches[0]}" in str(asked.value)

    one = world.commit(
        world.origin, world.rc2, {"lms/a.py": lines("a", l5="mit one")}, "UPSTREAM: <carry>: one"
    )
    world.set(world.origin, BRANCH, one)
    answer = load()["mitx_release.release.sync"]()
    assert answer["patches"][0]["fate"] == "carry"
    assert "had, the same change" in answer["patches"][0]["note"]
    assert world.show("lms/a.py") == lines("a", l5="mit one", l25="rc3")


def test_signatures_are_told_lost_or_made_anew_and_stay_the_same(world, load, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sign = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"]
    old = world.tip()
    tree = world.git(world.origin, "rev-parse", f"{old}^{{tree}}")
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "x"), ("EMAIL", "x@y"))
    }
    signed = world.git(
        world.origin, *sign, "commit-tree", "-S", "-p", old, "-m", "feat: signed", tree, **who
    )
    world.set(world.origin, BRANCH, signed)

    plan = load()["mitx_release.release.plan"]()
    assert "1 patches were signed; a rebase takes the signature away" in plan["notes"][0]
    assert "signature is lost" in plan["patches"][-1]["note"]

    modules = load(signing_key=str(key))
    first = modules["mitx_release.release.sync"]()
    assert all(
        "gpgsig" in world.git(world.origin, "cat-file", "commit", one["new"])
        for one in first["patches"]
    )
    world.set(world.origin, BRANCH, signed)
    assert modules["mitx_release.release.sync"]()["new"] == first["new"]


def test_a_key_that_cannot_sign_is_an_error_and_nothing_is_pushed(world, load, tmp_path):
    before = world.refs(world.origin)
    with pytest.raises(CommandExecutionError, match="nothing was pushed"):
        load(signing_key=str(tmp_path / "no-such-key"))["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
