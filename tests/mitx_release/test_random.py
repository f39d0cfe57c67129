"""
Histories made by chance: whatever upstream has done with our changes, every line of ours is in what
is pushed, or named; or nothing is pushed. The seed is the test's id.
"""

import pathlib
import random

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import release_world
from tests.support.release_world import BRANCH, EDX, lines

FILES = ("lms/a.py", "lms/d/e.py", "cms/c.py")
BEGIN = {"lms/a.py": lines("a"), "lms/d/e.py": lines("e"), "cms/c.py": lines("c")}


def changed(text, kind, number, words):
    """``text`` with one change: a line added, replaced or removed at ``number``."""
    rows = text.splitlines(keepends=True)
    place = number % len(rows)
    if kind == "add":
        rows.insert(place, f"    {words}\n")
    elif kind == "replace":
        rows[place] = f"{words}\n"
    else:
        del rows[place]
    return "".join(rows)


class History:
    """
    Ours and upstream's, from one seed: upstream does nothing of a change of ours, the same, the
    same and back, or nearly the same.
    """

    def __init__(self, world, seed):
        chance = random.Random(seed)
        self.world, ours, theirs = world, dict(BEGIN), dict(BEGIN)
        tip, up, self.patches = world.rc2, world.rc2, []
        for number in range(4):
            path, kind = chance.choice(FILES), chance.choice(["add", "add", "replace", "remove"])
            place, words = chance.randrange(3, 27), f"mit_{number}()"
            before = ours[path]
            ours[path] = changed(before, kind, place, words)
            tip = world.commit(world.origin, tip, {path: ours[path]}, f"feat: {number}")
            self.patches.append(
                (tip, path, set(ours[path].splitlines()) - set(before.splitlines()))
            )
            fate = chance.choice(
                ["nothing", "same", "same and back", "nearly the same", "something else"]
            )
            earlier = theirs[path]
            made = {
                "nothing": earlier,
                "same": changed(earlier, kind, place, words),
                "same and back": changed(earlier, kind, place, words),
                "nearly the same": changed(earlier, kind, place, f"    {words}"),
                "something else": changed(earlier, "replace", place + 5, f"edx_{number}()"),
            }[fate]
            if made != earlier:
                up = world.commit(world.upstream, up, {path: made}, f"edX {number}", EDX)
                theirs[path] = made
            if fate == "same and back":
                up = world.commit(world.upstream, up, {path: earlier}, f"Revert: edX {number}", EDX)
                theirs[path] = earlier
        up = world.commit(world.upstream, up, {"README.rst": f"{seed}\n"}, "a release", EDX)
        world.set(world.upstream, "open-release/koa.rc3", up)
        world.set(world.origin, BRANCH, tip)
        self.end = {row for text in ours.values() for row in text.splitlines()}


@pytest.mark.parametrize("seed", range(16))
def test_no_line_of_ours_is_lost_in_silence(tmp_path, mitx, seed):
    world = release_world.build(tmp_path / "forge")
    history = History(world, seed)
    modules = mitx(release=release_world.settings(world)).modules
    before = world.refs(world.origin)
    plan = modules["mitx_release.release.plan"]()
    refused = None
    try:
        answer = modules["mitx_release.release.sync"]()
    except CommandExecutionError as err:
        refused = str(err)
    if refused:
        # A question, a conflict, or another tree than a merge would have: what is concerned is
        # named, nothing has moved.
        assert world.refs(world.origin) == before
        assert any(sha[:12] in refused for sha, _, _ in history.patches) or any(
            path in refused for path in FILES
        )
        return
    assert plan["new"] == answer["new"] == world.tip()
    there = {row for path in FILES for row in world.show(path).splitlines()}
    report = pathlib.Path(answer["report"]).read_text()
    for sha, _, added in history.patches:
        for row in added:
            # What a later patch of ours has taken away again is not in our own end either.
            assert (
                row in there or row not in history.end or f"+{row}" in report.partition("\n\n")[0]
            ), (sha, row)
    assert modules["mitx_release.release.sync"]()["changed"] is False
