"""What pillar_examples/external_auth.conf allows a colleague, and what not, on a real master."""

import subprocess
import sys

import pytest

from tests.support.lab import BIN


@pytest.fixture
def colleague(lab, pillar):
    """``colleague(command, …)``: exit status and output of the colleague's ``salt-run``."""
    lab.own_pillar(pillar)

    def run(*command):
        done = subprocess.run(
            [
                sys.executable,
                str(BIN / "salt-run"),
                "--config-dir",
                lab.master.config_dir,
                # Whoever says that he is ann, is: what is tried is what she may do.
                *("-a", "auto", "--username", "ann", "--password", "x"),
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_a_colleague_may_look(colleague):
    assert "begins in" in colleague("mitx.status")


@pytest.mark.parametrize(
    "command",
    [
        ["mitx.window"],
        ["mitx.retire", "force=True"],
        ["mitx.approve"],
        ["state.orchestrate", "orchestrate.mitx.window"],
        ["salt.cmd", "mitx_run.get_settings"],
    ],
    ids=lambda command: command[0],
)
def test_and_may_do_nothing_else(colleague, tmp_path, command):
    said = colleague(*command)
    assert "Authentication failure" in said or "not authorized" in said.lower(), said
    # No run has begun.
    assert list(tmp_path.rglob("journal.jsonl")) == []
