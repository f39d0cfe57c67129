"""The night on one screen: what it shows in each state, in the width of the terminal."""

import importlib
import re

import pytest

from tests.support.held import held

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def screen(mitx, monkeypatch):
    """``screen(*lines, width=80, locked=None, told="")``: the screen of such a run, as lines."""

    def draw(*lines, width=80, locked=None, told=""):
        loaded = mitx(retire={"after": 48, "nothing_to_save": True})
        modules = loaded.modules
        for phase, status, *seconds in lines:
            modules["mitx_run.events.write"](
                "phase", phase=phase, status=status, seconds=(seconds or [None])[0]
            )
        monkeypatch.setattr("mitx_run.lock.locked_by", lambda run: locked)
        if told:
            modules["mitx_run.progress.say"](told)
        begun = modules["mitx_run.record.read"]()
        seen = modules["mitx_upgrade.screen.look"](begun)
        text = modules["mitx_upgrade.screen.draw"](seen, "see the site (6 names)", width)
        return ANSI.sub("", text).splitlines() if text else text

    return draw


@pytest.mark.parametrize("width", [80, 120])
def test_a_night_under_way_fits_the_terminal_and_says_what_matters(screen, width):
    lines = screen(
        ("preflight", "started"),
        ("preflight", "finished", 12.4),
        ("announce", "started"),
        width=width,
        locked=held("announce"),
        told="  waiting for Queues, 12 s: 105 jobs [live]",
    )
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "running: upgrade r announce, by ann" in " ".join(text.split())
    assert "see the site (6 names)" in text
    assert "105 jobs [live]" in text
    assert "nothing to type" in text
    assert "begins in" in text
    assert re.search(r"preflight +\d\d:\d\d:\d\d +12 s", text)
    assert re.search(r"announce +\d\d:\d\d:\d\d +\d s", text)
    assert [line.split()[0] for line in lines[-18:]][:3] == ["preflight", "announce", "rebase"]
    # All phases, on a small terminal too.
    assert len(lines) <= 30


def test_what_was_told_before_is_not_what_is_done_now(screen):
    text = "\n".join(screen(("preflight", "failed", 3), told="  waiting for nothing any more"))
    assert "nothing any more" not in text
    assert "failed: preflight" in text
    assert "salt-run state.orchestrate orchestrate.mitx.prepare" in " ".join(text.split())


def test_without_rich_there_is_no_screen(screen, monkeypatch):
    monkeypatch.setattr(importlib.import_module("mitx_upgrade.screen"), "rich", None)
    assert screen() is None
