"""A real browser for what people look at; where there is none, those tests say that they were
skipped."""

import os
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
needed = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: apt-get install chromium-headless-shell"
)
SIZES = {"phone": (320, 568), "tablet": (768, 1024), "desktop": (1440, 900)}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(chromium):
    """``show(html, size="desktop", scheme="light", …)``: a browser's page with it."""
    contexts = []

    def load(html, size="desktop", scheme="light", **options):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.set_content(html)
        return page

    yield load
    for context in contexts:
        context.close()


def violations(page):
    """What axe-core finds in a page, in words."""
    result = Axe().run(page)
    assert len(result.response["passes"]) > 5
    return [f"{one['id']}: {one['help']}" for one in result.response["violations"]]


def overflow(page):
    """By how many pixels a page is wider than its window."""
    return page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
