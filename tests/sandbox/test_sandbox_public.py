"""
The sandbox's public side, each daemon as it is really started: names, the edge behind them, and the
visitor.

If one of these lied, "violations: 0" at the end of an upgrade would mean nothing.
"""

import asyncio
import datetime
import itertools
import json
import signal

import dns.flags
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from sandbox.public import common, elb, http, verdict, visitor
from sandbox.public import dns as name_server
from sandbox.public.summary import Summary
from tests.support.public_world import CMS, LMS, NEW, OLD, PAGE, PATIENCE, World, until


@pytest.fixture
def world(aws, tmp_path):
    aws.health({"*": True})
    made = World(aws, tmp_path / "sandbox")
    try:
        yield made.seed()
    finally:
        made.stop()


@pytest.fixture
def names(world):
    """The name server, answering."""
    servers = name_server.serve(world.config)
    until(
        lambda: all(world.query(name).answer for name in world.homes),
        "the first records are in sync",
    )
    yield world
    for server in servers:
        server.shutdown()
        server.server_close()


def target(answer):
    """The target of the first CNAME of an answer."""
    found = [rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CNAME]
    return found[0][0].target.to_text(omit_final_dot=True)


@pytest.mark.parametrize("protocol", [dns.query.udp, dns.query.tcp])
def test_a_name_leads_to_the_address_that_its_load_balancer_listens_on(names, protocol):
    answer = names.query(LMS.upper(), protocol=protocol)
    assert answer.flags & dns.flags.AA
    assert target(answer) == names.homes[LMS]
    assert [rrset.ttl for rrset in answer.answer] == [1, 60]
    assert answer.answer[1][0].address == common.address_of(names.homes[LMS])


def test_the_name_server_follows_route_53_once_a_change_is_in_sync(names):
    names.aws.settings(dns_sync=1.5)
    domain = names.distribution["DomainName"]
    names.point({LMS: domain})
    assert target(names.query(LMS)) == names.homes[LMS], (
        "before INSYNC the name servers still say the old target"
    )
    until(
        lambda: target(names.query(LMS)) == domain, "the name server answers with the distribution"
    )
    assert names.query(LMS).answer[1][0].address == common.address_of("cloudfront.net")
    assert target(names.query(CMS)) == names.homes[CMS]


def test_a_name_without_a_record_does_not_exist(names):
    answer = names.query("nobody.mitx.mit.edu")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA
    assert names.query("www.mit.edu").rcode() == dns.rcode.REFUSED
    assert names.query("gone.us-east-1.elb.amazonaws.com").rcode() == dns.rcode.NXDOMAIN
    assert not [
        rrset for rrset in names.query(LMS, "AAAA").answer if rrset.rdtype == dns.rdatatype.AAAA
    ]


def test_names_go_on_resolving_while_the_interface_of_aws_is_down(names):
    fault = names.aws.fault(agent="sandbox-dns", error="ServiceUnavailable", status=503, times=None)
    until(
        lambda: names.query(LMS).answer and names.aws.faults()[0]["hit"],
        "the name server asked and was refused",
    )
    assert names.aws.faults()[0]["id"] == fault["id"]
    assert target(names.query(LMS)) == names.homes[LMS]


def test_a_load_balancer_passes_on_the_whole_exchange(world):
    world.edge()
    answer = world.ask(world.homes[LMS], method="POST", path="/login?next=/", body=b"who=me")
    assert (answer.status, answer.headers["X-Open-edX-Release"]) == (200, OLD)
    assert answer.text == f"<html>POST /login?next=/ {LMS} {OLD} who=me</html>"
    assert world.ask(world.homes[LMS], method="HEAD").text == ""
    assert world.ask(world.homes[LMS], path="/cut").status == 502, (
        "half an answer must not pass for a whole one"
    )


def test_only_instances_in_service_get_requests(world):
    world.edge()
    new = world.host(NEW)
    world.aws.health({new: False})
    world.register(new)
    until(lambda: world.ask(world.homes[CMS]).status == 200, "the second load balancer serves too")
    assert {world.ask(world.homes[LMS]).headers["X-Open-edX-Release"] for _ in range(10)} == {OLD}
    world.aws.health({new: True})
    until(
        lambda: world.ask(world.homes[LMS]).headers["X-Open-edX-Release"] == NEW,
        "the new host gets requests",
    )
    world.aws.settings(drain=30)
    world.deregister(world.old, new)
    until(lambda: world.ask(world.homes[LMS]).status == 503, "draining instances get nothing new")
    assert world.ask(world.homes[LMS]).text == ""


class Counted(elb.Forwarder):
    """Asks no instance, and remembers which it would have asked."""

    def __init__(self, visit):
        self._releases, self.met, self.visit = {}, set(), visit

    async def _ask(self, request, address, port):
        # Not those by which it learns who is behind it.
        if request is self.visit:
            self.met.add((address, port))
        return http.Message(["HTTP/1.1", "200", "OK"], [])


def test_a_sick_instance_beside_a_healthy_one_is_met_behind_every_load_balancer():
    """
    Were they dealt in turn, each name would always meet the same instance, and the visitor see no
    violation.
    """
    members = {name: [(f"{name}-0", 443), (f"{name}-1", 443)] for name in (LMS, CMS)}
    request = http.Message(["GET", "/", "HTTP/1.1"], [])

    async def visits(forwarder):
        for name in itertools.islice(visitor.rounds_of([LMS, CMS]), 80):
            await forwarder.respond(request, members[name])

    for _ in range(200):
        forwarder = Counted(request)
        asyncio.run(visits(forwarder))
        assert forwarder.met == {*members[LMS], *members[CMS]}


def test_no_name_waits_for_longer_than_two_rounds():
    names = [f"name-{number}" for number in range(6)]
    asked = list(itertools.islice(visitor.rounds_of(names), 600))
    for start in range(0, 600, 6):
        assert sorted(asked[start : start + 6]) == names
    assert len({tuple(asked[start : start + 6]) for start in range(0, 600, 6)}) > 1


def test_every_path_and_method_of_a_closed_site_answers_503(world):
    world.edge()
    domain = world.distribution["DomainName"]
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        for path in ("/", "/courses/x/about?a=b", "/api/user/v1/me"):
            answer = world.ask(
                domain, method=method, path=path, body=b"x" if method == "POST" else None
            )
            assert (answer.status, answer.text) == (503, PAGE.decode()), (method, path)
            assert int(answer.headers["Retry-After"]) > 0
    head = world.ask(domain, method="HEAD")
    assert (head.status, head.text, head.headers["Content-Length"]) == (503, "", str(len(PAGE)))
    assert world.ask(domain, host="gr-next-qa.mitx.mit.edu").status == 403, (
        "not an alias of the distribution"
    )


def test_a_page_published_without_invalidation_is_not_seen(world):
    world.edge()
    domain = world.distribution["DomainName"]
    world.ask(domain)
    world.publish(b"<html data-mitx-maintenance>until seven</html>")
    assert world.ask(domain).text == PAGE.decode()
    world.invalidate()
    until(lambda: "until seven" in world.ask(domain).text, "the invalidation has been completed")


def test_a_distribution_without_a_page_shows_what_s3_says(world):
    world.aws.client("s3").delete_object(Bucket="upgrading.mitx.mit.edu", Key="index.html")
    world.start("edge")
    answer = until(lambda: world.ask(world.distribution["DomainName"]), "the edge answers")
    assert (answer.status, answer.headers["Retry-After"]) == (403, None)


def test_a_load_balancer_made_later_gets_its_address(world):
    world.edge()
    target = world.elb("edx-made-later")
    until(
        lambda: world.ask(target).status == 503, "the new load balancer answers that it has nobody"
    )


def test_every_public_hostname_is_visited_and_no_other(world):
    draft = "staging-next-qa.mitx.mit.edu"
    world.point(
        {
            "gr-next-qa.mitx.mit.edu": "elsewhere.example.org",
            "wiki.mitx.mit.edu": "elsewhere.example.org",
        }
    )
    assert visitor.public_hostnames(world.config) == [LMS, CMS]
    untouched = "preview-current-qa.mitx.mit.edu"
    world.point({untouched: world.homes[LMS], f"lms-{draft}": world.homes[LMS]})
    assert visitor.public_hostnames(world.config) == sorted([LMS, CMS, untouched, f"lms-{draft}"])


def visiting(world, *arguments):
    """Start edge and visitor; returns the visitor once it has seen something."""
    world.edge()
    until(lambda: world.ask(world.homes[CMS]).status == 200, "both load balancers serve")
    hosts = [word for name in (LMS, CMS) for word in ("--host", name)]
    process = world.start("visitor", *hosts, *arguments)
    until(lambda: (world.summary() or {"asked": 0})["asked"] > 20, "the visitor has begun")
    return process


def finished(world, process):
    """Stop the visitor and return its last summary."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    summary = world.summary()
    assert summary["finished"]
    lines = [
        json.loads(line) for line in (world.directory / "visitor.jsonl").read_text().splitlines()
    ]
    assert len(lines) == summary["asked"], "every answer is in the log"
    assert sum(line["verdict"] == "violation" for line in lines) == summary["violations"]
    return summary


def test_the_visitor_sees_an_upgrade_without_a_gap(names):
    visits = visiting(names)
    domain = names.distribution["DomainName"]
    names.point(dict.fromkeys(names.homes, domain))
    until(
        lambda: all(host["page"] for host in names.summary()["hostnames"].values()),
        "every name shows the page",
    )
    new = names.host(NEW)
    names.register(new)
    names.deregister(names.old)
    until(
        lambda: names.ask(names.homes[CMS]).headers["X-Open-edX-Release"] == NEW,
        "the new host is in service",
    )
    names.point(names.homes)
    until(
        lambda: all(len(host["releases"]) == 2 for host in names.summary()["hostnames"].values()),
        "the site is back",
    )
    summary = finished(names, visits)
    assert summary["violations"] == 0, summary["first_violations"]
    for host in summary["hostnames"].values():
        assert [each["release"] for each in host["releases"]] == [OLD, NEW]
        assert host["releases"][1]["after_page"]
        assert [kind.partition(":")[0] for kind in host["targets"]] == ["elb", "cloudfront", "elb"]
        assert 0 < host["window"]["seconds"] <= summary["window"]["seconds"]


def test_a_slow_site_does_not_keep_the_visitor_from_asking(names):
    visits = visiting(names)
    names.servers[0].delay = 1
    seen = names.summary()["asked"]
    until(lambda: names.summary()["asked"] > seen + 10, "answers of the slow site")
    finished(names, visits)
    lines = [
        json.loads(line) for line in (names.directory / "visitor.jsonl").read_text().splitlines()
    ]
    slow = [line for line in lines if line["ms"] >= 1000]
    asked = sorted(
        datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")) for line in slow
    )
    assert any(
        (later - earlier).total_seconds() < 1 for earlier, later in itertools.pairwise(asked)
    )


def test_the_visitor_tells_a_site_without_instances(names):
    visits = visiting(names)
    names.deregister(names.old)
    until(lambda: names.summary()["violations"] > 0, "the visitor notices")
    summary = finished(names, visits)
    first = summary["first_violations"][0]
    assert (first["status"], first["reason"]) == (503, "status 503: nothing in it")


def test_the_visitor_tells_two_releases_behind_one_load_balancer(names):
    visits = visiting(names)
    names.register(names.host(NEW))
    until(lambda: names.summary()["violations"] > 0, "the visitor notices")
    summary = finished(names, visits)
    assert f"{OLD} and {NEW} behind one load balancer" in {
        each["reason"] for each in summary["first_violations"]
    }


def test_the_visitor_tells_a_refused_connection(names):
    visits = visiting(names)
    edge = names.processes[0]
    edge.terminate()
    edge.wait(PATIENCE)
    until(lambda: names.summary()["violations"] > 0, "the visitor notices")
    assert "ConnectionRefused" in finished(names, visits)["first_violations"][-1]["reason"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {"X-Open-edX-Release": OLD}, f"runs {OLD}", ("site", OLD)),
        (503, {"Retry-After": "300"}, PAGE.decode(), ("page", None)),
        (503, {}, PAGE.decode(), ("violation", "the maintenance page without Retry-After")),
        (
            200,
            {"Retry-After": "300"},
            PAGE.decode(),
            ("violation", "the maintenance page with status 200"),
        ),
        (
            503,
            {"Retry-After": "300"},
            "Service Unavailable",
            ("violation", "status 503: Service Unavailable"),
        ),
        (200, {}, "welcome", ("violation", "no release in the answer, X-Open-edX-Release: None")),
        (
            200,
            {"X-Open-edX-Release": NEW},
            f"runs {OLD}",
            ("violation", f"the head says {NEW}, the page does not"),
        ),
        (
            500,
            {"X-Open-edX-Release": OLD},
            "<p>no such column",
            ("violation", "status 500: no such column"),
        ),
    ],
)
def test_each_answer_is_the_site_the_page_or_a_violation(status, headers, body, expected):
    kind, release, reason = verdict.judge(status, headers.get, body, "data-mitx-maintenance")
    assert (kind, release if kind == "site" else reason) == expected


def test_a_release_comes_back_only_in_a_rollback_and_only_behind_the_page():
    for allowed in (False, True):
        order = verdict.Order(rollback=allowed)
        assert order.site(OLD, 1, 2) is None
        assert order.site(NEW, 3, 4) is None
        assert order.site(OLD, 3, 5) is None, "asked before the new one was seen: only slow"
        assert order.site(OLD, 5, 6) == f"{OLD} again, after {NEW} had been served"
        order.page()
        assert (order.site(OLD, 7, 8) is None) is allowed


def missed(host, second, reason="status 502: 502 Bad Gateway"):
    return {
        "host": host,
        "target": "elb:x",
        "status": 502,
        "release": None,
        "verdict": "violation",
        "reason": reason,
        "sent": float(second),
        "received": second + 0.1,
    }


def verdicts(*answers):
    seen = Summary(["lms.x", "lms-current.x"], 0, control=["lms-current.x"])
    for answer in answers:
        seen.add(answer)
    return [answer["verdict"] for answer in answers], seen.as_dict()


def test_an_answer_missing_where_nobody_touches_anything_is_a_stall_and_so_is_one_beside_it():
    found, seen = verdicts(missed("lms-current.x", 10), missed("lms.x", 11), missed("lms.x", 20))
    assert found == ["stall", "stall", "violation"]
    assert (seen["violations"], seen["stalls"]) == (1, 2)


def test_an_environment_that_is_broken_is_no_stall():
    found, _ = verdicts(*(missed("lms-current.x", second) for second in range(8)))
    assert found == ["stall"] * 5 + ["violation"] * 3


def test_what_was_answered_wrongly_is_never_a_stall():
    found, _ = verdicts(missed("lms-current.x", 1, "juniper again, after koa had been served"))
    assert found == ["violation"]
