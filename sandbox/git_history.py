"""
Two bare git repositories with a release history of the right shape: ``upstream`` (edX) and
``origin`` (MIT's fork).

Upstream: ``master``; Juniper and Koa cut from it, with release candidates (tags), a ``.master``
branch each, and edX's own backports on Juniper's. Origin: ``mitx/juniper`` with MIT's patches on
Juniper, and ``mitx/koa`` with MIT's patches on an *older* Koa candidate, one of them taken up by
edX since. ``openedx/core/release.json`` tells the hosts' stand-in what a checkout is: ``{codename,
migrations: {database: [names, oldest first]}}``.
"""

import json
import pathlib
import subprocess

EPOCH = 1590969600  # 2020-06-01
EDX = "edX Release <release@edx.org>"
MIT = "MIT ODL <odl-devops@mit.edu>"
DATABASES = ("default", "student_module_history")
# A patch of MIT's that edX has made its own since.
TAKEN_UP = "fix: grade export of long courses"
APPS = {"default": "courseware", "student_module_history": "coursewarehistoryextended"}


def build(folder, rebased=False):
    """
    Make ``upstream.git`` and ``origin.git`` below ``folder``; nothing is done where they are there
    already.

    rebased: ``mitx/koa`` stands on Koa's last candidate already, as after the upgrade of QA.
    """
    folder = pathlib.Path(folder)
    if (folder / "origin.git" / "ready").exists():
        return
    upstream, origin = folder / "upstream.git", folder / "origin.git"
    _import(upstream, _upstream())
    _import(origin, _upstream() + _mit(rebased))
    _keep_only(origin, ("refs/heads/mitx/", "refs/heads/open-release/juniper"))
    (origin / "ready").write_text("")


def checkout(folder, branch, target, remote=True):
    """Clone ``branch`` of origin into ``target`` (a host's disk)."""
    target = pathlib.Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    origin = f"file://{pathlib.Path(folder)}/origin.git"
    _git("clone", "--quiet", "--branch", branch, origin, str(target))


def tip(folder, branch, repository="origin.git"):
    """Full sha of a branch, or None."""
    result = _git(
        "--git-dir",
        str(pathlib.Path(folder) / repository),
        "rev-parse",
        "--verify",
        "-q",
        branch,
        check=False,
    )
    return result.stdout.strip() or None


def release(codename):
    """
    Content of ``openedx/core/release.json`` of a codename: Koa has one migration more in each
    database.
    """
    migrations = {
        name: [f"{APPS[name]}.0001_initial", f"{APPS[name]}.0002_juniper"] for name in DATABASES
    }
    if codename == "koa":
        for name in DATABASES:
            migrations[name].append(f"{APPS[name]}.0003_koa")
    return {"codename": codename, "migrations": migrations}


class History:
    """Commits for ``git fast-import``: the same content gives the same shas on every machine."""

    def __init__(self):
        self.lines, self.marks, self.clock = [], 0, EPOCH

    def commit(self, branch, subject, files, parent=None, author=EDX):
        """
        Add a commit to ``branch`` (files: {path: text}); returns its mark. parent: mark that the
        branch starts at.
        """
        self.marks += 1
        self.clock += 3600
        self.lines += [f"commit refs/heads/{branch}", f"mark :{self.marks}"]
        self.lines += [f"{role} {author} {self.clock} +0000" for role in ("author", "committer")]
        self.lines.append(_data(subject + "\n"))
        if parent:
            self.lines.append(f"from :{parent}")
        for path, text in files.items():
            self.lines += [f"M 100644 inline {path}", _data(text)]
        return self.marks

    def tag(self, name, mark):
        """Add an annotated tag at ``mark``."""
        self.lines += [
            f"tag {name}",
            f"from :{mark}",
            f"tagger {EDX} {self.clock} +0000",
            _data(name + "\n"),
        ]

    def text(self):
        """The stream."""
        return "\n".join(self.lines) + "\n"


def _upstream():
    return _edx().text()


def _edx():
    history = History()
    start = history.commit(
        "master",
        "feat: Open edX",
        {"README.rst": "Open edX\n", **_code("juniper"), **_release("juniper")},
    )
    for number in range(1, 4):
        start = history.commit(
            "master",
            f"feat: on the way to Juniper {number}",
            {f"common/juniper_{number}.py": f"N = {number}\n"},
        )
    _juniper(history, start)
    for number in range(1, 4):
        start = history.commit(
            "master",
            f"feat: on the way to Koa {number}",
            {f"common/koa_{number}.py": f"N = {number}\n"},
        )
    koa = history.commit("master", "feat: migrations of Koa", {**_code("koa"), **_release("koa")})
    history.commit("master", "feat: on the way to Lilac", {"common/lilac_1.py": "N = 1\n"})
    _koa(history, koa)
    return history


def _juniper(history, start):
    branch = "open-release/juniper.master"
    for candidate in (1, 2, 3):
        text = f"RC = {candidate}\n"
        mark = history.commit(
            branch,
            f"fix: Juniper candidate {candidate}",
            {"common/juniper_rc.py": text},
            start if candidate == 1 else None,
        )
        history.tag(f"open-release/juniper.rc{candidate}", mark)
    history.tag("open-release/juniper.1", mark)
    for number in (1, 2, 3):
        history.commit(
            branch,
            f"fix: backport {number} to Juniper",
            {f"lms/backport_{number}.py": f"B = {number}\n"},
        )


def _koa(history, start):
    branch = "open-release/koa.master"
    for candidate in (1, 2, 3):
        files = {"common/koa_rc.py": f"RC = {candidate}\n"}
        mark = history.commit(
            branch, f"fix: Koa candidate {candidate}", files, start if candidate == 1 else None
        )
        history.tag(f"open-release/koa.rc{candidate}", mark)
        if candidate == 1:
            history.koa_rc1 = mark
        if candidate == 2:
            history.commit(branch, TAKEN_UP, _patches()[TAKEN_UP])
    history.commit(branch, "fix: translations of Koa", {"common/translations.py": "T = 1\n"})


def _patches():
    return {
        "feat: MIT's Touchstone login": {"lms/touchstone.py": "LOGIN = 'touchstone'\n"},
        TAKEN_UP: {"lms/grade_export.py": "CHUNK = 500\n"},
        "feat: remote gradebook": {
            "lms/remote_gradebook.py": "URL = 'https://gradebook.mit.edu'\n"
        },
        "feat: MIT's footer": {"themes/mitx/footer.html": "<footer>MIT</footer>\n"},
    }


def _mit(rebased):
    """What origin has beyond upstream, as a stream that continues upstream's marks."""
    history = _edx()
    done = len(history.lines)
    patches = list(_patches().items())
    for number, (subject, files) in enumerate(patches[2:]):
        parent = _mark(history, "open-release/juniper.master") if number == 0 else None
        history.commit("mitx/juniper", subject, files, parent, MIT)
    if rebased:
        base = _mark(history, "open-release/koa.master")
        patches = [(subject, files) for subject, files in patches if subject != TAKEN_UP]
    else:
        base = history.koa_rc1
    for number, (subject, files) in enumerate(patches):
        history.commit("mitx/koa", subject, files, None if number else base, MIT)
    return "\n".join(history.lines[done:]) + "\n"


def _mark(history, branch):
    """The last mark of a branch."""
    commits = [
        index for index, line in enumerate(history.lines) if line == f"commit refs/heads/{branch}"
    ]
    return int(history.lines[commits[-1] + 1].removeprefix("mark :"))


def _code(codename):
    """The part of the tree that a release changes everywhere."""
    return {f"{part}/version.py": f"CODENAME = '{codename}'\n" for part in ("lms", "cms")}


def _release(codename):
    return {
        "openedx/core/release.json": json.dumps(release(codename), indent=1, sort_keys=True) + "\n"
    }


def _data(text):
    return f"data {len(text.encode())}\n{text}"


def _import(path, stream):
    path.parent.mkdir(parents=True, exist_ok=True)
    _git("init", "--quiet", "--bare", "--initial-branch", "master", str(path))
    _git("--git-dir", str(path), "fast-import", "--quiet", "--force", text=stream)


def _keep_only(path, prefixes):
    """
    Delete every branch but those that MIT keeps; upstream's tags are not pushed to a fork either.
    """
    listed = _git("--git-dir", str(path), "for-each-ref", "--format=%(refname)").stdout.split()
    for ref in listed:
        if not ref.startswith(prefixes):
            _git("--git-dir", str(path), "update-ref", "-d", ref)
    _git("--git-dir", str(path), "symbolic-ref", "HEAD", "refs/heads/mitx/koa")


def _git(*arguments, text=None, check=True):
    env = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    result = subprocess.run(
        ["git", *arguments], input=text, capture_output=True, text=True, env=env, check=False
    )
    if check and result.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {result.stderr.strip()}")
    return result
