"""
Every shape of a change × what upstream has done with it, in one history of a branch: each line of
ours is in what is pushed, or named; what nobody was asked about is exactly there. hypothesis builds
more histories with ``-m long``.
"""

import pathlib
import subprocess

import hypothesis
import pytest
from hypothesis import strategies
from salt.exceptions import CommandExecutionError

from tests.support import release_world, shapes
from tests.support.release_world import BRANCH, EDX

TABLE = shapes.table()
FATES = ("nothing", "the same", "the same and more", "the same and back", "the same, then another")
# Stops, questions and refusals of one history.
MOST = 120


class History:
    """``chosen``: ``[(name of a shape, fate, whether the same file is in conflict too)]``."""

    def __init__(self, world, chosen):
        self.world, self.folders, self.patches, self.expected = world, {}, [], {}
        begin = {}
        for number, (name, _, _) in enumerate(chosen):
            self.folders[name] = f"lms/s{number}"
            begin |= self._in(name, TABLE[name].before)
        base = world.commit(world.upstream, world.rc2, begin, "shapes", EDX)
        tip = up = base
        for name, fate, conflict in chosen:
            tip = self._ours(tip, name, conflict and TABLE[name].text)
            up = self._theirs(up, name, fate, conflict and TABLE[name].text)
        up = world.commit(world.upstream, up, {"README.rst": "a release\n"}, "a release", EDX)
        world.set(world.upstream, "open-release/koa.rc3", up)
        world.set(world.origin, BRANCH, tip)
        self.tip, self.onto = tip, up

    def _in(self, name, files):
        return {f"{self.folders[name]}/{path}": file for path, file in files.items()}

    def _ours(self, tip, name, conflict):
        for number, files in enumerate(TABLE[name].patches):
            made = dict(files)
            if conflict:
                made[conflict] = with_row(made[conflict], b"line 15", b"mit 15")
            subject = f"feat: {name}, {number}"
            tip = self.world.commit(self.world.origin, tip, self._in(name, made), subject)
            self.patches.append((tip, name))
        return tip

    def _theirs(self, up, name, fate, conflict):
        shape = TABLE[name]
        end = shape.before | {path: file for files in shape.patches for path, file in files.items()}
        self.expected[name] = {path: file for path, file in end.items() if file is not None}
        steps = []
        if fate != "nothing":
            steps += [shape.split] if shape.split else []
            steps.append(
                {path: file for path, file in end.items() if file != shape.before.get(path)}
            )
        if fate == "the same and more":
            steps.append({"more.py": shapes.plain("edX more\n")})
            self.expected[name]["more.py"] = shapes.plain("edX more\n")
        if fate == "the same and back":
            steps.append({path: shape.before.get(path) for path in end})
        if fate == "the same, then another":
            ours = steps[-1]
            steps.append({path: another(file) for path, file in ours.items() if file})
            if any(ours[path] != file for path, file in steps[-1].items()):
                # Ours is there no more: somebody must be asked.
                self.expected[name] = None
        for files in steps:
            made = dict(files)
            if conflict and made.get(conflict):
                made[conflict] = with_row(made[conflict], b"line 15", b"edX 15")
            if made:
                up = self.world.commit(self.world.upstream, up, self._in(name, made), "edX", EDX)
        if conflict and not steps:
            file = with_row(shape.before[conflict], b"line 15", b"edX 15")
            made = self._in(name, {conflict: file})
            up = self.world.commit(self.world.upstream, up, made, "edX", EDX)
        return up

    def contents(self, name, commit):
        """``{path: (mode, bytes) or (commit,)}`` of a shape's folder."""
        folder, found = self.folders[name], {}
        tree = self.world.git(self.world.origin, "ls-tree", "-r", "-z", commit, f"{folder}/")
        for entry in filter(None, tree.split("\0")):
            (mode, kind, sha), path = entry.split("\t")[0].split(), entry.split("\t")[1]
            file = (sha,) if kind == "commit" else (mode, self._blob(sha))
            found[path.removeprefix(f"{folder}/")] = file
        return found

    def _blob(self, sha):
        command = ["git", "--git-dir", str(self.world.origin), "cat-file", "blob", sha]
        return subprocess.run(command, capture_output=True, check=True).stdout


def with_row(file, old, new):
    """The file with one row changed."""
    return (file[0], file[1].replace(old + b"\n", new + b"\n"))


def another(file):
    """What somebody else made of our version of a file, where ours lies."""
    if len(file) == 1:
        return (shapes.SUBMODULES[0][::-1].replace("1", "3"),)
    return (file[0], file[1].replace(b"mit", b"edX"))


def rows(file):
    """What a file holds, as what can be lost: its rows, or all of it."""
    if file is None:
        return set()
    if len(file) == 1 or b"\0" in file[1] or file[0] == "120000":
        return {file}
    found = set(file[1].splitlines()) - {b""}
    found |= {("no newline",)} if file[1] and not file[1].endswith(b"\n") else set()
    return found | ({("mode", file[0])} - {("mode", "100644")})


class Operator:
    """
    One who answers every question with ``carry``, keeps both sides of a conflict, and accepts what
    is refused after it was named.
    """

    def __init__(self, modules, history):
        self.modules, self.history = modules, history
        self.release = release_world.settings(history.world)
        self.told, self.asked = "", set()
        self.carry, self.accept, self.drop = [], [], []

    def sync(self):
        """Returns the answer of the sync that succeeded."""
        waiting = False
        for _ in range(MOST):
            try:
                if waiting:
                    return self.modules["mitx_release.release.resume"](accept=self.accept)
                return self.modules["mitx_release.release.sync"](
                    drop=self.drop, carry=self.carry, accept=self.accept
                )
            except CommandExecutionError as err:
                self.told += f"{err}\n"
                waiting = self._decide(err)
        raise AssertionError(f"no end of it: {self.told[-3000:]}")

    def _decide(self, err):
        conflict = getattr(err, "conflict", None)
        if conflict:
            self._solve(pathlib.Path(conflict["folder"]))
            self.asked |= {name for sha, name in self.history.patches if sha == conflict["sha"]}
            return True
        text = str(err)
        asked = [(sha, name) for sha, name in self.history.patches if f"carry={sha}" in text]
        if asked:
            self.carry += [sha for sha, _ in asked]
            self.asked |= {name for _, name in asked}
            return False
        if "so all of it would be lost" in text:
            self.drop.append(text.rpartition("drop=")[2].strip())
            self.modules["mitx_release.release.abort"]()
            return False
        sha = text.rpartition("accept=")[2].strip(". \n")
        assert len(sha) == 40, text
        assert sha not in self.accept, text
        self.accept.append(sha)
        self.asked |= {
            name for name, folder in self.history.folders.items() if f"{folder}/" in text
        }
        return self.modules["mitx_release.conflict.pending"](self.release) is not None

    def _solve(self, folder):
        def git(*command, stdin=None, check=True):
            return subprocess.run(
                ["git", "-C", str(folder), *command], input=stdin, capture_output=True, check=check
            ).stdout

        stages = {}
        for entry in filter(None, git("ls-files", "-u", "-z").split(b"\0")):
            (mode, sha, stage), path = entry.split(b"\t")[0].split(), entry.split(b"\t")[1]
            stages.setdefault(path, {})[stage.decode()] = (mode.decode(), sha.decode())
        for path, known in stages.items():
            mode, sha = self._solution(git, folder, known)
            row = f"{mode} {sha}\t".encode() + path + b"\0"
            # All stages go before the one.
            gone = f"0 {'0' * 40}\t".encode() + path + b"\0"
            git("update-index", "-z", "--index-info", stdin=gone + (row if mode != "0" else b""))
            if mode.startswith("1") and mode != "160000":
                git("checkout-index", "-f", "--", path.decode())

    def _solution(self, git, folder, known):
        theirs = known.get("3")
        regular = [known[stage] for stage in "23" if stage in known]
        if len(regular) < 2 or any(not mode.startswith("10") for mode, _ in regular):
            return theirs or ("0", "0" * 40)
        texts = [git("cat-file", "blob", known[s][1]) if s in known else b"" for s in "213"]
        if any(b"\0" in text for text in texts):
            return theirs
        for name, text in zip(("ours", "base", "theirs"), texts, strict=True):
            (folder.parent / name).write_bytes(text)
        names = [str(folder.parent / name) for name in ("ours", "base", "theirs")]
        union = git("merge-file", "-p", "--union", *names)
        return theirs[0], git("hash-object", "-w", "--stdin", stdin=union).decode().strip()


def lost(history, told, result, dropped):
    """
    ``[(patch, row)]``: what our end has, of what our patches brought, and the result has not, or
    what they took away and the result has, without a word.
    """
    found = []
    for sha, name in history.patches:
        if sha in dropped:
            continue
        old, new, end, there = (
            set().union(*map(rows, history.contents(name, commit).values()))
            for commit in (f"{sha}^", sha, history.tip, result)
        )
        # Over all files of the shape: what is moved is neither brought nor taken away.
        for row in ((new - old) & end - there) | ((old - new) - end & there):
            if not named(row, told.get(sha[:12], ())):
                found.append((name, sha[:12], row))
    return found


def left_out(report):
    """``{first 12 digits of a patch: [what the report says is left out of it]}``"""
    found, here = {}, None
    for line in report.splitlines():
        if " -> " in line[:40]:
            here = found.setdefault(line.split()[1], [])
        elif line.startswith("          left out: "):
            here.append(line)
    return found


def named(row, lines):
    """Whether the report names it; what is no row of text, with its patch."""
    if isinstance(row, bytes):
        return any(row.decode(errors="replace")[:200] in line for line in lines)
    return bool(lines)


def upgrade(tmp_path, mitx, chosen):
    world = release_world.build(tmp_path / "forge")
    history = History(world, chosen)
    modules = mitx(release=release_world.settings(world)).modules
    operator = Operator(modules, history)
    plan = modules["mitx_release.release.plan"]()
    answer = operator.sync()
    if plan["new"]:
        assert (plan["new"], operator.asked) == (answer["new"], set())
    assert answer["new"] == world.tip()
    report = pathlib.Path(answer["report"]).read_text(errors="replace")
    assert all(f"dropped   {sha[:12]}" in report for sha in operator.drop)
    assert lost(history, left_out(report), answer["new"], operator.drop) == []
    for name, fate, conflict in chosen:
        if name not in operator.asked and not conflict:
            assert history.contents(name, answer["new"]) == history.expected[name], (name, fate)
    again = modules["mitx_release.release.sync"]()
    assert again["changed"] is False
    return answer


ONE = strategies.tuples(
    strategies.sampled_from(sorted(TABLE)), strategies.sampled_from(FATES), strategies.booleans()
)


@pytest.mark.long
@hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    # The loader is the same for all; each example has a world of its own.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    chosen=strategies.lists(ONE, min_size=1, max_size=8, unique_by=lambda one: one[0])
)
def test_no_line_is_lost_in_any_history(tmp_path_factory, mitx, chosen):
    upgrade(tmp_path_factory.mktemp("history"), mitx, chosen)


@pytest.mark.parametrize("turn", range(len(FATES)))
def test_no_line_of_any_shape_is_lost_in_silence(tmp_path, mitx, turn):
    chosen = [
        (name, FATES[(number + turn) % len(FATES)], number % 2 == 0)
        for number, name in enumerate(TABLE)
    ]
    upgrade(tmp_path, mitx, chosen)
