"""
Code and configuration on real minions: Ansible's recap believed only where it is this time's, one
commit everywhere.
"""

import datetime
import os
import re
import shutil
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.lab import RECAP, WEB, WORKER

BOTH = [WEB, WORKER]


@pytest.fixture
def log(lab):
    """``log(minion, text, age)``: Ansible's log of a host, written ``age`` seconds ago."""

    def write(minion, text, age=0):
        path = lab.hosts[minion].home / "tmp" / "ansible-log.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))

    for minion in BOTH:
        shutil.rmtree(lab.hosts[minion].home / "tmp", ignore_errors=True)
        write(minion, RECAP.format(failed=0))
    return write


def unconfigured(salt, **kwargs):
    return salt().modules["mitx_hosts.hosts.unconfigured"](BOTH, **kwargs)


def test_clean_recaps_are_clean(salt, log):
    assert unconfigured(salt) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (RECAP.format(failed=0) + RECAP.format(failed=1), "localhost: failed=1 unreachable=0"),
        ("PLAY [Configure] ***\n\nTASK [edxapp] ***\n", "there is no PLAY RECAP"),
        (
            RECAP.format(failed=0) + "\nERROR! the playbook: edx.yml could not be found\n",
            "goes on after its last PLAY RECAP",
        ),
        ("", "there is no PLAY RECAP"),
    ],
    ids=[
        "failed=1 after a clean one",
        "killed in the middle",
        "never began the second time",
        "empty log",
    ],
)
def test_a_host_that_ansible_has_not_configured_is_named(salt, log, text, told):
    log(WORKER, text)
    [problem] = unconfigured(salt)
    assert problem.startswith(f"{WORKER}: ")
    assert told in problem


def test_a_host_has_the_playbooks_that_its_own_pillar_names(salt, lab, log):
    """The settings know one for workers; the last recap says nothing of the one before."""

    def refresh():
        salt().modules["mitx_hosts.jobs.execute"](
            [WORKER], "saltutil.refresh_pillar", kwarg={"wait": True}
        )

    log(WORKER, RECAP.format(failed=1) + RECAP.format(failed=0))
    lab.pillar(None, playbooks=["edx-east/edxapp.yml", "edx-east/xqueue.yml"])
    try:
        refresh()
        [problem] = unconfigured(salt)
        # Salt 3008 masks the names.
        assert re.match(
            rf"{WORKER}: (edx-east/edxapp\.yml|playbook 1): localhost: failed=1", problem
        )
    finally:
        lab.pillar(None)
        refresh()
    assert unconfigured(salt) == []


def test_no_log_at_all_is_no_clean_recap(salt, lab, log):
    (lab.hosts[WEB].home / "tmp" / "ansible-log.txt").unlink()
    assert [line.partition(" (")[0] for line in unconfigured(salt)] == [
        f"{WEB}: there is no log: Ansible never ran"
    ]


def test_the_recap_that_an_image_brought_along_is_not_this_times(salt, log):
    log(WEB, RECAP.format(failed=0), age=3600)
    since = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    [problem] = unconfigured(salt, since=since)
    assert problem.startswith(f"{WEB}: nothing was logged since")


def test_configure_passes_the_runbooks_flags_and_its_failure_is_seen_in_the_recap_only(
    salt, lab, log
):
    for minion in BOTH:
        (lab.hosts[minion].home / "ansible").write_text(
            'echo "$1" > ~/flags; cat'
            f" <<EOF\n{RECAP.format(failed=int(minion == WORKER))}\nEOF\nexit 2\n"
        )
    loaded = salt()
    loaded.modules["mitx_hosts.hosts.configure"](BOTH)
    assert {(lab.hosts[m].home / "flags").read_text() for m in BOTH} == {
        "--tags install:configuration\n"
    }
    problems = loaded.modules["mitx_hosts.hosts.unconfigured"](
        BOTH, loaded.modules["mitx_hosts.hosts.last_configured"]()
    )
    assert problems == [f"{WORKER}: localhost: failed=1 unreachable=0"]


def test_the_bases_are_built_again_with_the_flags_of_the_build(salt, lab, log):
    (lab.hosts[WEB].home / "ansible").write_text('echo "$1" > ~/flags\n')
    salt(build={"run_migrations": True}).modules["mitx_hosts.hosts.highstate"]([WEB])
    assert (lab.hosts[WEB].home / "flags").read_text() == "-e migrate_db=yes\n"


@pytest.fixture
def origin(lab, tmp_path):
    """
    A bare origin with mitx/koa, checked out on both hosts; ``commit()`` pushes another commit and
    returns its sha.
    """
    bare, work = tmp_path / "origin.git", tmp_path / "work"

    def git(*words, cwd=work):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit():
        git("commit", "--allow-empty", "-m", "one more")
        git("push", "-q", "origin", "HEAD:mitx/koa")
        return git("rev-parse", "HEAD")

    git("init", "-q", "--bare", str(bare), cwd=tmp_path)
    git("clone", "-q", str(bare), str(work), cwd=tmp_path)
    commit()
    for minion in BOTH:
        home = lab.hosts[minion].home
        shutil.rmtree(home / "edx-platform", ignore_errors=True)
        git("clone", "-q", "-b", "mitx/koa", str(bare), str(home / "edx-platform"), cwd=tmp_path)
    return commit


def test_redeploy_puts_the_tip_on_every_host_and_reads_it_back(salt, lab, origin):
    modules = salt().modules
    before = modules["mitx_hosts.hosts.heads"](BOTH)
    tip = origin()
    (lab.hosts[WEB].home / "edx-platform" / "left-by-hand").touch()
    assert set(before.values()) != {tip}
    assert modules["mitx_hosts.hosts.redeploy"](BOTH) == dict.fromkeys(BOTH, tip)
    assert modules["mitx_hosts.hosts.heads"](BOTH) == dict.fromkeys(BOTH, tip)


def test_a_host_that_cannot_fetch_is_named_and_keeps_its_code(salt, lab, origin):
    config = lab.hosts[WORKER].home / "edx-platform" / ".git" / "config"
    config.write_text(config.read_text().replace("origin.git", "gone.git"))
    modules = salt().modules
    before = modules["mitx_hosts.hosts.heads"](BOTH)
    origin()
    with pytest.raises(
        CommandExecutionError,
        match=rf"redeploy mitx/koa: 1 of 2 .*\n  - {WORKER}: exit status 128.*gone.git",
    ):
        modules["mitx_hosts.hosts.redeploy"](BOTH)
    assert modules["mitx_hosts.hosts.heads"]([WORKER])[WORKER] == before[WORKER]


def test_a_deploy_on_another_day_finds_the_hosts_by_todays_date(salt):
    modules = salt().modules
    assert modules["mitx_hosts.hosts.launch_dates"]([WORKER]) == {WORKER: "2020-12-01"}
    modules["mitx_hosts.hosts.set_launch_date"](BOTH, "2026-12-20")
    assert modules["mitx_hosts.hosts.launch_dates"](BOTH) == dict.fromkeys(BOTH, "2026-12-20")
