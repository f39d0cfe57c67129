"""The report of a run in a real browser: on a phone, on a desk, on paper, for everybody."""

import pathlib
import shutil

import pytest

from tests.support import browser
from tests.support.browser import SIZES

pytestmark = browser.needed
RUN = pathlib.Path(__file__).resolve().parents[1] / "support" / "earlier_run"
ID = "20261127T102900Z-koa-95f812"


@pytest.fixture
def report(mitx, pillar):
    """The page of a real run that is in the middle of its window, and has failed once."""
    shutil.copytree(RUN, pathlib.Path(pillar["mitx"]["run_dir"]) / "mitx-qa" / ID)
    pillar["mitx"]["run"] = ID
    modules = mitx(begin=False).modules
    modules["mitx_run.events.write"]("phase", phase="stop", status="started")
    error = "queue of next-residential-live: 105 jobs, and " + "x" * 300
    modules["mitx_run.events.write"]("phase", phase="stop", status="failed", seconds=9, error=error)
    return pathlib.Path(modules["mitx_upgrade.report.save"]()).read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_everybody_can_read_it_at_any_size(report, show, size, scheme):
    page = show(report, size, scheme)
    assert browser.violations(page) == []
    assert browser.overflow(page) == 0


def test_on_paper_it_is_black_on_white_and_whole(report, show):
    page = show(report, "desktop", "dark")
    page.emulate_media(media="print", color_scheme="light")
    colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert colour in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert browser.overflow(page) == 0
    assert len(page.pdf()) > 10_000
