"""Publishing the maintenance page: once, undoable, and never in the way of the window."""

import pathlib

import pytest

pytest_plugins = ["tests.support.maintenance"]

HEAD, OLD, PUT = "s3.head_object", "s3.get_object", "s3.put_object"
INVALIDATE, POLL = "cloudfront.create_invalidation", "cloudfront.get_invalidation"


def published(mitx, **kwargs):
    return mitx.states["mitx_site.page_published"]("maintenance page", **kwargs)


def body(site):
    return site.page()["Body"].read().decode()


def without_polls(calls):
    return [call for call in calls if call != POLL]


def test_the_first_page_is_three_calls_and_polls(site, load):
    ret = published(load())
    assert ret["result"] is True, ret
    assert without_polls(site.calls()) == [HEAD, PUT, INVALIDATE]
    page = site.page()
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert page["CacheControl"] == "no-cache, max-age=0"
    assert "9:00 PM EST on Sunday, December 20, 2099" in page["Body"].read().decode()


def test_the_same_page_again_is_one_head(site, load):
    published(load())
    site.aws.clear_calls()
    ret = published(load())
    assert (ret["result"], ret["changes"]) == (True, {})
    assert site.calls() == [HEAD]


def test_a_page_whose_old_copies_were_not_invalidated_is_not_done(site, load):
    """
    Killed, or denied, between the two: the bucket has the page, CloudFront shows the one before for
    as long as it likes.
    """
    fault = site.aws.fault(
        operation="create_invalidation", error="AccessDenied", status=403, times=1
    )
    assert published(load())["result"] is False
    assert fault
    site.aws.clear_calls()
    dry = published(load(test=True))
    assert (dry["result"], list(dry["changes"])) == (None, ["invalidation"])
    ret = published(load())
    assert (ret["result"], list(ret["changes"])) == (True, ["invalidation"])
    assert without_polls(site.calls()) == [HEAD, HEAD, INVALIDATE]
    site.aws.clear_calls()
    assert published(load())["changes"] == {}
    assert site.calls() == [HEAD]


def test_another_page_is_four_calls_and_polls_and_keeps_the_one_before(site, load):
    published(load())
    before = body(site)
    site.aws.clear_calls()

    ret = published(load(window={"reason": "we move to Koa"}))

    assert ret["result"] is True, ret
    assert without_polls(site.calls()) == [HEAD, OLD, PUT, INVALIDATE]
    assert "we move to Koa" in body(site)
    [kept] = (load().run_dir / "mitx-qa" / "testrun" / "output" / "page").glob("*.html")
    assert str(kept) in ret["comment"]
    assert kept.read_text() == before


def test_a_dry_run_says_what_would_change_and_writes_nothing(site, load):
    ret = published(load(test=True))
    assert ret["result"] is None
    assert ret["changes"]["start"] == {"old": None, "new": "2099-12-21T02:00:00Z"}
    assert site.page() is None
    assert site.writes() == []


def test_a_page_that_somebody_else_put_there_is_replaced_and_kept(site, load):
    site.aws.client("s3").put_object(
        Bucket="upgrading.mitx.mit.edu", Key="index.html", Body=b"<h1>Gone fishing</h1>"
    )
    mitx = load()
    assert published(mitx)["result"] is True
    [kept] = (mitx.run_dir / "mitx-qa" / "testrun" / "output" / "page").glob("*.html")
    assert kept.read_text() == "<h1>Gone fishing</h1>"


def test_a_page_that_comes_damaged_is_not_replaced_before_it_is_kept(site, load):
    """What S3 sends does not have the checksum that it says it has."""
    site.aws.client("s3").put_object(
        Bucket="upgrading.mitx.mit.edu", Key="index.html", Body=b"<h1>Gone fishing</h1>"
    )
    fault = site.aws.fault(operation="get_object", rewrite={"Gone": "Come"}, times=None)
    ret = published(load())
    assert ret["result"] is False
    assert ret["comment"].startswith("s3.get_object of upgrading.mitx.mit.edu: Expected checksum")
    site.aws.clear_faults(fault["id"])
    assert body(site) == "<h1>Gone fishing</h1>"
    assert published(load())["result"] is True
    assert "Gone fishing" not in body(site)


def test_an_overrun_is_published_in_the_middle_of_the_window(site, load):
    published(load())
    ret = published(load(), until="02:30")
    assert ret["result"] is True, ret
    assert "2:30 AM EST on Monday, December 21, 2099" in body(site)
    assert "longer than announced" in body(site)


def test_an_announced_overrun_survives_the_next_publication(site, load):
    published(load())
    published(load(), until="02:30")
    site.aws.clear_calls()
    # `close`, run again by an engineer who knows nothing of until=: the page must not promise 1 AM
    # again.
    assert published(load())["changes"] == {}
    assert site.calls() == [HEAD]
    assert "2:30 AM EST" in body(site)


def test_another_window_forgets_the_overrun_of_the_one_before(site, load):
    published(load(), until="02:30")
    published(load(window={"start": "2099-12-27 21:00"}))
    assert "2:30 AM" not in body(site)
    assert "December 27, 2099" in body(site)


def test_an_overrun_that_is_past_by_now_is_still_shown(site, load, monkeypatch):
    mitx = load(window={"start": "2020-12-20 21:00"})
    site.aws.client("s3").put_object(
        Bucket="upgrading.mitx.mit.edu",
        Key="index.html",
        Body=b"the page",
        Metadata={
            "mitx-start": "2020-12-21T02:00:00Z",
            "mitx-end": "2020-12-21T06:00:00Z",
            "mitx-until": "2020-12-21T07:30:00Z",
        },
    )
    assert published(mitx)["result"] is True
    assert "2:30 AM EST on Monday, December 21, 2020" in body(site)


def test_a_sentence_of_ones_own_is_on_the_page_and_never_markup(site, load):
    published(load(maintenance={"note": "What was submitted\n is <b>kept</b>.\x07"}))
    assert "What was submitted is &lt;b&gt;kept&lt;/b&gt;." in body(site)
    assert "\x07" not in body(site)
    assert published(load())["changes"]
    assert "submitted" not in body(site)


def test_unannounced_maintenance_says_nothing_of_the_window(site, load):
    published(load())
    ret = published(load(), unannounced=True)
    assert ret["result"] is True, ret
    assert "2099" not in body(site)
    assert "routine upgrades" not in body(site)
    assert "down for maintenance" in body(site)
    site.aws.clear_calls()
    assert published(load(), unannounced=True)["changes"] == {}
    assert site.calls() == [HEAD]


def test_an_until_in_the_past_publishes_nothing(site, load):
    published(load())
    before = body(site)
    ret = published(load(), until="2019-01-01 10:00")
    assert ret["result"] is False
    assert "already past" in ret["comment"]
    assert body(site) == before


def test_a_stuck_invalidation_is_told_and_fails_nothing(site, load):
    site.aws.fault(service="cloudfront", operation="create_invalidation", outcome="pending")
    ret = published(load(maintenance={"invalidation_timeout": 0.3}))
    assert ret["result"] is True, ret
    assert "last state: InProgress" in ret["comment"]
    assert "visitors may see the old one" in ret["comment"]
    assert "2099" in body(site)


@pytest.mark.parametrize("code", ["Throttling", "TooManyInvalidationsInProgress"])
def test_a_refused_invalidation_is_told_and_fails_nothing(site, load, code):
    site.aws.fault(
        service="cloudfront", operation="create_invalidation", error=code, status=400, times=None
    )
    ret = published(load())
    assert ret["result"] is True, ret
    assert code in ret["comment"]
    assert "2099" in body(site)


def test_a_403_with_an_empty_code_on_invalidating_is_told_as_missing_permission(site, load):
    site.aws.fault(
        service="cloudfront", operation="create_invalidation", error="", status=403, times=None
    )
    ret = published(load())
    assert ret["result"] is False
    assert "The page is published" in ret["comment"]
    assert "credentials do not allow it" in ret["comment"]


def test_s3_slowdown_is_outlasted(site, load):
    site.aws.fault(service="s3", operation="put_object", error="SlowDown", status=503, times=1)
    assert published(load())["result"] is True


def test_s3_slowdown_beyond_retries_leaves_the_page_and_the_next_try_succeeds(site, load):
    published(load())
    before = body(site)
    fault = site.aws.fault(
        service="s3", operation="put_object", error="SlowDown", status=503, times=None
    )
    site.aws.clear_calls()

    ret = published(load(window={"reason": "we move to Koa"}))
    assert ret["result"] is False
    assert "SlowDown" in ret["comment"]
    assert ret["changes"] == {}
    assert body(site) == before
    assert INVALIDATE not in site.calls()

    site.aws.clear_faults(fault["id"])
    assert published(load(window={"reason": "we move to Koa"}))["result"] is True
    assert "we move to Koa" in body(site)


BAD_TEMPLATES = {
    "syntax": ("<html {{ marker }}='1'>{% if %}", "TemplateSyntaxError"),
    "unknown name": ("<html {{ marker }}='1'>{{ windwo.start }}", "'windwo' is undefined"),
    "no marker": ("<html><h1>Down</h1>", "does not carry data-mitx-maintenance"),
    "marker only in the text": ("<html>data-mitx-maintenance=", "does not carry"),
    "too large": ("<html {{ marker }}='1'>{{ 'x' * 31000 }}", "must not have more than 30000"),
    "reaches out": (
        "<html {{ marker }}='1'>{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "SecurityError",
    ),
    "fails": ("<html {{ marker }}='1'>{{ 1 / 0 }}", "ZeroDivisionError"),
    "for ever": ("<html {{ marker }}='1'>{% for x in range(10**9) %}{% endfor %}", "OverflowError"),
}


@pytest.mark.parametrize(("source", "said"), BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_a_hostile_template_leaves_the_published_page_as_it_was(site, load, tmp_path, source, said):
    published(load())
    before = body(site)
    site.aws.clear_calls()
    template = tmp_path / "bad.jinja"
    template.write_text(source)

    ret = published(load(maintenance={"template": str(template)}))

    assert ret["result"] is False
    assert said in ret["comment"]
    assert "Nothing was published" in ret["comment"]
    assert str(template) in ret["comment"]
    assert body(site) == before
    assert site.writes() == []


def test_a_template_that_is_not_there_is_named(load):
    ret = published(load(maintenance={"template": "salt://nowhere.jinja"}))
    assert ret["result"] is False
    assert "salt://nowhere.jinja" in ret["comment"]


def test_an_environment_can_bring_its_own_page(site, load, tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text(
        "<!doctype html><html {{ marker }}='{{ version }}'><p>{{ reason }} until {{ window.end_text"
        " }}</p></html>"
    )
    assert (
        published(load(maintenance={"template": str(template)}, window={"reason": "<b>x</b>"}))[
            "result"
        ]
        is True
    )
    assert "we perform &lt;b&gt;x&lt;/b&gt; until 1:00 AM EST" in body(site)


def test_a_marker_that_is_no_attribute_is_refused(site, load):
    ret = published(load(maintenance={"marker": 'x" onload="alert(1)'}))
    assert ret["result"] is False
    assert "maintenance.marker" in ret["comment"]
    assert site.writes() == []


def test_the_preview_is_a_file_and_publishes_nothing(site, load):
    mitx = load()
    path = mitx.modules["mitx_site.page.preview"](mitx.settings)
    assert "December 20, 2099" in pathlib.Path(path).read_text()
    assert site.calls() == []
