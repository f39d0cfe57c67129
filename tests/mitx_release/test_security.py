"""
Nothing of anyone else's runs, and no secret is ever seen. Real git; a canary file tells that a
program was started.
"""

import base64
import http.server
import json
import os
import pathlib
import pwd
import shutil
import stat
import subprocess
import tempfile
import threading

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import release_world
from tests.support.release_world import BRANCH

SECRET = "s3cr3t-T0ken-0123"


@pytest.fixture
def world(tmp_path):
    return release_world.build(tmp_path / "forge")


@pytest.fixture
def load(world, mitx):
    """``load(test=False, **release)``: the modules, with settings of the world."""
    return lambda test=False, **changed: (
        mitx(test=test, release=release_world.settings(world, **changed)).modules
    )


@pytest.fixture
def canary(tmp_path):
    """A file that must not come into being, and a program that makes it."""
    program = _program(tmp_path / "sing", f"touch {tmp_path}/canary")
    yield program
    assert not (tmp_path / "canary").exists(), "a foreign program was started"


@pytest.fixture
def argv(tmp_path, monkeypatch):
    """Every command line of git and ssh, written down by stand-ins at the head of PATH."""
    log = tmp_path / "argv"
    for name in ("git", "ssh"):
        real = shutil.which(name)
        run = f'exec {real} "$@"' if name == "git" else 'shift $(($# - 1)); exec sh -c "$1"'
        _program(tmp_path / "bin" / name, f'printf "%s\\n" "{name} $*" >> {log}\n{run}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return lambda: log.read_text() if log.exists() else ""


def _program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


NAMES = [
    "--upload-pack={canary}",
    "-x",
    "a b",
    "a..b",
    "a//b",
    "open-release/koa.lock",
    "x@{{1}}",
    "open-release/../../x",
    "a\nb",
    "",
    ".x/y",
    "x:y",
    "^x",
    "x~1",
]
URLS = [
    "ext::{canary}",
    "--upload-pack={canary}",
    "-u{canary}",
    "ssh://-oProxyCommand={canary}/x",
    "-oProxyCommand={canary}:x",
    "fd::0",
    "git://host/x",
    "http://host/x",
    "https://host/x;{canary}",
    "https://ho st/x",
    "file:///x\n-c",
    "host::x",
    "",
    "relative/path",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_never_reaches_git(load, world, canary, argv, name):
    name = name.format(canary=canary)
    modules = load()
    release = modules["mitx_run.settings.get"]()["release"]
    for call in (
        lambda: modules["mitx_release.git.check_name"](name),
        lambda: modules["mitx_release.mirror.fetch"]({**release, "onto": name}),
        lambda: modules["mitx_release.branches.resolve"]({**release, "onto": name}, {}),
        lambda: modules["mitx_release.branches.tip"]({**release, "branch": name}, {}),
        lambda: modules["mitx_release.branches.copy"](names=[name]),
        lambda: modules["mitx_release.release.plan"](onto_sha=name or " "),
        lambda: modules["mitx_release.release.plan"](drop=[name]),
    ):
        with pytest.raises(CommandExecutionError):
            call()
    assert not name or f" {name}" not in argv()


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("remote", ["upstream", "origin"])
def test_a_hostile_url_never_reaches_git(load, world, canary, argv, remote, url):
    url = url.format(canary=canary)
    modules = load()
    release = {
        **modules["mitx_run.settings.get"]()["release"],
        remote: url,
        "protocols": ["https", "ssh", "file", "ext", "fd"],
    }
    with pytest.raises(CommandExecutionError, match=f"release:{remote}"):
        modules["mitx_release.git.url"](release, remote)
    with modules["mitx_release.mirror.locked"](release), pytest.raises(CommandExecutionError):
        modules["mitx_release.mirror.fetch"](release)
    assert not url or url not in argv()


def test_a_password_in_a_url_is_refused_and_not_repeated(load):
    with pytest.raises(
        CommandExecutionError, match="Credentials belong in release:credentials"
    ) as refusal:
        load(
            origin=f"https://me:{SECRET}@github.com/mitodl/edx-platform.git",
            protocols=["https", "file"],
        )["mitx_release.release.plan"]()
    assert SECRET not in str(refusal.value)


def test_hooks_configuration_and_environment_of_others_do_not_run(
    load, world, canary, tmp_path, monkeypatch
):
    hooks = tmp_path / "hooks"
    for name in (
        "post-checkout",
        "reference-transaction",
        "pre-push",
        "post-rewrite",
        "pre-rebase",
        "post-commit",
        "pre-commit",
        "post-index-change",
    ):
        _program(hooks / name, str(canary))
    home = tmp_path / "home"
    home.mkdir()
    config = f"""
        [core]
         hooksPath = {hooks}
         fsmonitor = {canary}
         editor = {canary}
         sshCommand = {canary}
         pager = {canary}
        [alias]\n fetch = !{canary}\n rebase = !{canary}
        [sequence]\n editor = {canary}
        [credential]\n helper = !{canary}
        [diff]\n external = {canary}
        [commit]\n gpgSign = true
        [gpg]\n program = {canary}
        [url "ext::{canary} "]\n insteadOf = {world.origin}
        [protocol]\n allow = always
    """
    (home / ".gitconfig").write_text(config)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    foreign = {
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath={hooks}'",
        "GIT_SSH_COMMAND": str(canary),
        "GIT_SEQUENCE_EDITOR": str(canary),
        "GIT_EDITOR": str(canary),
        "GIT_EXTERNAL_DIFF": str(canary),
        "GIT_ASKPASS": str(canary),
        "GIT_DIR": str(tmp_path),
        "GIT_WORK_TREE": "/",
        "GIT_INDEX_FILE": "/nowhere",
        "GIT_OBJECT_DIRECTORY": "/nowhere",
        "GIT_EXEC_PATH": str(hooks),
        "GIT_ALLOW_PROTOCOL": "ext",
        "GIT_TEMPLATE_DIR": str(tmp_path),
        "LD_PRELOAD": "",
        "GIT_TRACE": str(tmp_path / "trace"),
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    modules = load()
    modules["mitx_release.release.plan"]()
    mirror = pathlib.Path(modules["mitx_run.settings.get"]()["release"]["mirror"])
    shutil.copytree(hooks, mirror / "hooks")
    answer = modules["mitx_release.release.sync"]()
    for name in foreign:
        monkeypatch.delenv(name)
    assert world.tip() == answer["new"]
    assert not (tmp_path / "trace").exists()


def test_a_mirror_that_is_not_ours_is_not_entered(load, world, canary, monkeypatch):
    modules = load()
    release = modules["mitx_run.settings.get"]()["release"]
    mirror = pathlib.Path(release["mirror"])
    mirror.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", str(mirror)], check=True)
    (mirror / "config").write_text(
        f"[core]\n bare = true\n repositoryformatversion = 0\n alternateRefsCommand = {canary}\n"
    )
    mirror.chmod(0o777)
    with pytest.raises(CommandExecutionError, match=r"must belong to .* mode 777"):
        modules["mitx_release.release.plan"]()
    mirror.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    if os.geteuid() == 0:
        os.chown(mirror, nobody.pw_uid, nobody.pw_gid)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    with pytest.raises(CommandExecutionError, match="must belong to"):
        modules["mitx_release.release.plan"]()


def test_another_user_without_a_home_runs_git(world, mitx, monkeypatch):
    """
    Salt runs as root, git as a user whose home does not exist; also no HOME in the environment.
    """
    monkeypatch.delenv("HOME", raising=False)
    if os.geteuid():
        with pytest.raises(CommandExecutionError, match="only root can run git as nobody"):
            mitx(release=release_world.settings(world, runas="nobody")).modules[
                "mitx_release.release.plan"
            ]()
        return
    nobody = pwd.getpwnam("nobody")
    assert not os.path.exists(nobody.pw_dir)
    # pytest's own folders are closed to other users.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mitx-runas-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        theirs = release_world.build(folder / "forge")
        clash = theirs.commit(
            theirs.upstream, theirs.rc3, {"lms/a.py": release_world.lines("a", l5="edX")}, "clash"
        )
        for path in (folder / "forge").rglob("*"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        modules = mitx(
            release=release_world.settings(
                theirs, runas="nobody", mirror=str(folder / "git/mirror.git")
            )
        ).modules
        assert modules["mitx_release.release.sync"]()["new"] == theirs.tip()
        owners = {path.stat().st_uid for path in (folder / "git/mirror.git").rglob("*")}
        assert owners == {nobody.pw_uid}

        theirs.set(theirs.upstream, "open-release/koa.rc3", clash)
        with pytest.raises(CommandExecutionError, match="sudo -u nobody git -C") as stopped:
            modules["mitx_release.release.sync"]()
        conflict = pathlib.Path(stopped.value.conflict["folder"])
        assert (conflict / "lms/a.py").stat().st_uid == nobody.pw_uid
        (conflict / "lms/a.py").write_text(release_world.lines("a", l5="both"))
        who = [
            "git",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@y",
            "-C",
            str(conflict),
            "add",
            "lms/a.py",
        ]
        subprocess.run(
            who,
            user=nobody.pw_uid,
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )
        assert modules["mitx_release.release.sync"]()["new"] == theirs.tip()
    finally:
        shutil.rmtree(folder)


def test_a_user_that_does_not_exist_is_named(load):
    with pytest.raises(CommandExecutionError, match="there is no user 'no-such-user'"):
        load(runas="no-such-user")["mitx_release.release.plan"]()


def test_an_older_git_is_a_clear_error(load, tmp_path, monkeypatch):
    _program(
        tmp_path / "old" / "git", 'test "$1" = version && echo "git version 2.34.1" || exit 99'
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:{os.environ['PATH']}")
    with pytest.raises(
        CommandExecutionError,
        match=r"git version 2\.34\.1; the release branch needs 2\.38 or later",
    ):
        load()["mitx_release.release.plan"]()


class _Forge(http.server.BaseHTTPRequestHandler):
    """git's own http-backend, for one user with one password."""

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != self.server.wanted and self.path.startswith(
            "/origin.git"
        ):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.end_headers()
            return
        if not self.path.startswith("/origin.git"):
            self.server.seen.append(self.headers.get("Authorization"))
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.server.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "x",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        head, _, answer = subprocess.run(
            ["git", "http-backend"], input=body, env=env, capture_output=True, check=False
        ).stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def forge(world):
    """The world over HTTP; origin wants the password."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Forge)
    server.root, server.seen = str(world.folder), []
    server.wanted = "Basic " + base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _over_http(forge, **changed):
    base = f"http://127.0.0.1:{forge.server_port}"
    return {
        "upstream": f"{base}/upstream.git",
        "origin": f"{base}/origin.git",
        "protocols": ["http"],
        **changed,
    }


def _seen_by_others(load_result, caplog, argv, modules):
    journal = json.dumps(modules["mitx_run.events.read"]())
    shown = "\n".join((json.dumps(load_result), caplog.text, argv(), journal))
    encoded = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    return [text for text in (SECRET, encoded) if text in shown]


def test_a_token_opens_origin_and_is_seen_nowhere(load, world, forge, argv, caplog):
    caplog.set_level("DEBUG")
    modules = load(**_over_http(forge, credentials={"token": SECRET}))
    answer = modules["mitx_release.release.sync"]()
    assert world.tip() == answer["new"]
    assert _seen_by_others(answer, caplog, argv, modules) == []
    assert "git push" in argv()
    # Upstream is someone else's server: it is not told.
    assert forge.seen
    assert set(forge.seen) == {None}


def test_a_wrong_token_is_an_error_without_the_token(load, world, forge, argv, caplog):
    caplog.set_level("DEBUG")
    forge.wanted = "Basic something else"
    modules = load(**_over_http(forge, credentials={"token": SECRET}))
    with pytest.raises(CommandExecutionError, match="origin cannot be fetched") as refusal:
        modules["mitx_release.release.sync"]()
    assert _seen_by_others(str(refusal.value), caplog, argv, modules) == []


def test_a_secret_that_a_server_echoes_is_masked(load, world, forge, argv):
    hook = world.origin / "hooks/pre-receive"
    _program(hook, f"echo 'no, {SECRET} may not' >&2; exit 1")
    modules = load(**_over_http(forge, credentials={"token": SECRET}))
    with pytest.raises(CommandExecutionError, match=r"remote: no, \*\*\* may not"):
        modules["mitx_release.release.sync"]()


def test_ssh_uses_the_key_file_and_nothing_else(load, world, argv, tmp_path):
    key, hosts = tmp_path / "a key", tmp_path / "known"
    credentials = {"ssh_key": str(key), "known_hosts": str(hosts)}
    urls = {
        "upstream": f"ssh://git@127.0.0.1{world.upstream}",
        "origin": f"git@127.0.0.1:{world.origin}",
        "protocols": ["ssh"],
    }
    answer = load(**urls, credentials=credentials)["mitx_release.release.sync"]()
    assert world.tip() == answer["new"]
    lines = [line for line in argv().splitlines() if line.startswith("ssh ")]
    assert lines
    for line in lines:
        for option in (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            f"-i {key}",
            f"UserKnownHostsFile={hosts}",
            "StrictHostKeyChecking=yes",
        ):
            assert option in line


def test_credentials_that_are_misspelt_are_an_error(load):
    with pytest.raises(CommandExecutionError, match="unknown passwort; there are"):
        load(credentials={"passwort": SECRET})["mitx_release.release.plan"]()


def test_nothing_changes_under_test(world, mitx):
    before = world.refs(world.origin)
    modules = mitx(test=True, release=release_world.settings(world)).modules
    with pytest.raises(CommandExecutionError):
        modules["mitx_release.release.sync"]()
    assert world.refs(world.origin) == before
    for call in (modules["mitx_release.branches.copy"], modules["mitx_release.release.plan"]):
        assert call()["pushes"]
    assert world.refs(world.origin) == before


def test_what_others_may_read(load, world):
    """The lock and the mirror are for their user alone to write."""
    modules = load()
    modules["mitx_release.release.plan"]()
    mirror = pathlib.Path(modules["mitx_run.settings.get"]()["release"]["mirror"])
    for path in (mirror, pathlib.Path(f"{mirror}.lock"), *mirror.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path
    assert BRANCH in modules["mitx_release.release.plan"]()["branch"]
