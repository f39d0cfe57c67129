"""
What is decided about git without running it: names, URLs, command lines, environments, and git's
own words read.
"""

import base64
import contextlib

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.rooms import Room, a_run, stand_in

OLD, NEW = "1" * 40, "2" * 40
RELEASE = {
    "branch": "mitx/koa",
    "onto": "open-release/koa.rc3",
    "upstream": "https://github.com/edx/edx-platform.git",
    "runas": None,
    "origin": "https://github.com/mitodl/edx-platform.git",
    "protocols": ["https", "ssh"],
    "mirror": "/var/lib/mitx/git/m.git",
    "credentials": {"token": "t0ken"},
    "signing_key": None,
    "from": None,
    "timeout": 60,
}


def _room(name):
    return Room(f"mitx_release.{name}", a_run())


@pytest.fixture
def git(monkeypatch):
    monkeypatch.setattr("mitx_release.git.__context__", {})
    return _room("git")


@pytest.mark.parametrize(
    "name",
    [
        "koa",
        "open-release/koa.rc3",
        "mitx/koa",
        "open-release/koa.1",
        "open-release/eucalyptus.1rc2",
        "a_b/c-d",
    ],
)
def test_plain_names_pass(git, name):
    assert git.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "--upload-pack=x",
        "a/-x",
        "a//b",
        "/a",
        "a/",
        "a..b",
        "a.",
        "a.lock",
        "a.lock/b",
        "a@{1}",
        "a b",
        "a\n",
        "é",
        "a:b",
        "",
        None,
        7,
        "x" * 201,
    ],
)
def test_other_names_do_not(git, name):
    with pytest.raises(CommandExecutionError, match="git was not called with it"):
        git.check_name(name)


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("https://github.com/mitodl/edx-platform.git", "https"),
        ("https://git.example:8443/a/b_c/~me/x.git", "https"),
        ("ssh://git@github.com/mitodl/edx-platform.git", "ssh"),
        ("git@github.com:mitodl/edx-platform.git", "ssh"),
        ("file:///srv/git/origin.git", "file"),
        ("/srv/git/with space/origin.git", "file"),
    ],
)
def test_a_url_passes_for_its_own_protocol_only(git, url, protocol):
    assert git.check_url(url, [protocol]) == url
    others = [name for name in ("https", "http", "ssh", "file") if name != protocol]
    with pytest.raises(
        CommandExecutionError, match="is no plain URL of a protocol in release:protocols"
    ):
        git.check_url(url, others)


@pytest.mark.parametrize("sha", ["", "1" * 39, "1" * 41, "g" * 40, "HEAD", "1" * 40 + "\n", None])
def test_only_a_full_sha_is_one(git, sha):
    with pytest.raises(CommandExecutionError, match="no full sha"):
        git.check_sha(sha)


def test_secrets_are_masked_in_every_form(git):
    encoded = base64.b64encode(b"x-access-token:t0ken").decode()
    text = f"fatal: t0ken, Basic {encoded}, https://me:pw@github.com/x refused"
    assert git.redact(RELEASE, text) == "fatal: ***, Basic ***, https://***@github.com/x refused"


def test_the_environment_is_built_from_nothing_and_holds_the_token_for_origin_alone(
    git, monkeypatch
):
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HOME", "/root")
    found = git._variables(RELEASE, git._user(RELEASE), None)
    assert found["HOME"] == RELEASE["mirror"]
    assert "GIT_DIR" not in found
    assert found["GIT_ALLOW_PROTOCOL"] == "https:ssh"
    assert found["GIT_CONFIG_GLOBAL"] == found["GIT_CONFIG_SYSTEM"] == "/dev/null"
    config = {
        found[f"GIT_CONFIG_KEY_{n}"]: found[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(int(found["GIT_CONFIG_COUNT"]))
    }
    headers = {key: value for key, value in config.items() if key.startswith("http.")}
    assert headers == {
        f"http.{RELEASE['origin']}.extraHeader": (
            f"Authorization: Basic {base64.b64encode(b'x-access-token:t0ken').decode()}"
        )
    }
    assert config["core.hooksPath"] == "/dev/null"


def test_ssh_is_given_the_key_quoted(git):
    command = git._ssh({"ssh_key": "/etc/salt/a key; rm x", "known_hosts": "/etc/hosts file"})
    assert "-i '/etc/salt/a key; rm x' -o IdentitiesOnly=yes" in command
    assert "'UserKnownHostsFile=/etc/hosts file' -o StrictHostKeyChecking=yes" in command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git version 2.38.0", [2, 38, 0]),
        ("git version 2.39.5 (Apple Git-154)", [2, 39, 5]),
        ("git version 3.0.rc1", [3, 0, 0]),
    ],
)
def test_versions_are_read(git, monkeypatch, text, expected):
    monkeypatch.setattr(
        git.subprocess, "run", lambda *_, **__: type("Answer", (), {"stdout": text})()
    )
    assert git.version() == expected


@pytest.mark.parametrize(
    "text", ["git version 2.37.9", "git version 1.99", "", "zsh: command not found: git"]
)
def test_an_older_git_or_none_is_refused(git, monkeypatch, text):
    monkeypatch.setattr(
        git.subprocess, "run", lambda *_, **__: type("Answer", (), {"stdout": text})()
    )
    with pytest.raises(CommandExecutionError, match=r"2\.38 or later"):
        git.version()


@pytest.fixture
def mirror(git):
    return _room("mirror")


def test_a_push_leases_each_ref_explicitly_and_never_forces(mirror):
    updates = [
        {"ref": "refs/heads/mitx/koa", "new": NEW, "lease": OLD},
        {"ref": "refs/mitx/backup/koa/x", "new": OLD, "lease": None},
        {"ref": "refs/mitx/backup/koa/y", "new": None, "lease": NEW},
        {"ref": "refs/heads/open-release/koa.rc3", "new": NEW, "lease": False},
    ]
    command = mirror.push_command(RELEASE, updates)
    end = command.index("--end-of-options")
    assert [word for word in command[:end] if word.startswith("--force")] == [
        f"--force-with-lease=refs/heads/mitx/koa:{OLD}",
        "--force-with-lease=refs/mitx/backup/koa/x:",
        f"--force-with-lease=refs/mitx/backup/koa/y:{NEW}",
    ]
    assert command[end + 1 :] == [
        RELEASE["origin"],
        f"{NEW}:refs/heads/mitx/koa",
        f"{OLD}:refs/mitx/backup/koa/x",
        ":refs/mitx/backup/koa/y",
        f"{NEW}:refs/heads/open-release/koa.rc3",
    ]
    assert "--atomic" in command
    assert not [
        word for word in command if word in ("-f", "--force", "--mirror") or word.startswith("+")
    ]


def test_gits_reasons_for_a_refusal_are_read(mirror):
    out = (
        f"To /x\n!\t{NEW}:refs/heads/mitx/koa\t[rejected] (stale info)\n*\t{OLD}:refs/y\t[new"
        " reference]\n!\t:refs/z\t[remote rejected] (hook declined)\nDone\n"
    )
    assert mirror.refused(out) == {
        "refs/heads/mitx/koa": "[rejected] (stale info)",
        "refs/z": "[remote rejected] (hook declined)",
    }


def test_upstreams_releases_are_fetched_of_the_family_of_onto_too(mirror):
    assert mirror._families({"onto": "open-release/koa.1"}) == ["open-release"]
    assert mirror._families({"onto": "refs/tags/release/teak.1"}) == ["open-release", "release"]
    with pytest.raises(CommandExecutionError, match="must be one of upstream's releases"):
        mirror._families({"onto": "master"})


def test_what_merge_tree_says_is_read():
    conflict = _room("conflict")
    stages = "100644 aaa 1\tlms/a b.py\x00100644 bbb 3\tlms/a b.py\x00\x00"
    messages = (
        "1\x00c.py\x00Auto-merging\x00Auto-merging c.py\n\x002\x00x\x00y\x00CONFLICT"
        " (rename/delete)\x00CONFLICT: x renamed\n\x00"
    )
    assert conflict.parse(f"{NEW}\x00{stages}{messages}") == {
        "tree": NEW,
        "stages": {"lms/a b.py": [1, 3]},
        "messages": [
            {"paths": ["c.py"], "type": "Auto-merging", "text": "Auto-merging c.py"},
            {
                "paths": ["x", "y"],
                "type": "CONFLICT (rename/delete)",
                "text": "CONFLICT: x renamed",
            },
        ],
    }
    assert conflict.parse(f"{NEW}\x00") == {"tree": NEW, "stages": {}, "messages": []}


def test_hunks_are_cut_out_and_named():
    conflict = _room("conflict")
    text = f"a\n<<<<<<< {OLD}\nx\n=======\ny\n>>>>>>> {NEW}\nb\n"
    assert conflict._hunks(text.encode(), {OLD: "onto", NEW: "ours"}) == [
        "<<<<<<< onto\nx\n=======\ny\n>>>>>>> ours"
    ]
    assert conflict._hunks(b"\x00" + text.encode(), {}) == []
    body = "x\n" * 500
    long = conflict._hunks(f"<<<<<<< {OLD}\n{body}>>>>>>> {NEW}\n".encode(), {})[0]
    assert long.endswith("… 502 lines")
    assert len(long.splitlines()) == 81


def test_backups_of_this_codename_only_latest_first(git):
    branch = _room("branches")
    refs = {
        f"refs/mitx/backup/koa/20201201T000000Z-{OLD}": OLD,
        f"refs/mitx/backup/koa/20201220T000000Z-{NEW}": NEW,
        f"refs/mitx/backup/koala/20201231T000000Z-{NEW}": NEW,
        "refs/mitx/backup/koa/something-else": NEW,
    }
    assert [one["time"] for one in branch._listed(RELEASE, refs)] == [
        "20201220T000000Z",
        "20201201T000000Z",
    ]


@pytest.mark.parametrize("name", ["master", "mitx", "open-release/koa.master", "mitx/"])
def test_nothing_but_a_release_branch_is_ever_rewritten(git, name):
    branch = _room("branches")
    with pytest.raises(CommandExecutionError):
        branch.updates({**RELEASE, "branch": name}, OLD, NEW)


def test_a_master_of_its_own_is_told_qas_commit_by_pillar(git, monkeypatch):
    """
    QA's run record lies on QA's master: release:sha says the commit instead, and is not believed
    without origin.
    """
    asked = []
    settings = {
        "environment": "mitx-production",
        "release": {**RELEASE, "from": "mitx-qa", "sha": NEW},
        "source": {},
    }
    stand_in(monkeypatch, "mitx_release.mirror.locked", lambda _: contextlib.nullcontext())
    stand_in(monkeypatch, "mitx_release.mirror.fetch", lambda _: {})
    stand_in(
        monkeypatch, "mitx_release.branches.holders", lambda _, __, sha: asked.append(sha) or []
    )
    with pytest.raises(CommandExecutionError, match=f"mitx-qa recorded {NEW}, which neither"):
        Room("mitx_release.release", a_run(settings)).proof()
    assert asked == [NEW]
