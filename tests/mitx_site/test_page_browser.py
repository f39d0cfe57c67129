"""
The maintenance page in a real browser: readable for everybody, harmless, and gone when the site is
back.
"""

import contextlib
import http.server
import pathlib
import threading

import pytest
from playwright.sync_api import TimeoutError

from tests.support import browser
from tests.support.browser import SIZES

pytestmark = browser.needed
FUNCTION = pathlib.Path(__file__).resolve().parents[2] / "docs" / "maintenance_function.js"
HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "attribute": "\"><img src=x onerror='window.pwned = 1'>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "10 kB": "we wait " + "<&\"'>" * 2048,
    "one word of 10 kB": "we " + "x" * 10_240,
    "emoji": "we celebrate 🎉👩‍🔬🇺🇸 and move",
    "right to left": "we שדרוג المنصة ‮gnitepmoc‬ upgrade",
}


@pytest.fixture
def render(mitx):
    """``render(until=None, unannounced=False, **settings)``: the page as HTML."""

    def html(until=None, unannounced=False, **overrides):
        loaded = mitx(**overrides)
        return loaded.modules["mitx_site.page.render"](loaded.settings, until, unannounced)

    return html


class Web(threading.Thread):
    """A web server whose answer a test can change: ``status``, ``text``, ``headers``."""

    def __init__(self):
        super().__init__(daemon=True)
        self.status, self.text, self.headers, self.paths = 503, "", {}, []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 the library's name
                web.paths.append(self.path)
                self.send_response(web.status)
                for name, value in {
                    "Content-Type": "text/html; charset=utf-8",
                    **web.headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(web.text.encode())

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/courses/x?y=1"

    def run(self):
        self.server.serve_forever(poll_interval=0.05)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web():
    server = Web()
    server.start()
    yield server
    server.stop()


def variants(render):
    return {
        "announced": render(),
        "overrun": render(until="02:30"),
        "unannounced": render(unannounced=True),
        "hostile": render(window={"reason": HOSTILE["10 kB"], "contact": HOSTILE["attribute"]}),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_at_any_size(render, show, scheme):
    found = {}
    for variant, html in variants(render).items():
        for size in SIZES:
            page = show(html, size, scheme)
            # Shown too late to be seen by axe otherwise.
            page.evaluate(
                "() => { const late = document.getElementById('late'); if (late) late.hidden ="
                " false; }"
            )
            if wrong := browser.violations(page):
                found[variant, size] = wrong
    assert found == {}


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_cut_off_or_needs_sideways_scrolling(render, show, size):
    for variant, html in variants(render).items():
        page = show(html, size)
        assert browser.overflow(page) == 0, variant
        left = page.locator("main").bounding_box()
        assert left["x"] >= 0, variant
        assert left["y"] >= 0, variant
        assert left["x"] + left["width"] <= SIZES[size][0], variant


def test_text_can_be_twice_as_large_on_a_phone(render, show):
    page = show(render(), "phone")
    page.add_style_tag(content="html { font-size: 200% }")
    assert browser.overflow(page) == 0


def test_dark_mode_is_dark(render, show):
    background = (
        "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0,"
        " 3).map(Number)"
    )
    assert max(show(render(), scheme="dark").evaluate(background)) < 60
    assert min(show(render(), scheme="light").evaluate(background)) > 200


def test_it_says_what_why_since_when_until_when_and_whom_to_ask(render, show):
    page = show(render())
    assert page.title() == "Down for maintenance – Residential MITx"
    text = page.inner_text("main")
    assert "Residential MITx is down for maintenance" in text
    assert "while we perform routine upgrades" in text
    assert "lms-next-qa.mitx.mit.edu" in text
    assert "MIT’s local time" in text
    since, until = page.locator("time").all()
    assert since.get_attribute("datetime") == "2099-12-20T21:00:00-05:00"
    assert since.inner_text() == "9:00 PM EST on Sunday, December 20, 2099"
    assert until.get_attribute("datetime") == "2099-12-21T01:00:00-05:00"
    assert page.get_attribute("a", "href") == "mailto:mitx-support@mit.edu"
    assert page.evaluate("() => document.documentElement.hasAttribute('data-mitx-maintenance')")


def test_an_overrun_is_said(render, show):
    page = show(render(until="02:30"))
    assert "longer than announced" in page.inner_text("main")
    assert page.locator("#until").get_attribute("datetime") == "2099-12-21T02:30:00-05:00"


@pytest.mark.parametrize("reason", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_reason_is_only_text(render, show, reason):
    html = render(window={"reason": reason, "contact": reason})
    page = show(html)
    assert page.evaluate("() => window.pwned") is None
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    shown = page.locator("p bdi").inner_text()
    assert " ".join(reason.split())[:150] in " ".join(shown.split())
    # What is isolated in <bdi> turns nothing around it: the sentence still ends with its full stop.
    assert page.locator("p").first.inner_text().endswith(".")
    assert len(html.encode()) <= 30_000


def test_the_page_is_small_and_loads_nothing_else(render, chromium, web):
    web.text = render()
    assert len(web.text.encode()) <= 30_000
    context = chromium.new_context()
    page, requests = context.new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(web.url, wait_until="networkidle")
    assert requests == [web.url]
    context.close()


@pytest.fixture
def visit(chromium, web):
    """``visit(html)``: a visitor who got that page with 503, and whose clock the test turns."""
    contexts = []

    def go(html, now="2099-12-21T03:00:00Z"):
        web.text = html
        context = chromium.new_context()
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.clock.install(time=now)
        page.goto(web.url)
        return page

    yield go
    for context in contexts:
        context.close()


def look_again(page, web):
    """Let the page's clock run until it has asked the server once more."""
    for _ in range(100):
        # The next timer is set once the answer before has been read, which may be after the clock
        # was advanced.
        with contextlib.suppress(TimeoutError), page.expect_response(web.url, timeout=200):
            page.clock.run_for(80_000)
            return
    pytest.fail("the page has not asked the server again")


def test_the_page_stays_while_the_page_is_what_the_server_gives(render, visit, web):
    page = visit(render())
    page.evaluate("() => { window.here = true }")
    look_again(page, web)
    look_again(page, web)
    assert page.evaluate("() => window.here") is True
    assert "need not reload" in page.inner_text("#looks")


def test_the_visitor_is_taken_to_the_site_when_it_is_back(render, visit, web):
    page = visit(render())
    web.status, web.text = 200, "<title>MITx</title><h1>Welcome back</h1>"
    page.clock.run_for(80_000)
    page.wait_for_selector("text=Welcome back")
    assert page.url == web.url


def test_a_site_that_redirects_is_back_too(render, visit, web):
    page = visit(render())
    web.status, web.headers = 302, {"Location": "/login"}
    with page.expect_request("**/login"):
        page.clock.run_for(80_000)


def test_a_site_that_fails_is_not_back(render, visit, web):
    page = visit(render())
    page.evaluate("() => { window.here = true }")
    web.status, web.text = 502, "Bad gateway"
    look_again(page, web)
    assert page.evaluate("() => window.here") is True


def test_a_new_end_shows_without_reloading_by_hand(render, visit, web):
    page = visit(render())
    web.text = render(until="02:30")
    page.clock.run_for(80_000)
    page.wait_for_selector("text=2:30 AM EST")


def test_after_the_announced_end_the_page_admits_it(render, visit, web):
    page = visit(render(), now="2099-12-21T05:59:30Z")
    assert page.locator("#late").is_hidden()
    look_again(page, web)
    assert page.locator("#late").is_visible()


def test_without_javascript_the_page_reads_well_and_reloads(render, chromium, web):
    web.text = render()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(web.url)
    assert "Residential MITx is down for maintenance" in page.inner_text("main")
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "120"
    context.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("uri", ["/", "/index.html", "/api/user/v1/me"])
def test_the_documented_function_leaves_no_path_that_answers_200(chromium, method, uri):
    """CloudFront runs it, not a browser; but its JavaScript is the same."""
    page = chromium.new_page()
    request = {"method": method, "uri": uri, "querystring": {"a": {"value": "b"}}, "headers": {}}
    answer = page.evaluate(
        f"(event) => {{ {FUNCTION.read_text()}; return handler(event); }}", {"request": request}
    )
    page.close()
    if method in ("GET", "HEAD"):
        # To the bucket, under a name that is not there: its 403 becomes 503 with the page.
        assert (answer["uri"], answer["querystring"]) == ("/maintenance", {})
    else:
        assert answer["statusCode"] == 503
        assert answer["headers"]["retry-after"]["value"].isdigit()
        assert "data-mitx-maintenance" in answer["body"]["data"]
    assert len(FUNCTION.read_bytes()) < 10_000
