"""
A visitor who never sleeps: asks for every public hostname, many times a second, and judges every
answer.

``visitor.jsonl`` holds each answer, ``visitor-summary.json`` what they add up to, renewed every two
seconds and when it is told to stop. Nothing is asked twice: one refused connection is a violation.
"""

import asyncio
import contextlib
import json
import pathlib
import random
import signal
import ssl
import sys
import time

import sandbox.config
from sandbox.public import common, http, stub, verdict
from sandbox.public.summary import Summary, written

RATE = 25.0
ANSWER_SECONDS = 15
SUMMARY_SECONDS = 2
LAST_ANSWERS_SECONDS = 3
# After a stall (a machine of two cores has them) at most this much of the schedule is caught up
# with.
CATCH_UP_SECONDS = 5
PUBLIC_KINDS = ("lms", "cms", "preview")
MARKER = "data-mitx-maintenance"


class Visitor:
    """
    Visits ``hostnames``, ``rate`` times a second in all: each once in a round, every round in an
    order of its own.
    """

    def __init__(self, config, hostnames, rate=RATE, rollback=False):
        directory = pathlib.Path(config["directory"])
        self._log_path, self._summary_path = (
            directory / "visitor.jsonl",
            directory / "visitor-summary.json",
        )
        self._hostnames, self._period = hostnames, 1 / rate
        self._port, self._marker = config["ports"]["edge"], config.get("marker", MARKER)
        self._stub = stub.Stub(config["addresses"]["dns"], config["ports"]["dns"])
        self._tls = ssl.create_default_context(cafile=config["paths"]["ca"])
        # The purposes beside those that are upgraded: nobody touches them.
        control = [name for name in hostnames if "-current" in name]
        self._summary = Summary(hostnames, time.time(), rollback, control)
        self._visits = set()

    async def run(self, stop):
        """
        Visit until ``stop`` (an ``asyncio.Event``) is set; then wait a moment for the answers still
        due.
        """
        with open(self._log_path, "a", encoding="utf-8") as self._log:
            reports = asyncio.ensure_future(self._report())
            await self._ask_in_rounds(stop)
            reports.cancel()
            if self._visits:
                await asyncio.wait(self._visits, timeout=LAST_ANSWERS_SECONDS)
            # What was not answered by now was neither good nor bad.
            for visit in self._visits:
                visit.cancel()
            self._write_summary(finished=True)

    async def _ask_in_rounds(self, stop):
        due, rounds = time.monotonic(), rounds_of(self._hostnames)
        while not stop.is_set():
            visit = asyncio.ensure_future(self._visit(next(rounds)))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)
            due = max(due + self._period, time.monotonic() - CATCH_UP_SECONDS)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, due - time.monotonic()))

    async def _visit(self, host):
        answer = {
            "host": host,
            "target": None,
            "status": None,
            "release": None,
            "sent": time.time(),
        }
        try:
            place = await self._stub.resolve(host)
            answer["target"] = place.kind
            message = await asyncio.wait_for(self._fetch(host, place.address), ANSWER_SECONDS)
            answer["status"] = int(message.start[1])
            body = message.body.decode("utf-8", "replace")
            found = verdict.judge(answer["status"], message.header, body, self._marker)
        except Exception as err:  # Whatever a visitor would have met with.
            found = ("violation", None, _describe(err))
        answer["verdict"], answer["release"], answer["reason"] = found
        answer["received"] = time.time()
        answer["target"] = answer["target"] or "unknown"
        self._summary.add(answer)
        self._log.write(json.dumps(written(answer)) + "\n")
        self._log.flush()

    async def _fetch(self, host, address):
        reader, writer = await asyncio.open_connection(
            address, self._port, ssl=self._tls, server_hostname=host
        )
        try:
            headers = [
                ("Host", host),
                ("User-Agent", "sandbox-visitor"),
                ("Accept", "text/html"),
                ("Connection", "close"),
            ]
            writer.write(http.Message(["GET", "/", "HTTP/1.1"], headers).encode())
            return await http.read_response(reader)
        finally:
            writer.close()

    async def _report(self):
        while True:
            self._write_summary()
            await asyncio.sleep(SUMMARY_SECONDS)

    def _write_summary(self, finished=False):
        sandbox.config.write_json(self._summary_path, self._summary.as_dict(finished))


def rounds_of(hostnames):
    """
    Each of ``hostnames`` once, in any order, again and again: no name waits for long, and none
    always follows another.
    """
    while True:
        yield from random.sample(hostnames, len(hostnames))


def public_hostnames(config):
    """
    The sandbox's public hostnames: those of LMS, Studio and preview in the environment's settings
    that exist in DNS. gitreload's names are no visitor's business.
    """
    from sandbox.pillar import environments
    from sandbox.public import aws

    pages = aws.client(config, "route53").get_paginator("list_resource_record_sets")
    zones = aws.client(config, "route53").list_hosted_zones()["HostedZones"]
    known = set()
    for zone in zones:
        found = pages.paginate(HostedZoneId=zone["Id"]).build_full_result()["ResourceRecordSets"]
        known |= {common.normal(record["Name"]) for record in found if record["Type"] == "CNAME"}
    purposes = environments.settings_of(config, config["environment"])["purposes"].values()
    domains = [
        purpose["domains"] for purpose in purposes if isinstance(purpose.get("domains"), dict)
    ]
    return sorted(
        {names[kind] for names in domains for kind in PUBLIC_KINDS if names.get(kind)} & known
    )


def _describe(err):
    if isinstance(err, asyncio.TimeoutError):
        return f"no answer in {ANSWER_SECONDS} s"
    return f"{type(err).__name__}: {err}"


async def _visit_until_told(config, hostnames, rate, rollback):
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Visitor(config, hostnames, rate, rollback).run(stop)


def main(argv=None):
    """``python -m sandbox.public.visitor --dir $SANDBOX``: visits until it is told to stop."""
    parser = common.arguments(__doc__.strip().splitlines()[0])
    parser.add_argument(
        "--rate", type=float, default=RATE, help="answers asked for, a second (%(default)s)"
    )
    parser.add_argument(
        "--host", action="append", default=[], help="only this hostname; may be repeated"
    )
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="an earlier release may come back after the maintenance page",
    )
    options = parser.parse_args(argv)
    config = common.read_config(options.dir)
    hostnames = options.host or public_hostnames(config)
    if not hostnames:
        raise SystemExit(
            "No public hostname has a record in the sandbox's Route 53 yet: nothing to visit"
        )
    asyncio.run(_visit_until_told(config, hostnames, options.rate, options.rollback))


if __name__ == "__main__":
    sys.exit(main())
