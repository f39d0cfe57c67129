"""
A repository of Open edX's shape, for benchmarks: as many files, as large a tree, a release history,
and stacks of MIT's patches.
"""

import os
import random
import shutil
import subprocess

FILES, LARGE_FILES = 6900, 150
COMMITS, JUNIPER, RC2 = 5100, 2000, 5009
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    # Nothing runs on behind a command that has been timed.
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "maintenance.auto",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_EDITOR": "true",
    "HOME": "/",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@localhost",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@localhost",
}


def git(repo, *arguments, **options):
    """Output of git in ``repo``, stripped."""
    done = subprocess.run(
        ["git", "-C", str(repo), *arguments],
        env=_ENVIRONMENT,
        capture_output=True,
        check=False,
        **options,
    )
    if done.returncode:
        raise SystemExit(
            f"git {' '.join(arguments)} in {repo}: {done.stderr.decode(errors='replace')}"
        )
    return done.stdout.decode().strip()


class Project:
    """
    A history of Open edX's shape, written as a stream for ``git fast-import``; always the same.
    """

    def __init__(self, out):
        self.random = random.Random(5)
        self.out, self.mark, self.when = out, 0, 1_500_000_000
        words = [f"{self.random.getrandbits(40):x}" for _ in range(4000)]
        choose = self.random.choices
        self.pool = [
            "    " * self.random.randint(0, 3)
            + " ".join(choose(words, k=self.random.randint(2, 9)))
            for _ in range(20000)
        ]
        self.files = {path: choose(self.pool, k=count) for path, count in self._paths()}
        code = [path for path in self.files if path.endswith(".py")]
        self.patched = sorted(self.random.sample(code, 300))
        self.others = sorted(set(code) - set(self.patched))

    def _paths(self):
        apps = [
            f"{root}/djangoapps/app{n:02d}"
            for root in ("lms", "cms", "common", "openedx/core")
            for n in range(40)
        ]
        apps += [f"common/lib/xmodule/xmodule/part{n:02d}" for n in range(20)] + [
            f"common/static/js/group{n:02d}" for n in range(40)
        ]
        for number in range(FILES):
            folder = ("", "/tests", "/migrations", "/views", "/templates")[number // len(apps) % 5]
            yield (
                f"{apps[number % len(apps)]}{folder}/module_{number:04d}.py",
                self.random.randint(40, 260),
            )
        for number in range(LARGE_FILES):
            yield (
                f"conf/locale/l{number:03d}/LC_MESSAGES/django.po",
                self.random.randint(4500, 5200),
            )

    def write(self):
        """All of it: upstream's commits, then the stacks of patches."""
        marks, kept = {0: self._commit("master", "edX <edx@edx.org>", "start", self.files)}, {}
        for number in range(1, COMMITS):
            changed, gone = self._change(number)
            marks[number] = self._commit(
                "master",
                "edX <edx@edx.org>",
                f"upstream {number}",
                changed,
                marks[number - 1],
                gone,
            )
            if number in (JUNIPER, RC2):
                kept[number] = {path: self.files[path] for path in self.patched}
        for name, number in (
            ("juniper.master", JUNIPER),
            ("koa.rc2", RC2),
            ("koa.rc3", COMMITS - 1),
        ):
            self.out.write(
                f"reset refs/heads/open-release/{name}\nfrom :{marks[number]}\n\n".encode()
            )
        self._stack("rc110", 110, marks[RC2], dict(kept[RC2]))
        self._stack("big200", 200, marks[JUNIPER], dict(kept[JUNIPER]))
        self._merges("merges200", 40, marks[RC2], kept[RC2])

    def _change(self, number):
        """
        One commit of upstream: one to three files changed in their lower half, now and then one
        renamed.
        """
        changed, gone = {}, []
        for path in self.random.sample(
            self.patched if number % 5 == 0 else self.others, self.random.choice((1, 1, 2, 3))
        ):
            if path in self.files:
                lines = list(self.files[path])
                lines[self.random.randrange(len(lines) // 2 + 5, len(lines))] = self.random.choice(
                    self.pool
                )
                self.files[path] = changed[path] = lines
        path = self.random.choice(self.others)
        if number % 40 == 0 and path in self.files and path not in changed:
            new = path.replace(".py", f"_{number}.py")
            gone.append(path)
            self.files[new] = changed[new] = self.files.pop(path)
        return changed, gone

    def _merges(self, name, count, below, files):
        """
        Our branch as pull requests make it: of every five commits three are its own, one comes from
        a branch that began before them, and one merges that.
        """
        files = dict(files)
        for number in range(count):
            began = below
            below = self._stack(name, 3, below, files, first=5 * number)
            path = f"lms/djangoapps/pull_{number}/__init__.py"
            added = {path: self.random.choices(self.pool, k=30)}
            side = self._commit(f"{name}-side", "MIT <mit@mit.edu>", f"pull {number}", added, began)
            below = self._commit(
                name, "MIT <mit@mit.edu>", f"Merge pull {number}", added, below, merged=side
            )

    def _stack(self, name, count, below, files, first=0):
        """
        Our patches: lines added at the top of one or two of ``files``, and in every seventh a new
        file. Returns the mark of the last.
        """
        for number in range(first, first + count):
            changed = {}
            for path in self.random.sample(self.patched, self.random.choice((1, 1, 1, 2))):
                lines, at = list(files[path]), self.random.randrange(1, 12)
                lines[at:at] = [
                    f"# mitx {number} {line}" for line in range(self.random.randint(1, 6))
                ]
                files[path] = changed[path] = lines
            if number % 7 == 0:
                changed[f"lms/djangoapps/mitx_{number}/__init__.py"] = self.random.choices(
                    self.pool, k=50
                )
            below = self._commit(name, "MIT <mit@mit.edu>", f"patch {number}", changed, below)
        return below

    def _commit(self, branch, who, subject, files, below=None, gone=(), merged=None):
        self.mark += 1
        self.when += self.random.randint(600, 40000)
        write = self.out.write
        write(f"commit refs/heads/{branch}\nmark :{self.mark}\n".encode())
        write(
            f"author {who} {self.when} +0000\ncommitter {who} {self.when} +0000\ndata"
            f" {len(subject)}\n{subject}\n".encode()
        )
        write(f"from :{below}\n".encode() if below else b"")
        write(f"merge :{merged}\n".encode() if merged else b"")
        for path in gone:
            write(f"D {path}\n".encode())
        for path, lines in files.items():
            data = ("\n".join(lines) + "\n").encode()
            write(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        write(b"\n")
        return self.mark


def build(path):
    """The repository at ``path``, built unless it is there."""
    if (path / "built").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--bare", "--template=")
    process = subprocess.Popen(
        ["git", "-C", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE, env=_ENVIRONMENT
    )
    Project(process.stdin).write()
    process.stdin.close()
    if process.wait():
        raise SystemExit("git fast-import failed")
    git(path, "repack", "-adq")
    (path / "built").touch()
    return path
