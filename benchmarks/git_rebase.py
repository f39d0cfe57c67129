"""
How long the release branch takes to rebase: ``mitx_release.release.sync``, and the runbook's
commands in a full checkout.

Both in one run, on copies of the same repositories, taken in turn. The repository is of Open edX's
shape and is built here (7,050 files, about 110 MB of tree, 5,100 commits); two stacks of patches
are rebased onto ``open-release/koa.rc3``: 110 patches from a candidate 90 commits behind, 200
patches from the last codename, 3,099 commits behind.

    python benchmarks/git_rebase.py [--json FILE] [--repeat N] [--keep FOLDER] [--check] python
    benchmarks/git_rebase.py --repo CLONE --branch origin/mitx/koa --onto
    upstream/open-release/koa.rc3

``--repo`` takes a clone with the remote-tracking branches of both remotes instead. ``--check``
exits 1 where a limit is missed.
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
CASES = {"110 patches": "rc110", "200 patches": "big200"}
# Fetched before, by both: what is new to them is the candidate.
KNOWN = ("open-release/juniper.master", "open-release/koa.rc2")
# What must at least hold: (rebase step, whole operation) as ratio, then MB.
LIMITS = {"110 patches": (2.5, 1.5), "200 patches": (4.0, 2.5)}
MOST_MB = {"written": 10, "temporary": 10, "memory": 100}


class Case:
    """
    Upstream, origin, an engineer's clone and a mirror, all warm, for one stack; fresh copies of
    them for each time.
    """

    def __init__(self, folder, source, upstream, branch, old_refs):
        self.folder, self.source, self.number = folder, source, 0
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
        objects = self.source / (
            "objects" if (self.source / "objects").is_dir() else ".git/objects"
        )
        (path / "objects/info/alternates").write_text(f"{objects}\n")
        for ref, sha in refs.items():
            git(path, "update-ref", ref, sha)

    def _clone(self):
        """The engineer's full checkout, and the mirror: each with a pack of its own."""
        clone, mirror = self.template / "clone", self.template / "mirror.git"
        git(
            self.folder,
            "clone",
            "--quiet",
            "--no-local",
            "--branch",
            "mitx/koa",
            str(self.template / "known.git"),
            str(clone),
        )
        mirror.mkdir()
        git(mirror, "init", "--quiet", "--bare", "--template=")
        objects = "objects/pack"
        shutil.copytree(clone / ".git" / objects, mirror / objects, dirs_exist_ok=True)
        for line in git(
            self.template / "known.git", "for-each-ref", "--format=%(refname) %(objectname)"
        ).splitlines():
            ref, sha = line.split()
            git(
                mirror,
                "update-ref",
                f"refs/mitx/{'origin' if '/mitx/' in ref else 'upstream'}/{ref[5:]}",
                sha,
            )
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
    seconds = {"runbook": runbook, "ours": ours}[what](path)
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
            for path in folder.rglob("*"):
                # Files come and go meanwhile.
                with contextlib.suppress(OSError):
                    size += path.lstat().st_blocks * 512
        peak[0] = max(peak[0], size)


def compare(name, case, repeat):
    """Measure both in turn, ``repeat`` times, and tell each round as it goes."""
    found = collections.defaultdict(list)
    for number in range(repeat):
        for what, needs in (("runbook", "clone"), ("ours", "mirror.git")):
            path = case.fresh(needs)
            command = [sys.executable, __file__, "--measure", what, str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise SystemExit(f"{what} failed in {path}")
            found[what].append(json.loads(done.stdout.splitlines()[-1]))
            shutil.rmtree(path)
        latest = {what: runs[-1]["seconds"] for what, runs in found.items()}
        told = ", ".join(
            f"{what} {seconds['rebase']:.2f} s of {sum(seconds.values()):.2f} s"
            for what, seconds in latest.items()
        )
        print(f"{name}, round {number + 1} of {repeat}: rebase {told}", flush=True)
    return found


def summarise(found):
    """
    Medians of the times of each, their ratios, and the most of what ours took. One fast round
    speaks for nobody.
    """

    def typical(what, steps=None):
        return statistics.median(
            sum(run["seconds"][step] for step in steps or run["seconds"]) for run in found[what]
        )

    def median(what, step):
        return round(statistics.median(run["seconds"].get(step, 0) for run in found[what]), 3)

    row = {
        "rebase": typical("runbook", ["rebase"]) / typical("ours", ["rebase"]),
        "whole": typical("runbook") / typical("ours"),
    }
    row |= {
        "seconds": {
            what: {"rebase": typical(what, ["rebase"]), "whole": typical(what)} for what in found
        }
    }
    row["steps"] = {
        what: {step: median(what, step) for step in runs[0]["seconds"]}
        for what, runs in found.items()
    }
    row["MB"] = {
        what: {key: max(run[key] for run in runs) for key in MOST_MB}
        for what, runs in found.items()
    }
    return row


def show(rows):
    """The table, ratio first."""
    print(
        f"{'':14}{'rebase step':>24}{'whole operation':>26}"
        f"{'written':>20}{'temporary':>12}{'memory':>10}"
    )
    for name, row in rows.items():
        ours_, theirs, size = row["seconds"]["ours"], row["seconds"]["runbook"], row["MB"]
        cells = [
            f"{row[key]:.1f}x ({theirs[key]:.2f} s / {ours_[key]:.2f} s)"
            for key in ("rebase", "whole")
        ]
        written = f"{size['ours']['written']:.1f} MB / {size['runbook']['written']:.0f} MB"
        print(
            f"{name:14}{cells[0]:>24}{cells[1]:>26}{written:>20}{size['ours']['temporary']:>9.1f}"
            f" MB{size['ours']['memory']:>7.0f} MB"
        )
        for what, steps in row["steps"].items():
            print(
                f"  {what:8} median s: "
                + ", ".join(f"{step} {seconds}" for step, seconds in steps.items())
            )


def missed(rows):
    """Which limits are missed, in words."""
    found = []
    for name, row in rows.items():
        for key, limit in zip(("rebase", "whole"), LIMITS.get(name, (0, 0)), strict=True):
            found += [f"{name}: {key} {row[key]:.2f}x, wanted {limit}x"] if row[key] < limit else []
        found += [
            f"{name}: {key} {row['MB']['ours'][key]:.1f} MB, at most {most}"
            for key, most in MOST_MB.items()
            if row["MB"]["ours"][key] > most
        ]
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
        yield options.branch, Case(folder, repo, upstream, branch, set(upstream) - {ONTO})
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
