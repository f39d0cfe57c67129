"""How the checks judge what was seen: the branches that real servers do not easily show."""

import json

import pytest
from salt.exceptions import CommandExecutionError

from mitx_site import probe
from tests.support.rooms import Room, a_run, stand_in

LMS, CMS = "lms.mitx.mit.edu", "studio.mitx.mit.edu"
GOOD = {"status": 200, "text": '{"sql": true}', "error": None}
PAGE = {"status": 503, "text": "<p data-mitx-maintenance>", "error": None}
SILENT = {"status": None, "text": "", "error": "ConnectTimeoutError: too slow"}


def says(*targets, addresses=(), error=None):
    """What a resolver says."""
    return {"targets": list(targets), "addresses": list(addresses), "error": error}


class Eyes:
    """Stands in for mitx_look: what resolvers say, and what each address answers."""

    def __init__(self):
        self.answers = {}
        self.pages = {}
        self.requests = []
        self.name_servers = ["192.0.2.53"]

    def resolve(self, names, servers=()):
        return {name: {server: self.answers[server] for server in servers} for name in names}

    def own(self, zone, servers):
        if isinstance(self.name_servers, Exception):
            raise self.name_servers
        return self.name_servers

    def fetch(self, requests, ca_bundle=None, verify=True):
        self.requests += requests
        return [self.pages[request["address"]] for request in requests]


@pytest.fixture
def settings():
    return {
        "records": [
            {"name": LMS, "kind": "lms", "purpose": "residential-live", "elb": "edx"},
            {"name": CMS, "kind": "cms", "purpose": "residential-live", "elb": "edx-studio"},
        ],
        "dns": {"zone": "mitx.mit.edu.", "public_timeout": 0},
        "maintenance": {
            "marker": "data-mitx-maintenance",
            "distribution": {"domain_name": "D1.CloudFront.net."},
        },
        "checks": {
            "heartbeat": "/heartbeat",
            "paths": [],
            "scheme": "https",
            "port": 443,
            "ca_bundle": None,
            "resolvers": ["8.8.8.8", "18.0.70.160"],
            "authoritative": [],
            "timeout": 0,
            "interval": 0,
            "watch": 0,
            "instance": {"scheme": "https", "port": 443},
        },
    }


@pytest.fixture
def eyes():
    seeing = Eyes()
    for server, address in (("8.8.8.8", "198.51.100.1"), ("18.0.70.160", "198.51.100.2")):
        seeing.answers[server] = says("edx-1.us-east-1.elb.amazonaws.com", addresses=[address])
        seeing.pages[address] = GOOD
    seeing.answers["192.0.2.53"] = says("edx-1.us-east-1.elb.amazonaws.com")
    return seeing


@pytest.fixture
def check(eyes, settings, monkeypatch):
    for name, function in {
        "resolve": eyes.resolve,
        "name_servers": eyes.own,
        "fetch": eyes.fetch,
    }.items():
        stand_in(monkeypatch, f"mitx_site.probe.{name}", function)
    described = {name: {"dns_name": f"{name}.elb"} for name in ("edx", "edx-studio")}
    stand_in(monkeypatch, "mitx_fleet.elb.describe", lambda **_: described)
    stand_in(monkeypatch, "mitx_run.events.write", lambda event, **fields: None)
    return Room("mitx_site.checks", a_run(settings))


def test_every_address_that_any_resolver_gives_is_asked(check, eyes):
    eyes.answers["18.0.70.160"]["addresses"].append("198.51.100.3")
    eyes.pages["198.51.100.3"] = SILENT
    with pytest.raises(
        CommandExecutionError,
        match=r"198\.51\.100\.3 answers no answer \(ConnectTimeoutError: too slow\)",
    ):
        check.public("site")
    assert {request["address"] for request in eyes.requests} == set(eyes.pages)


def test_no_resolver_s_first_address_is_lost_among_another_s_many(check, eyes):
    eyes.answers["8.8.8.8"]["addresses"] = [f"198.51.100.{n}" for n in range(10, 20)]
    eyes.pages |= {f"198.51.100.{n}": GOOD for n in range(10, 20)}
    check.public("site")
    asked = {request["address"] for request in eyes.requests}
    assert "198.51.100.2" in asked
    assert len(asked) == 4


def test_the_distribution_is_known_without_case_and_dot(check, eyes):
    for server in eyes.answers:
        eyes.answers[server]["targets"] = ["d1.cloudfront.net"]
    eyes.pages = dict.fromkeys(eyes.pages, PAGE)
    assert {name["shows"] for name in check.public("maintenance").values()} == {"maintenance"}


def test_a_good_answer_is_not_enough_while_a_name_server_still_leads_to_the_page(check, eyes):
    eyes.answers["192.0.2.53"] = says("d1.cloudfront.net")
    with pytest.raises(
        CommandExecutionError, match=r"192\.0\.2\.53 \(authoritative\) says d1\.cloudfront\.net"
    ):
        check.public("site")


def test_name_servers_that_cannot_be_found_are_told_and_are_no_proof(check, eyes):
    eyes.name_servers = CommandExecutionError(
        "The name servers of mitx.mit.edu. are not known: no answer in 5 s"
    )
    with pytest.raises(
        CommandExecutionError, match=r"The name servers of mitx\.mit\.edu\. are not known"
    ):
        check.public("site")
    assert check.seen([LMS])[LMS]["shows"] == "site"


def test_configured_name_servers_are_asked_instead_of_found_ones(check, eyes, settings):
    eyes.name_servers = CommandExecutionError("must not be asked")
    settings["checks"]["authoritative"] = ["192.0.2.53"]
    check.public("site")


def test_seen_has_no_one_word_for_two_different_sights(check, eyes):
    eyes.pages["198.51.100.2"] = PAGE
    found = check.seen([LMS])[LMS]
    assert (found["shows"], found["status"]) == (None, None)
    assert (
        found["visitor"]
        == "503, the maintenance page (from 198.51.100.2); the site (from 198.51.100.1)"
        or found["visitor"]
        == "the site (from 198.51.100.1); 503, the maintenance page (from 198.51.100.2)"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"modulestore": {"status": true}, "sql": {"status": true}}', None),
        ('{"SQL": true, "split_mongo": true}', None),
        ('{"SQL": false, "split_mongo": true}', "200, but SQL is down"),
        ('{"sql": {"status": false}, "celery": {"message": "?"}}', "200, but celery, sql is down"),
        ("{}", "200, but no heartbeat: {}"),
        ("[1]", "200, but no heartbeat: [1]"),
        ("", "200, but no heartbeat: nothing in it"),
    ],
)
def test_a_heartbeat_is_good_only_if_every_dependency_is(check, eyes, settings, text, problem):
    settings["hosts"] = {"residential-live": {"domains": {"lms": LMS}}}
    eyes.pages["10.5.1.17"] = {"status": 200, "text": text, "error": None}
    instance = {
        "name": "edx-0-v1",
        "role": "edx",
        "purpose": "residential-live",
        "address": "10.5.1.17",
    }
    if problem is None:
        check.smoke(instances=[instance])
        return
    with pytest.raises(CommandExecutionError) as failure:
        check.smoke(instances=[instance])
    assert problem in str(failure.value)


def test_backstage_needs_an_address_for_every_load_balancer(check, eyes):
    eyes.answers["8.8.8.8"] = says(error="no such name")
    with pytest.raises(
        CommandExecutionError, match=r"edx\.elb has no address; edx-studio\.elb has no address"
    ):
        check.backstage(still=None)


def test_a_name_that_does_not_resolve_is_a_failure_of_the_watch(check, eyes):
    for server in eyes.answers:
        eyes.answers[server] = says(error="no such name")
    with pytest.raises(
        CommandExecutionError, match=f"{LMS}: 1 of 1, the first: no such name; no such name"
    ):
        check.watch(seconds=0)


def test_nothing_is_proven_by_asking_nobody(check, settings):
    settings["records"] = []
    for function in (check.public, check.seen, check.watch):
        with pytest.raises(CommandExecutionError, match="asking nobody"):
            function()
    with pytest.raises(CommandExecutionError, match="maintenance or site, not 'on'"):
        check.public("on")


@pytest.mark.parametrize(
    ("where", "address", "port"),
    [
        ("8.8.8.8", "8.8.8.8", 53),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("localhost:5353", "127.0.0.1", 5353),
    ],
)
def test_a_resolver_is_an_address_or_a_name_with_or_without_port(where, address, port):
    resolver = probe._resolver(where)
    assert resolver.nameservers[0] in (address, "::1" if where.startswith("localhost") else address)
    assert resolver.port == port


def test_what_was_seen_survives_as_json(check):
    assert json.loads(json.dumps(check.seen())) == check.seen()
