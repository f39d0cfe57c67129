"""
How long the release branch takes to rebase: ``mitx_release.release.sync`` beside what git offers.

========  ==========================================================================
runbook   the runbook's commands in a full checkout: fetch, log, rebase, push
native    the runbook's ``git rebase`` in a worktree like ours, which checks out no file
replay    ``git replay --onto`` (git 2.44 or later), which needs no worktree
ours      ``mitx_release.release.sync``: the same, and survey, proof, backup, report
========  ==========================================================================

All in one run, on copies of the same repositories, taken in turn. The repository is of Open edX's
shape and is built here (7,050 files, about 110 MB of tree, 5,100 commits). Three stacks of patches
are rebased onto ``open-release/koa.rc3``: 110 patches from a candidate 90 commits behind, 200
patches from the last codename, 3,099 commits behind, and 200 commits of which 40 are merges.

.. code-block:: bash

    python benchmarks/git_rebase.py [--json FILE] [--repeat N] [--keep FOLDER] [--check]
    python benchmarks/git_rebase.py --repo CLONE --branch origin/mitx/koa \\
        --onto upstream/open-release/koa.rc3

``--repo`` takes a clone with the remote-tracking branches of both remotes instead, and shares its
objects. ``--check`` exits 1 where a limit is missed.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from edx_history import build, git

ROOT = pathlib.Path(__file__).resolve().parents[1]
ONTO = "open-release/koa.rc3"
CASES = {"110 patches": "rc110", "200 patches": "big200", "40 merges": "merges200"}
OURS = "refs/mitx/origin/heads/mitx/koa"
# Fetched before, by both: what is new to them is the candidate.
KNOWN = ("open-release/juniper.master", "open-release/koa.rc2")
# What must at least hold, as ratio: the runbook's rebase by ours, its whole operation by ours.
LIMITS = {"110 patches": (7.0, 2.5), "200 patches": (8.0, 3.0)}
# What may at most be, as ratio: our rebase by the native one. Both are git's own: ours is faster
# where the native one looks through thousands of commits for patches that upstream has, which ours
# has done in its survey; else it is level with it.
MOST_OF_NATIVE = {"110 patches": 1.5, "200 patches": 1.0, "40 merges": 1.5}
# Our report by our rebase.
MOST_OF_REBASE = 0.25
MOST_MB = {"written": 4, "temporary": 10, "memory": 100}
# What each way works in.
WAYS = {"runbook": "clone", "native": "mirror.git", "replay": "mirror.git", "ours": "mirror.git"}


class Case:
    """
    Upstream, origin, an engineer's clone and a mirror, all warm, for one stack; fresh copies of
    them for each time. With ``shared`` the clone and the mirror take their objects from
    ``source``: a repository of real size is not copied.
    """

    def __init__(self, folder, source, upstream, branch, old_refs, shared=False):
        self.folder, self.source, self.number, self.shared = folder, source, 0, shared
        self.template = folder / "template"
        self._bare("upstream.git", {f"refs/heads/{name}": sha for name, sha in upstream.items()})
        self._bare("origin.git", {"refs/heads/mitx/koa": branch})
        # What both knew before: all of upstream but what is new.
        known = {f"refs/heads/{name}": sha for name, sha in upstream.items() if name in old_refs}
        self._bare("known.git", {**known, "refs/heads/mitx/koa": branch})
        self._clone()

    def _bare(self, name, refs):
        path = self.template / name
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", "--template=")
        self._share(path / "objects")
        for ref, sha in refs.items():
            git(path, "update-ref", ref, sha)

    def _share(self, objects):
        """Let a repository take its objects from the source."""
        path = git(self.source, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        (objects / "info/alternates").write_text(f"{path}\n")

    def _clone(self):
        """The engineer's full checkout, and the mirror: each with a pack of its own."""
        clone, mirror = self.template / "clone", self.template / "mirror.git"
        git(
            self.folder,
            "clone",
            "--quiet",
            "--shared" if self.shared else "--no-local",
            "--branch",
            "mitx/koa",
            str(self.template / "known.git"),
            str(clone),
        )
        mirror.mkdir()
        git(mirror, "init", "--quiet", "--bare", "--template=")
        if self.shared:
            self._share(clone / ".git/objects")
            self._share(mirror / "objects")
        else:
            objects = "objects/pack"
            shutil.copytree(clone / ".git" / objects, mirror / objects, dirs_exist_ok=True)
        for line in git(
            self.template / "known.git", "for-each-ref", "--format=%(refname) %(objectname)"
        ).splitlines():
            ref, sha = line.split()
            remote = "origin" if "/mitx/" in ref else "upstream"
            git(mirror, "update-ref", f"refs/mitx/{remote}/{ref[5:]}", sha)
            if "/mitx/" not in ref:
                git(clone, "update-ref", f"refs/remotes/upstream/{ref[11:]}", sha)
        shutil.rmtree(self.template / "known.git")

    def fresh(self, what):
        """
        A fresh copy for one measurement of ``what`` (``clone`` or ``mirror.git``); packs are
        linked, the tree is copied.
        """
        self.number += 1
        path = self.folder / f"run{self.number}"
        path.mkdir()
        for name in ("upstream.git", "origin.git", what):
            shutil.copytree(self.template / name, path / name, copy_function=_link_packs)
        if what == "clone":
            clone = path / "clone"
            for remote in ("origin", "upstream"):
                git(clone, "config", f"remote.{remote}.url", str(path / f"{remote}.git"))
                git(
                    clone,
                    "config",
                    f"remote.{remote}.fetch",
                    f"+refs/heads/*:refs/remotes/{remote}/*",
                )
            git(clone, "update-index", "-q", "--refresh")
        os.sync()
        return path


def _link_packs(source, target):
    if "/objects/pack/" in source:
        return os.link(source, target)
    return shutil.copy2(source, target)


def runbook(path):
    """
    What an engineer types, ``pull --rebase`` as the fetch and the rebase that it is. Returns
    seconds of each step.
    """
    clone, seconds = path / "clone", {}
    steps = {
        "fetch": [("fetch", "--quiet", "upstream")],
        "list": [
            ("checkout", "--quiet", "mitx/koa"),
            ("log", "--oneline", "origin/mitx/koa", "--not", f"upstream/{ONTO}"),
        ],
        "rebase": [("rebase", "--quiet", "FETCH_HEAD")],
        "push": [("push", "--quiet", "-f", "origin", "HEAD:refs/heads/mitx/koa")],
    }
    for step, commands in steps.items():
        started = time.perf_counter()
        if step == "rebase":
            fetching = time.perf_counter()
            git(clone, "fetch", "--quiet", "upstream", ONTO)
            seconds["fetch"] += time.perf_counter() - fetching
            started = time.perf_counter()
        for command in commands:
            git(clone, *command)
        seconds[step] = time.perf_counter() - started
    return seconds


def native(path):
    """
    git's own rebase of the same patches, in a worktree that is made as ours is: in memory, with a
    sparse index, no file checked out. Returns seconds of its one step.
    """
    mirror, onto, _ = _fetched(path)
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        started = time.perf_counter()
        git(mirror, "init", "--quiet", "--template=", folder)
        (pathlib.Path(folder) / ".git/objects/info/alternates").write_text(f"{mirror}/objects\n")
        git(folder, "update-ref", "--no-deref", "HEAD", git(mirror, "rev-parse", OURS))
        git(folder, "sparse-checkout", "set", "--cone", "--sparse-index")
        git(folder, "read-tree", "-m", "-u", "HEAD")
        git(folder, "rebase", "--quiet", "--no-fork-point", onto)
        seconds = {"rebase": time.perf_counter() - started}
        _refuse_empty(folder, f"{onto}..HEAD")
    return seconds


def replay(path):
    """
    git's own rebase without any worktree. Returns seconds of its one step, or ``None`` where git
    is too old for it, or refuses the stack (it takes no merges).
    """
    mirror, onto, base = _fetched(path)
    git(mirror, "update-ref", "refs/heads/ours", OURS)
    started = time.perf_counter()
    command = ["git", "-C", str(mirror), "replay", "--onto", onto, f"{base}..refs/heads/ours"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    # Up to 2.52 it prints what update-ref reads, later it moves the branch by itself.
    if done.stdout:
        git(mirror, "update-ref", "--stdin", input=done.stdout.encode())
    seconds = {"rebase": time.perf_counter() - started}
    _refuse_empty(mirror, f"{onto}..refs/heads/ours")
    return seconds


def _fetched(path):
    """The mirror with the new release in it, the sha of that, and where our patches begin."""
    mirror = path / "mirror.git"
    git(mirror, "fetch", "--quiet", str(path / "upstream.git"), ONTO)
    onto = git(mirror, "rev-parse", "FETCH_HEAD")
    return mirror, onto, git(mirror, "merge-base", onto, OURS)


def _refuse_empty(folder, commits):
    if git(folder, "rev-list", "--count", commits) == "0":
        raise SystemExit(f"Nothing was rebased in {folder}")


def ours(path):
    """``mitx_release.release.sync`` through Salt's loader. Returns seconds of each step."""
    modules = load(path)
    modules["mitx_release.git.version"]()
    started = time.perf_counter()
    answer = modules["mitx_release.release.sync"]()
    whole = time.perf_counter() - started
    if not answer["changed"] or not answer["check"]["equal"]:
        raise SystemExit(f"The rebase is not what it should be: {answer['check']}")
    steps = {
        key: answer["seconds"][key]
        for key in ("fetch", "survey", "rebase", "check", "report", "push")
    }
    return {**steps, "other": whole - sum(steps.values())}


def load(path):
    """Salt's loader with this package in it, and a run in ``path``."""
    import salt.config
    import salt.loader
    import salt.utils.yaml

    pillar = {}
    for name in ("environments.sls", "mitx.sls"):
        pillar |= salt.utils.yaml.safe_load((ROOT / "pillar_examples" / name).read_text())
    pillar["mitx"] |= {"run_dir": str(path / "runs"), "run": "bench", "environment": "mitx-qa"}
    pillar["mitx"]["environments"]["mitx-qa"]["release"] = {
        "upstream": str(path / "upstream.git"),
        "origin": str(path / "origin.git"),
        "mirror": str(path / "mirror.git"),
        "onto": ONTO,
        "branch": "mitx/koa",
        "protocols": ["file"],
    }
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts |= {
        "id": "bench_master",
        "root_dir": str(path),
        "cachedir": str(path / "cache"),
        "extension_modules": str(path / "extmods"),
        "conf_file": str(path / "master"),
        "file_client": "local",
        "module_dirs": [str(ROOT / "_modules")],
        "pillar": pillar,
        "grains": {
            "kernel": "Linux",
            "os": "Debian",
            "os_family": "Debian",
            "osrelease_info": [12],
        },
    }
    sys.path.insert(0, str(ROOT))
    from tests.support.rooms import Modules

    modules = Modules(salt.loader.minion_mods(opts))
    modules["mitx_run.record.begin"]("bench")
    return modules


def measure(what, path):
    """
    In a process of its own: seconds, MB written to disk, MB of temporary files at their most, MB of
    the largest git.
    """
    before, peak, done = _written(), [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done))
    watcher.start()
    seconds = {"runbook": runbook, "native": native, "replay": replay, "ours": ours}[what](path)
    done.set()
    watcher.join()
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "written": (_written() - before) / 1e6,
        "temporary": peak[0] / 1e6,
        "memory": memory + peak[0] / 1e6,
    }


def _written():
    """Bytes that this process and its children have written to disk."""
    found = dict(
        line.split(": ") for line in pathlib.Path("/proc/self/io").read_text().splitlines()
    )
    return int(found["write_bytes"])


def _watch(peak, done):
    while not done.wait(0.02):
        size = 0
        for folder in pathlib.Path("/dev/shm").glob("mitx-release-*"):
            # Files and folders come and go meanwhile; os.walk passes over those.
            for top, _, names in os.walk(folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        size += os.lstat(os.path.join(top, name)).st_blocks * 512
        peak[0] = max(peak[0], size)


def compare(name, case, repeat):
    """Measure every way in turn, ``repeat`` times, and print each round as it ends."""
    found = collections.defaultdict(list)
    for number in range(repeat):
        cells = []
        for way, needs in WAYS.items():
            path = case.fresh(needs)
            command = [sys.executable, __file__, "--measure", way, str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise SystemExit(f"{way} failed in {path}")
            run = json.loads(done.stdout.splitlines()[-1])
            shutil.rmtree(path)
            if run["seconds"] is not None:
                found[way].append(run)
                cells.append(_cell(way, run["seconds"]))
        print(f"{name}, round {number + 1} of {repeat}: rebase {', '.join(cells)}", flush=True)
    return found


def _cell(way, seconds):
    whole = f" of {sum(seconds.values()):.2f}" if len(seconds) > 1 else ""
    return f"{way} {seconds['rebase']:.2f}{whole} s"


def summarise(found):
    """
    Medians of the steps of each way, and what is judged: ratios of medians, and the most of what
    ours took. One fast round proves nothing.
    """
    steps = {}
    for way, runs in found.items():
        timed = runs[0]["seconds"]
        steps[way] = {
            step: statistics.median(run["seconds"][step] for run in runs) for step in timed
        }
        whole = statistics.median(sum(run["seconds"].values()) for run in runs)
        steps[way] |= {"whole": whole} if len(timed) > 1 else {}
    ours_ = steps["ours"]
    ratios = {
        "rebase": steps["runbook"]["rebase"] / ours_["rebase"],
        "whole": steps["runbook"]["whole"] / ours_["whole"],
        "of native": ours_["rebase"] / steps["native"]["rebase"],
        "report": ours_["report"] / ours_["rebase"],
    }
    if "replay" in steps:
        ratios["of replay"] = ours_["rebase"] / steps["replay"]["rebase"]
    most = {
        way: {key: max(run[key] for run in runs) for key in MOST_MB} for way, runs in found.items()
    }
    return {"ratios": ratios, "seconds": steps, "MB": most}


def show(rows):
    """Print for each stack the ratios, then the medians of the steps of each way."""
    for name, row in rows.items():
        ratios, size = row["ratios"], row["MB"]["ours"]
        replayed = f", {ratios['of replay']:.2f} of git replay" if "of replay" in ratios else ""
        print(
            f"\n{name}: rebase {ratios['rebase']:.1f}x faster than the runbook, whole operation"
            f" {ratios['whole']:.1f}x"
        )
        print(f"  our rebase takes {ratios['of native']:.2f} of the native one{replayed}")
        print(f"  our report takes {ratios['report']:.2f} of our rebase")
        print(
            f"  ours wrote {size['written']:.1f} MB (the runbook"
            f" {row['MB']['runbook']['written']:.0f} MB), temporary files {size['temporary']:.1f}"
            f" MB, memory {size['memory']:.0f} MB"
        )
        for way, steps in row["seconds"].items():
            cells = ", ".join(f"{step} {seconds:.3f}" for step, seconds in steps.items())
            print(f"    {way:8} median s: {cells}")


def missed(rows):
    """Return which limits are missed, in words."""
    found = []
    for name, row in rows.items():
        ratios = row["ratios"]
        for key, limit in zip(("rebase", "whole"), LIMITS.get(name, (0, 0)), strict=True):
            if ratios[key] < limit:
                found.append(f"{name}: {key} {ratios[key]:.2f}x, wanted {limit}x")
        of_native = MOST_OF_NATIVE.get(name, 1.5)
        for key, limit in (("of native", of_native), ("report", MOST_OF_REBASE)):
            if ratios[key] > limit:
                found.append(f"{name}: {key} {ratios[key]:.2f}, at most {limit}")
        for key, limit in MOST_MB.items():
            if row["MB"]["ours"][key] > limit:
                found.append(f"{name}: {key} {row['MB']['ours'][key]:.1f} MB, at most {limit}")
    return found


def cases(options, folder):
    """``(name, Case)`` of each stack that is rebased."""
    if options.repo:
        repo = pathlib.Path(options.repo).resolve()
        listed = git(
            repo,
            "for-each-ref",
            "--format=%(refname:lstrip=3) %(objectname)",
            "refs/remotes/upstream/open-release",
        )
        upstream = dict(line.split() for line in listed.splitlines())
        upstream[ONTO] = git(repo, "rev-parse", f"{options.onto}^{{commit}}")
        branch = git(repo, "rev-parse", f"{options.branch}^{{commit}}")
        known = set(upstream) - {ONTO}
        yield options.branch, Case(folder, repo, upstream, branch, known, shared=True)
        return
    source = build(pathlib.Path(options.keep).resolve() if options.keep else folder / "source.git")
    for name, branch in CASES.items():
        upstream = {ref: git(source, "rev-parse", f"refs/heads/{ref}") for ref in (*KNOWN, ONTO)}
        here = folder / branch
        here.mkdir()
        yield (
            name,
            Case(here, source, upstream, git(source, "rev-parse", f"refs/heads/{branch}"), KNOWN),
        )


def main():
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--json", help="write the numbers to this file, too")
    parser.add_argument(
        "--repeat", type=int, default=5, help="times that each is measured; the median counts"
    )
    parser.add_argument("--keep", help="build the repository here, and use it again the next time")
    parser.add_argument("--check", action="store_true", help="exit 1 where a limit is missed")
    parser.add_argument(
        "--repo", help="a clone to measure on, with remotes origin and upstream fetched"
    )
    parser.add_argument("--branch", default="origin/mitx/koa", help="the release branch in --repo")
    parser.add_argument(
        "--onto", default="upstream/open-release/koa.master", help="what to rebase onto in --repo"
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return print(json.dumps(measure(options.measure[0], pathlib.Path(options.measure[1]))))
    with tempfile.TemporaryDirectory(prefix="mitx-bench-") as folder:
        rows = {
            name: summarise(compare(name, case, options.repeat))
            for name, case in cases(options, pathlib.Path(folder))
        }
    show(rows)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")
    problems = missed(rows)
    print("\n".join(["", *problems]) if problems else "\nEvery limit holds.")
    return 1 if problems and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
