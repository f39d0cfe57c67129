"""Upstream and origin, small and with real git: what the tests of the release branch rebase."""

import os
import pathlib
import subprocess

EDX = "edX <release@edx.org>"
MIT = "MIT ODL <odl@mit.edu>"
ONTO = "open-release/koa.rc3"
BRANCH = "mitx/koa"
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "LC_ALL": "C",
    "PATH": os.environ["PATH"],
}


def lines(name, count=30, **changed):
    """
    The text of a file of ``count`` lines, each unlike any other; ``l7="x"`` replaces the seventh.
    """
    return "".join(
        f"{changed.get(f'l{number}', f'{name} {number}')}\n" for number in range(1, count + 1)
    )


class World:
    """Two bare repositories, and commits made in them without a checkout."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.upstream, self.origin = self.folder / "upstream.git", self.folder / "origin.git"
        self.clock = 1_600_000_000
        for path in (self.upstream, self.origin):
            self.git(None, "init", "--quiet", "--bare", "--template=", "-b", "master", str(path))
        (self.origin / "objects/info/alternates").write_text(f"{self.upstream}/objects\n")

    def git(self, repo, *arguments, stdin=None, check=True, **variables):
        """Output of git in ``repo`` (a path), stripped."""
        where = ["--git-dir", str(repo)] if repo else []
        result = subprocess.run(
            ["git", *where, *arguments],
            input=stdin,
            capture_output=True,
            env={**_ENVIRONMENT, **variables},
            check=False,
        )
        assert not check or result.returncode == 0, (arguments, result.stderr)
        return result.stdout.decode(errors="replace").strip()

    def commit(
        self,
        repo,
        parents,
        files,
        message="a patch",
        author=MIT,
        date=None,
        encoding=None,
        options=(),
    ):
        """
        Make a commit in ``repo`` of the first parent's tree with ``files`` ({path: text, None,
        (commit of a submodule,) or (mode, bytes)})
        changed; returns its sha.
        """
        parents = [parents] if isinstance(parents, str) else list(parents or ())
        index = {"GIT_INDEX_FILE": str(self.folder / "index")}
        self.git(repo, "read-tree", *([parents[0]] if parents else ["--empty"]), **index)
        for path, text in files.items():
            if text is None:
                self.git(
                    repo,
                    "update-index",
                    "--index-info",
                    stdin=f"0 {'0' * 40}\t{path}\n".encode(),
                    **index,
                )
                continue
            mode, text = text if isinstance(text, tuple) and len(text) > 1 else ("100644", text)
            if isinstance(text, tuple):
                # A submodule: the commit of another repository.
                link = f"160000,{text[0]},{path}"
                self.git(repo, "update-index", "--add", "--cacheinfo", link, **index)
                continue
            data = text if isinstance(text, bytes) else text.encode()
            blob = self.git(repo, "hash-object", "-w", "--stdin", stdin=data)
            self.git(repo, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", **index)
        tree = self.git(repo, "write-tree", **index)
        self.clock += 3600
        name, _, email = author.rstrip(">").partition(" <")
        name = os.fsdecode(name.encode(encoding or "utf-8"))
        stamp = date or f"@{self.clock} +0100"
        who = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": stamp}
        who |= {
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            "GIT_COMMITTER_DATE": stamp,
        }
        config = ["-c", f"i18n.commitEncoding={encoding}"] if encoding else []
        above = [word for parent in parents for word in ("-p", parent)]
        raw = message if isinstance(message, bytes) else message.encode()
        return self.git(
            repo, *config, "commit-tree", *options, *above, "-F", "-", tree, stdin=raw, **who
        )

    def set(self, repo, name, sha):
        """Set a branch, or a ref given in full."""
        self.git(
            repo, "update-ref", name if name.startswith("refs/") else f"refs/heads/{name}", sha
        )
        return sha

    def refs(self, repo):
        """Every ref of ``repo`` with its sha: what must be the same when nothing was pushed."""
        found = self.git(repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ") for line in found)

    def tip(self, name=BRANCH, repo=None):
        """Sha of a branch of origin, or of ``repo``."""
        return self.git(repo or self.origin, "rev-parse", f"refs/heads/{name}")

    def show(self, path, commit=None, repo=None):
        """Text of a file in a commit, by default the tip of origin's release branch."""
        return subprocess.run(
            [
                "git",
                "--git-dir",
                str(repo or self.origin),
                "cat-file",
                "blob",
                f"{commit or self.tip()}:{path}",
            ],
            capture_output=True,
            env=_ENVIRONMENT,
            check=True,
        ).stdout.decode()

    def log(self, spec, shape="%s", repo=None):
        """A field of each commit of a range, oldest first."""
        text = self.git(repo or self.origin, "log", "--reverse", f"--format={shape}", spec)
        return text.split("\n") if text else []


def build(folder):
    """
    Upstream: Juniper and Koa with candidates rc2 and rc3 of Koa. Origin: ``mitx/koa`` with three
    patches on rc2. Nothing is in conflict.
    """
    world = World(folder)
    up = world.upstream
    start = {
        "lms/a.py": lines("a"),
        "lms/b.py": lines("b"),
        "cms/c.py": lines("c"),
        "README.rst": "Open edX\n",
        "lms/d/e.py": lines("e"),
    }
    root = world.commit(up, [], start, "feat: Open edX", EDX)
    juniper = world.commit(
        up, root, {"cms/c.py": lines("c", l20="juniper")}, "fix: Juniper's own", EDX
    )
    main = world.commit(up, root, {"lms/new.py": lines("new")}, "feat: Koa", EDX)
    rc2 = world.commit(up, main, {"lms/b.py": lines("b", l25="rc2")}, "fix: for rc2", EDX)
    rc3 = world.commit(up, rc2, {"lms/a.py": lines("a", l25="rc3")}, "fix: for rc3", EDX)
    world.rc2, world.rc3, world.main, world.juniper, world.root = rc2, rc3, main, juniper, root
    for name, sha in {
        "juniper.master": juniper,
        "koa.rc2": rc2,
        "koa.rc3": rc3,
        "koa.master": rc3,
    }.items():
        world.set(up, f"open-release/{name}", sha)
    one = world.commit(
        world.origin,
        rc2,
        {"lms/a.py": lines("a", l5="mit one")},
        "feat: one\n\nWith a body.\n# and a hash line",
    )
    two = world.commit(
        world.origin,
        one,
        {"lms/b.py": lines("b", l5="mit two", l25="rc2")},
        "feat: two",
        "Ann Other <ann@mit.edu>",
    )
    three = world.commit(world.origin, two, {"lms/mit/three.py": lines("three", 5)}, "feat: three")
    world.patches = [one, two, three]
    world.set(world.origin, BRANCH, three)
    return world


def settings(world, **changed):
    """The map ``release`` of the settings for such a world."""
    return {
        "branch": BRANCH,
        "onto": ONTO,
        "upstream": str(world.upstream),
        "origin": str(world.origin),
        "protocols": ["file"],
        "mirror": str(world.folder / "git" / "edx-platform.git"),
        "timeout": 60,
        **changed,
    }
