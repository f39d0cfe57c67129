"""
What the run has come to, told to a chat and to the monitoring: against a real HTTP server, and with
addresses and keys nowhere else.
"""

import datetime
import json

import pytest
from salt.exceptions import CommandExecutionError

KEYS = {"api_key": "dd-api-key", "application_key": "dd-app-key"}
SCOPE = "environment:mitx-qa"


@pytest.fixture
def notify(mitx, post_server):
    """``notify(test=False)``: the package that tells this server both."""

    def load(test=False, **changed):
        found = {
            "chat": {"webhook": f"{post_server.url}/services/T0/B0/secret"},
            "downtime": {"url": post_server.url, "scope": SCOPE, **KEYS},
            **changed,
        }
        return mitx(test=test, notify=found)

    return load


def tell(loaded, phase, status, **more):
    return loaded.modules["mitx_site.tell"](phase, status, **more)


def test_a_chat_hears_what_matters_in_a_night(notify, post_server):
    loaded = notify(downtime={})
    tell(loaded, "preflight", "started")
    tell(loaded, "close", "started")
    tell(loaded, "stop", "failed", error="edx-0 did not stop\nmore of it")
    tell(loaded, "verify", "waiting", command="salt-run mitx.approve")
    tell(loaded, "open", "finished")
    assert [body["text"] for path, body, _ in post_server.posts] == [
        "Residential MITx, mitx-qa: close started",
        "Residential MITx, mitx-qa: stop failed: edx-0 did not stop",
        "Residential MITx, mitx-qa: verify waiting for salt-run mitx.approve",
        "Residential MITx, mitx-qa: open finished",
    ]
    assert {path for path, _, _ in post_server.posts} == {"/services/T0/B0/secret"}


@pytest.mark.parametrize("end", ["open", "rollback"])
def test_the_monitoring_has_a_downtime_from_close_until_the_site_is_back(notify, post_server, end):
    loaded = notify(chat={})
    for phase, status in (("announce", "finished"), ("close", "started"), ("stop", "failed")):
        tell(loaded, phase, status)
    [(path, body, headers)] = post_server.posts
    assert path == "/api/v1/downtime"
    assert body["scope"] == [SCOPE]
    start = datetime.datetime(2099, 12, 21, 2, tzinfo=datetime.timezone.utc)
    assert (body["start"], body["end"]) == (start.timestamp(), start.timestamp() + 4 * 3600)
    assert headers["DD-API-KEY"] == KEYS["api_key"]
    assert headers["DD-APPLICATION-KEY"] == KEYS["application_key"]
    tell(loaded, end, "finished")
    assert post_server.posts[1:] == [
        ("/api/v1/downtime/cancel/by_scope", {"scope": SCOPE}, post_server.posts[-1][2])
    ]


def test_a_dry_run_posts_nothing_and_says_what_it_would(notify, post_server):
    told = tell(notify(), "close", "started", test=True)
    assert told == {"chat": "Residential MITx, mitx-qa: close started", "downtime": "begin"}
    assert post_server.posts == []


def test_where_nothing_is_configured_nobody_is_told(mitx):
    assert tell(mitx(), "close", "started") == {"chat": None, "downtime": None}


def test_one_that_cannot_be_told_keeps_the_other_from_nothing_and_no_secret_is_said(
    notify, post_server, tmp_path
):
    loaded = notify(chat={"webhook": "http://127.0.0.1:9/services/T0/B0/secret"})
    with pytest.raises(CommandExecutionError) as told:
        tell(loaded, "close", "started")
    assert "notify:chat could not be told" in str(told.value)
    assert [path for path, _, _ in post_server.posts] == ["/api/v1/downtime"]
    post_server.status = 403
    with pytest.raises(CommandExecutionError) as refused:
        tell(loaded, "open", "finished")
    assert "notify:downtime could not be told: status 403" in str(refused.value)
    written = "".join(path.read_text() for path in loaded.run_dir.rglob("*") if path.is_file())
    for secret in ("B0/secret", *KEYS.values()):
        assert secret not in f"{told.value} {refused.value} {written}"
    shown = json.dumps(loaded.modules["mitx_run.get_settings"]())
    assert not [secret for secret in ("B0/secret", *KEYS.values()) if secret in shown]


def test_half_of_a_downtime_is_refused_with_its_path(notify, post_server):
    with pytest.raises(CommandExecutionError, match="notify:downtime: api_key, application_key"):
        notify(downtime={"url": post_server.url, "scope": SCOPE})
