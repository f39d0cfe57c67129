"""
Telling others what the run does: a chat, and whoever would be paged by the monitoring
======================================================================================

For the master's reactor (``pillar_examples/reactor.conf``), which gives every event of a run to
``salt-run mitx.tell``: the run itself never waits for a chat. Pillar ``notify``::

    notify:
      chat: {webhook: https://hooks.slack.com/services/…}    # an incoming webhook, Slack's say
      downtime:                                               # Datadog's API
        url: https://api.datadoghq.com
        api_key: …
        application_key: …
        scope: environment:mitx-qa

The addresses and keys are written nowhere: not into the journal, not into an error, not into an
event.

:depends: urllib3

source: https://docs.datadoghq.com/api/latest/downtimes/
"""

import datetime
import json

import urllib3
from salt.exceptions import CommandExecutionError

from mitx_run import journal, window

# Seconds.
_TIMEOUT = 20

# (phase, status) of which a chat is told beside every failure and every wait for a human.
_TOLD = (
    ("close", "started"),
    ("migrate", "started"),
    ("open", "finished"),
    ("rollback", "started"),
    ("rollback", "halted"),
    ("rollback", "finished"),
    ("retire", "finished"),
)

_BEGINS, _ENDS = (("close", "started"),), (("open", "finished"), ("rollback", "finished"))


def plan(run, line):
    """
    Return what would be told of a line of the journal about a phase: ``{chat: text or None,
    downtime: "begin", "end" or None}``. Only what pillar has an address for.
    """
    phase, status = line["phase"], line["status"]
    notify = run.settings["notify"]
    told = (phase, status) in _TOLD or status in ("failed", "waiting")
    downtime = None
    if notify["downtime"]["url"]:
        downtime = (
            "begin" if (phase, status) in _BEGINS else "end" if (phase, status) in _ENDS else None
        )
    return {
        "chat": _text(run, line) if notify["chat"]["webhook"] and told else None,
        "downtime": downtime,
    }


def apply(run, planned):
    """
    Tell what :py:func:`plan` says. Raises ``CommandExecutionError`` with each of both that could
    not be told.
    """
    failures = []
    for what, post in (("chat", _post_chat), ("downtime", _post_downtime)):
        if planned[what]:
            try:
                post(run, planned[what])
            except CommandExecutionError as err:
                failures.append(str(err))
    if failures:
        raise CommandExecutionError("; ".join(failures))


def _text(run, line):
    name = run.settings["maintenance"].get("name") or "Residential MITx"
    words = {"failed": f": {_first(line.get('error'))}", "waiting": f" for {line.get('command')}"}
    said = f"{name}, {run.environment}: {line['phase']} {line['status']}"
    return said + words.get(line["status"], "")


def _first(error):
    return (str(error or "").splitlines() or ["no reason recorded"])[0][:300]


def _post_chat(run, text):
    _post(run, "chat", run.settings["notify"]["chat"]["webhook"], {"text": text})


def _post_downtime(run, what):
    settings = run.settings["notify"]["downtime"]
    headers = {"DD-API-KEY": settings["api_key"], "DD-APPLICATION-KEY": settings["application_key"]}
    url = settings["url"].rstrip("/")
    if what == "end":
        body = {"scope": settings["scope"]}
        _post(run, "downtime", f"{url}/api/v1/downtime/cancel/by_scope", body, headers)
        return
    times = window.times(run.settings["window"])
    body = {
        "scope": [settings["scope"]],
        "message": f"Announced maintenance, until {times['end_text']}",
        "start": _seconds(times["start_utc"]),
        "end": _seconds(times["end_utc"]),
    }
    _post(run, "downtime", f"{url}/api/v1/downtime", body, headers)


def _post(run, what, url, body, headers=None):
    sent = {"Content-Type": "application/json", **(headers or {})}
    with journal.gateway(run, "notify", change=True, operation=what, body=body):
        try:
            answer = urllib3.PoolManager(retries=False, timeout=_TIMEOUT).request(
                "POST", url, body=json.dumps(body).encode(), headers=sent
            )
        except (urllib3.exceptions.HTTPError, ValueError) as err:
            # Their texts hold the address, which is a secret.
            raise CommandExecutionError(
                f"notify:{what} could not be told: {type(err).__name__}"
            ) from None
        if not 200 <= answer.status < 300:
            raise CommandExecutionError(f"notify:{what} could not be told: status {answer.status}")


def _seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
