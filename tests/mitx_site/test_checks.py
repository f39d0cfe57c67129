"""
The checks against real name servers and real HTTPS servers on loopback: what they let pass,
visitors will get.
"""

import http.server
import json
import pathlib
import re
import socketserver
import ssl
import subprocess
import threading
import time

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from salt.exceptions import CommandExecutionError

from sandbox.public import tls

GOOD = json.dumps(
    {"sql": {"status": True, "message": "OK"}, "modulestore": {"status": True, "message": "OK"}}
)
PAGE = "<html data-mitx-maintenance>back at six</html>"
CLOUDFRONT, ELBS = "127.83.0.1", "127.83.0.2"


class NameServer(socketserver.ThreadingUDPServer):
    """
    Leads every name of a zone to one target, and what belongs to AWS to its address; ``targets``
    may be changed.
    """

    daemon_threads = True

    def __init__(self, addresses, target):
        super().__init__(("127.0.0.1", 0), NameHandler)
        self.addresses, self.target, self.rcode, self.asked = (
            addresses,
            target,
            dns.rcode.NOERROR,
            0,
        )
        self.where = f"127.0.0.1:{self.server_address[1]}"


class NameHandler(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        query = dns.message.from_wire(data)
        name = query.question[0].name
        self.server.asked += 1
        reply = dns.message.make_response(query)
        reply.set_rcode(self.server.rcode)
        if self.server.rcode == dns.rcode.NOERROR:
            plain = name.to_text(omit_final_dot=True).lower()
            target = plain if plain in self.server.addresses else self.server.target(plain)
            if target != plain:
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", f"{target}."))
            if target in self.server.addresses:
                reply.answer.append(
                    dns.rrset.from_text(f"{target}.", 60, "IN", "A", self.server.addresses[target])
                )
        sock.sendto(reply.to_wire(), self.client_address)


class WebServer(http.server.ThreadingHTTPServer):
    """
    Answers ``answers[path]`` or ``answers["*"]``: (status, text), or a function of hostname and
    path that gives it.
    """

    daemon_threads = True

    def __init__(self, where, pki, answers):
        super().__init__(where, WebHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        self.names = set()
        context.sni_callback = lambda _, name, __: self.names.add(name) if name else None
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.answers, self.asked = answers, []

    def handle_error(self, request, client_address):
        """A client that refuses the certificate is what some tests are about."""


class WebHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"]
        self.server.asked.append((host, self.path))
        found = self.server.answers.get(self.path, self.server.answers["*"])
        status, text = found(host, self.path) if callable(found) else found
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Say nothing."""


class Public:
    """
    A distribution and a load balancer, an authoritative name server and a resolver; all of it shows
    the site.
    """

    def __init__(self, folder, mitx):
        self.pki = folder / "pki"
        self.ca = tls.make(folder)["ca"]
        self.servers, self.mitx = [], mitx
        self.cloudfront = self.web((CLOUDFRONT, 0), {"*": (503, PAGE)})
        self.port = self.cloudfront.server_address[1]
        self.elb = self.web(
            (ELBS, self.port), {"/heartbeat": (200, GOOD), "*": (200, "<html>Welcome</html>")}
        )
        self.domain = "d111111abcdef8.cloudfront.net"
        self.elb_name = "edx.us-east-1.elb.amazonaws.com"
        self.addresses = {self.domain: CLOUDFRONT, self.elb_name: ELBS}
        self.own, self.resolver = self.names(), self.names()

    def web(self, where, answers):
        """Start a web server."""
        return self._start(WebServer(where, self.pki, answers))

    def names(self):
        """Start a name server that leads to the load balancer."""
        return self._start(NameServer(self.addresses, lambda _: self.elb_name))

    def _start(self, server):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.servers.append(server)
        return server

    def close(self, *servers):
        """Point every name at the page, as these servers tell it."""
        for server in servers or (self.own, self.resolver):
            server.target = lambda _: self.domain

    def load(self, test=False, patience=0.5, **checks):
        """
        Our modules, looking at all this for ``patience`` seconds; returns ``(loaded, settings)``.
        """
        quick = {
            "authoritative": [self.own.where],
            "timeout": patience,
            "interval": 0.05,
            "port": self.port,
            "ca_bundle": self.ca,
            "resolvers": [self.resolver.where],
        }
        loaded = self.mitx(test=test, checks=quick | checks, dns={"public_timeout": patience})
        settings = loaded.settings
        settings["maintenance"]["distribution"]["domain_name"] = self.domain
        loaded.modules.run.settings = settings
        described = {elb["name"]: {"dns_name": self.elb_name} for elb in settings["elbs"]}
        loaded.modules["mitx_fleet.elb.describe"] = lambda *_, **__: described
        self.hostnames = [record["name"] for record in settings["records"]]
        return loaded, settings


@pytest.fixture
def site(tmp_path, mitx):
    made = Public(pathlib.Path(tmp_path), mitx)
    yield made
    for server in made.servers:
        server.shutdown()
        server.server_close()


def told(failure):
    """The public names that a failure speaks of."""
    return set(re.findall(r"[a-z0-9-]+\.mitx\.mit\.edu", str(failure.value)))


def test_everybody_sees_the_page(site):
    loaded, _ = site.load()
    site.close()
    found = loaded.modules["mitx_site.checks.public"](expect="maintenance")
    assert list(found) == site.hostnames
    assert found[site.hostnames[0]] == {
        "resolvers": {
            site.resolver.where: site.domain,
            f"{site.own.where} (authoritative)": site.domain,
        },
        "visitor": f"503, the maintenance page (from {CLOUDFRONT})",
        "status": 503,
        "shows": "maintenance",
    }
    assert (
        {host for host, _ in site.cloudfront.asked} == site.cloudfront.names == set(site.hostnames)
    )
    assert not site.elb.asked


def test_everybody_sees_the_site(site):
    loaded, _ = site.load()
    found = loaded.modules["mitx_site.checks.public"]("site")
    assert {(name["shows"], name["status"], name["visitor"]) for name in found.values()} == {
        ("site", 200, f"the site (from {ELBS})")
    }


@pytest.mark.parametrize("behind", ["own", "resolver"])
def test_one_server_that_still_answers_the_old_record_is_named(site, behind):
    loaded, _ = site.load()
    site.close(site.own if behind == "resolver" else site.resolver)
    with pytest.raises(CommandExecutionError) as failure:
        loaded.modules["mitx_site.checks.public"]("maintenance")
    message = str(failure.value)
    assert (
        f"{getattr(site, behind).where}{' (authoritative)' if behind == 'own' else ''} says"
        f" {site.elb_name}" in message
    )
    assert f"{ELBS} answers 200" in message
    assert told(failure) == set(site.hostnames)
    assert message.endswith("Look again: salt-run mitx.maintenance status")


def test_days_before_every_server_must_say_what_the_record_says(site):
    loaded, _ = site.load()
    values = dict.fromkeys(site.hostnames, f"{site.elb_name}.")
    unlike = loaded.modules["mitx_site.checks.unlike"]
    assert unlike(values) == []
    # A master inside of a VPC, whose resolver answers for a private zone of the same name.
    site.resolver.target = lambda _: "private.example.edu"
    told = unlike(values)
    assert len(told) == len(values)
    assert all(f"{site.resolver.where} says private.example.edu" in line for line in told)
    site.resolver.target = lambda _: site.elb_name
    site.own.rcode = dns.rcode.REFUSED
    assert all(f"{site.own.where} (authoritative) says it refuses" in one for one in unlike(values))


def test_a_resolver_is_waited_for_until_it_lets_go_of_the_old_record(site):
    loaded, _ = site.load(patience=60)
    site.close(site.own)
    begun = time.monotonic()
    site.resolver.target = lambda _: (
        site.domain if time.monotonic() - begun > 0.5 else site.elb_name
    )
    loaded.modules["mitx_site.checks.public"]("maintenance")
    assert time.monotonic() - begun > 0.5


def test_nothing_is_believed_before_the_old_time_to_live_is_over(site):
    loaded, _ = site.load()
    begun = time.monotonic()
    loaded.modules["mitx_site.checks.public"]("site", not_before=0.7)
    assert time.monotonic() - begun >= 0.7
    site.elb.answers["/heartbeat"] = lambda *_: (
        (200, GOOD) if time.monotonic() - begun < 0.7 else (500, "gone")
    )
    begun = time.monotonic()
    with pytest.raises(CommandExecutionError, match="500: gone"):
        loaded.modules["mitx_site.checks.public"]("site", not_before=0.8)


def test_a_resolver_that_refuses_is_no_agreement(site):
    loaded, _ = site.load()
    site.resolver.rcode = dns.rcode.REFUSED
    with pytest.raises(
        CommandExecutionError, match=rf"{site.resolver.where} says it refuses or fails"
    ):
        loaded.modules["mitx_site.checks.public"]("site")


def test_the_zone_s_own_name_servers_are_found_and_asked(site):
    loaded, settings = site.load()
    settings["checks"]["authoritative"] = []
    loaded.modules["mitx_site.probe.name_servers"] = lambda zone, servers: {
        ("mitx.mit.edu.", site.resolver.where): [site.own.where]
    }[zone, servers[0]]
    site.close(site.resolver)
    with pytest.raises(
        CommandExecutionError, match=rf"{site.own.where} \(authoritative\) says {site.elb_name}"
    ):
        loaded.modules["mitx_site.checks.public"]("maintenance")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, PAGE), f"{CLOUDFRONT} answers 200, the maintenance page"),
        ((503, "Service Unavailable"), f"{CLOUDFRONT} answers 503: Service Unavailable"),
        ((403, "AccessDenied"), f"{CLOUDFRONT} answers 403: AccessDenied"),
    ],
)
def test_what_is_not_the_page_with_503_is_told(site, answer, reason):
    loaded, _ = site.load()
    site.close()
    site.cloudfront.answers["*"] = answer
    with pytest.raises(CommandExecutionError, match=reason):
        loaded.modules["mitx_site.checks.public"]("maintenance")


def test_one_name_of_many_that_is_wrong_is_enough(site):
    loaded, _ = site.load()
    bad = site.hostnames[-1]
    site.elb.answers["/heartbeat"] = lambda host, _: (
        (502, "Bad Gateway") if host == bad else (200, GOOD)
    )
    with pytest.raises(CommandExecutionError) as failure:
        loaded.modules["mitx_site.checks.public"]("site")
    assert f"{bad}: {ELBS} answers 502: Bad Gateway" in str(failure.value)
    assert told(failure) == {bad}


def test_a_certificate_for_another_name_or_from_nobody_is_not_trusted(site, tmp_path):
    loaded, settings = site.load()
    found = loaded.modules["mitx_site.checks.seen"](["lms.example.org"])
    assert "CERTIFICATE_VERIFY_FAILED" in found["lms.example.org"]["visitor"]
    assert (found["lms.example.org"]["shows"], found["lms.example.org"]["status"]) == (None, None)
    settings["checks"]["ca_bundle"] = tls.make(tmp_path / "another")["ca"]
    found = loaded.modules["mitx_site.checks.seen"]([site.hostnames[0]])
    assert "CERTIFICATE_VERIFY_FAILED" in found[site.hostnames[0]]["visitor"]


def test_seen_tells_a_name_without_address_and_one_without_server(site):
    loaded, _ = site.load()
    site.addresses["down.elb.amazonaws.com"] = "127.83.0.9"
    for server in (site.own, site.resolver):
        server.target = lambda name: (
            "down.elb.amazonaws.com" if name == site.hostnames[0] else "nowhere.example.org"
        )
    down, nowhere = (
        loaded.modules["mitx_site.checks.seen"](site.hostnames[:2])[name]
        for name in site.hostnames[:2]
    )
    assert "Connection refused" in down["visitor"]
    assert (nowhere["visitor"], nowhere["shows"]) == ("no address", None)


def test_backstage_asks_the_load_balancers_while_visitors_see_the_page(site):
    loaded, settings = site.load(
        paths=[{"path": "/", "text": "Welcome"}, {"path": "/api", "kinds": ["cms"]}]
    )
    site.close()
    found = loaded.modules["mitx_site.checks.backstage"]()
    assert set(found) == {record["elb"] for record in settings["records"]}
    wanted = {(name, path) for name in site.hostnames for path in ("/", "/heartbeat")}
    wanted |= {
        (record["name"], "/api") for record in settings["records"] if record["kind"] == "cms"
    }
    assert set(site.elb.asked) == wanted
    assert site.elb.names == set(site.hostnames)


def test_the_ways_behind_the_page_lead_there_as_printed(site):
    loaded, settings = site.load(paths=[{"path": "/", "text": "Welcome"}])
    site.close()
    ways = loaded.modules["mitx_site.checks.ways"]()
    commands = [line for line in ways if line.startswith("curl ")]
    assert len(commands) == len(settings["records"])
    for command in commands:
        said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert said.stdout.split()[1] == "200", said
    assert site.elb.names == set(site.hostnames)
    assert f"{ELBS}  {' '.join(site.hostnames)}    # for /etc/hosts" in ways
    assert all(f"MAP {name} {ELBS}" in ways[-1] for name in site.hostnames)


def test_a_load_balancer_without_an_address_is_told_between_the_ways(site):
    loaded, _ = site.load()
    site.addresses.pop(site.elb_name)
    ways = loaded.modules["mitx_site.checks.ways"]()
    assert f"# {site.hostnames[0]}: its load balancer has no address" in ways
    assert not [line for line in ways if line.startswith("curl ")]


def test_backstage_fails_while_visitors_are_already_on_the_site(site):
    loaded, _ = site.load()
    with pytest.raises(
        CommandExecutionError, match=f"visitors to {site.hostnames[0]}, .* says {site.elb_name}"
    ):
        loaded.modules["mitx_site.checks.backstage"]()
    loaded.modules["mitx_site.checks.backstage"](still=None)


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/heartbeat", (503, '{"sql": {"status": false}}'), "503: .*sql"),
        (
            "/heartbeat",
            (200, '{"sql": {"status": false}, "memcache": true}'),
            "200, but sql is down",
        ),
        ("/heartbeat", (200, "<html>hello</html>"), "200, but no heartbeat: <html>hello</html>"),
        ("/", (500, "lms with koa: no such table"), "500: lms with koa: no such table, not 200"),
        ("/", (200, "Bienvenue"), "200 without 'Welcome'"),
        ("/", (200, PAGE), "200, the maintenance page"),
    ],
)
def test_backstage_names_what_is_wrong_and_where(site, path, answer, reason):
    loaded, settings = site.load(paths=[{"path": "/", "status": 200, "text": "Welcome"}])
    site.close()
    site.elb.answers[path] = answer
    record = settings["records"][0]
    with pytest.raises(
        CommandExecutionError,
        match=rf"https://{record['name']}{path} at {ELBS} \({record['elb']}\), .* more: {reason}",
    ):
        loaded.modules["mitx_site.checks.backstage"]()


def fleet(settings, *addresses, role="edx"):
    """Instances of the first purpose at these addresses."""
    return [
        {
            "id": f"i-{number}",
            "name": f"{role}-{number}",
            "role": role,
            "purpose": settings["purposes"][0],
            "address": address,
        }
        for number, address in enumerate(addresses)
    ]


def test_smoke_asks_every_web_instance_for_lms_and_studio(site, tmp_path):
    loaded, settings = site.load()
    settings["checks"]["instance"] = {"scheme": "https", "port": site.port}
    settings["checks"]["ca_bundle"] = tls.make(tmp_path / "another")["ca"]
    workers = fleet(settings, "127.83.0.7", role="edx-worker")
    loaded.modules["mitx_fleet.fleets.recorded"] = lambda which: {
        "new": fleet(settings, ELBS) + workers
    }[which]
    found = loaded.modules["mitx_site.checks.smoke"]()
    domains = settings["hosts"][settings["purposes"][0]]["domains"]
    assert set(site.elb.asked) == {(domains["lms"], "/heartbeat"), (domains["cms"], "/heartbeat")}
    assert list(found) == ["edx-0"], "the worker is not asked"


def test_smoke_names_the_instance_that_does_not_answer(site):
    loaded, settings = site.load()
    settings["checks"]["instance"] = {"scheme": "https", "port": site.port}
    with pytest.raises(CommandExecutionError) as failure:
        loaded.modules["mitx_site.checks.smoke"](instances=fleet(settings, ELBS, "127.83.0.8"))
    assert "(edx-1)" in str(failure.value)
    assert "Connection refused" in str(failure.value)
    assert "edx-0" not in str(failure.value)
    with pytest.raises(CommandExecutionError, match="no web instance"):
        loaded.modules["mitx_site.checks.smoke"](instances=fleet(settings, ELBS, role="edx-worker"))


def test_watch_sees_every_name_for_its_time(site):
    loaded, _ = site.load(paths=[{"path": "/"}])
    begun = time.monotonic()
    counts = loaded.modules["mitx_site.checks.watch"](seconds=0.5)
    assert time.monotonic() - begun >= 0.5
    assert list(counts) == site.hostnames
    assert all(count["asked"] >= 2 and not count["failed"] for count in counts.values())


def test_watch_does_not_forget_one_bad_answer_that_was_followed_by_good_ones(site):
    loaded, _ = site.load(paths=[{"path": "/"}])
    bad = site.hostnames[1]
    once = iter([(500, "no such column")])
    site.elb.answers["/"] = lambda host, _: next(once, (200, "x")) if host == bad else (200, "x")
    with pytest.raises(
        CommandExecutionError, match=f"{bad}: 1 of .*, the first: /: 500: no such column"
    ) as failure:
        loaded.modules["mitx_site.checks.watch"](seconds=0.5)
    assert told(failure) == {bad}


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        ("public", {"expect": "site"}),
        ("smoke", {"fleet": "old"}),
        ("watch", {"seconds": 0.1}),
        ("backstage", {}),
    ],
)
def test_a_passed_check_changes_nothing(site, check, arguments):
    loaded, settings = site.load()
    settings["checks"]["instance"] = {"scheme": "https", "port": site.port}
    loaded.modules["mitx_fleet.fleets.recorded"] = lambda which: {"old": fleet(settings, ELBS)}[
        which
    ]
    if check == "backstage":
        site.close()
    ret = loaded.states["mitx_site.checked"]("step", check=check, **arguments)
    assert (ret["result"], ret["changes"]) == (True, {}), ret["comment"]
    assert site.elb.asked


def test_a_failed_check_fails_its_step(site):
    loaded, _ = site.load()
    ret = loaded.states["mitx_site.checked"]("step", check="public", expect="maintenance")
    assert ret["result"] is False
    assert site.hostnames[0] in ret["comment"]
    assert loaded.states["mitx_site.checked"]("step", check="smokes")["result"] is False


@pytest.mark.parametrize("check", ["public", "smoke", "watch", "backstage"])
def test_a_dry_run_asks_nobody(site, check):
    loaded, _ = site.load(test=True)
    ret = loaded.states["mitx_site.checked"]("step", check=check)
    assert (ret["result"], ret["changes"]) == (None, {})
    assert ret["comment"].startswith("Would check")
    assert [server.asked for server in site.servers] == [[], [], 0, 0]
