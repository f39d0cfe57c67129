"""What a runner function prints on a terminal: in columns, and what is pasted on one line."""

import os
import pathlib
import shutil
import sys

import pytest
import salt.config
import salt.loader

RUNNERS = pathlib.Path(__file__).resolve().parents[2] / "_runners"
COMMAND = "salt-run state.orchestrate orchestrate.mitx.window pillar='{mitx: {until: stop}}'"
NAMES = "Visitors of lms.mitx.mit.edu, studio.mitx.mit.edu, preview.mitx.mit.edu see the page"


@pytest.fixture
def screen(monkeypatch):
    """``screen(data, columns)``: what is printed on a terminal so wide; None: on no terminal."""
    opts = salt.config.DEFAULT_MASTER_OPTS.copy() | {"runner_dirs": [str(RUNNERS)]}
    runners = salt.loader.runner(opts)
    module = sys.modules[runners["mitx.status"].func.__module__]

    def printed(data, columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None)
        size = os.terminal_size((columns or 80, 24))
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: size)
        return runners["mitx.status"].loader.run(module._screen, data).splitlines()

    return printed


def test_a_sentence_is_wrapped_below_its_label_and_a_command_stays_on_its_line(screen):
    lines = screen({"true_now": [NAMES, "5 hosts"], "empty": "", "next": COMMAND}, 70)
    assert lines[0].startswith("true now  Visitors of lms.mitx.mit.edu, ")
    assert all(line.startswith(" " * 10) for line in lines[1:-1])
    assert " ".join(line.strip() for line in lines[1:-1]).endswith("see the page 5 hosts")
    assert max(map(len, lines[:-1])) <= 70
    assert lines[-1] == f"next      {COMMAND}"


def test_a_command_within_a_sentence_stays_on_its_line(screen):
    text = f"close: AWS did not answer, nothing was changed. Look, and run it again: {COMMAND}"
    assert screen({"failed": text}, 70) == [f"failed  {text}"]


def test_where_nobody_looks_and_where_there_is_no_room_nothing_is_wrapped(screen):
    for columns in (None, 45):
        assert screen({"true_now": NAMES}, columns) == [f"true now  {NAMES}"]
