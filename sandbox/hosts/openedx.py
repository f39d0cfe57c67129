"""
The Open edX stand-in: ``lms``, ``cms`` and ``gitreload``, each a web process on a unix socket
behind ``nginx``.

``/heartbeat`` answers 200 (JSON) whatever the schema, 503 when a database is missing. Every other
path is a page: 500 with a plain sentence when the code's migrations are not exactly those of the
purpose's databases, else 200. Every answer names the code that the process runs
(``X-Open-edX-Release: <codename>@<commit>``), its host and when that was last configured. lms and
cms push a job to the purpose's queue every two seconds, as visitors' doings would, while their
pages work.

Run by supervisord (gitreload by init): ``python -s -S -m sandbox.hosts.openedx lms``.
"""

import html
import json
import sys
import time

from sandbox.hosts import databases, process, queue, web

JOB_SECONDS = 2
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{purpose} of {environment} runs {release}.</p></body></html>
"""
TITLES = {"lms": "MITx Residential", "cms": "MITx Studio", "gitreload": "gitreload"}


class Page(web.Handler):
    """Answers of lms, cms and gitreload."""

    def answer(self):
        """A fault if there is one, else heartbeat or page."""
        path = self.path.partition("?")[0]
        fault = self.server.process.fault("web", path=path) or {}
        time.sleep(fault.get("delay", 0))
        if "status" in fault:
            self.reply(fault["status"], fault.get("text", "as the fault says\n"))
        elif path.rstrip("/") == "/heartbeat":
            self.heartbeat()
        else:
            self.page()

    def heartbeat(self):
        """Whether the databases are there, as Open edX says it."""
        try:
            mismatch(self.server.process)
            status, said = 200, "OK"
        except databases.Missing as err:
            status, said = 503, str(err)
        body = {
            "modulestore": {"status": True, "message": "OK"},
            "sql": {"status": status == 200, "message": said},
        }
        body["release"] = self.server.process.facts["release"]
        self.reply(status, json.dumps(body), "application/json")

    def page(self):
        """A page of the site, or why there is none."""
        me = self.server.process
        try:
            problem = mismatch(me)
        except databases.Missing as err:
            problem = str(err)
        facts = {**me.host, "title": TITLES[me.facts["process"]], "release": me.facts["release"]}
        if problem:
            self.reply(
                500, f"{me.facts['process']} with {me.facts['release']}: {problem}\n", "text/plain"
            )
        else:
            self.reply(
                200, PAGE.format(**{key: html.escape(str(value)) for key, value in facts.items()})
            )

    def reply(self, status, body, content_type="text/html; charset=utf-8"):
        """Send an answer that says who gave it."""
        me = self.server.process
        headers = [
            ("X-Open-edX-Release", me.facts["release"]),
            ("X-Open-edX-Host", me.facts["name"]),
        ]
        headers += [("X-Open-edX-Process", me.facts["process"])]
        headers += [("X-Open-edX-Configured", me.configured)] if me.configured else []
        self.send(status, body, content_type, headers)


def mismatch(me):
    """
    What keeps a process's code from working on its purpose's databases, or None. Missing when one
    is not there.
    """
    return databases.mismatch(me.sandbox, me.host["purpose"], me.release["migrations"])


def push_job(me):
    """One job, if visitors can do anything at all."""
    try:
        if me.facts["process"] != "gitreload" and not mismatch(me):
            queue.push(
                me.sandbox, me.host["purpose"], by=f"{me.facts['name']} {me.facts['process']}"
            )
    except databases.Missing:
        pass


def main(name):
    """Run one of the web processes until told to end."""
    with process.life(name) as me:
        web.UnixServer(me.socket(), Page, me).serve(JOB_SECONDS, lambda: push_job(me))


if __name__ == "__main__":
    main(sys.argv[1])
