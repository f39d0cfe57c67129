"""
`maintenance on` and `off` as visitors live through it: the sandbox's name server, edge and visitor,
our own states and checks. Every answer is the site or the page, and the page comes with 503 and
Retry-After.
"""

import datetime
import json
import signal

import pytest

from sandbox.public import dns as name_server
from tests.support import public_world
from tests.support.public_world import OLD

HEARTBEAT = json.dumps({"sql": {"status": True, "message": "OK"}}).encode()


def until(check, what):
    """As in ``public_world``, with patience for a machine that does other things beside."""
    return public_world.until(check, what, seconds=90)


class Host(public_world.Host):
    """A web host that has a heartbeat."""

    def answer(self):
        if self.path != "/heartbeat":
            return super().answer()
        self.send_response(200)
        self.send_header("X-Open-edX-Release", self.server.release)
        self.send_header("Content-Length", str(len(HEARTBEAT)))
        self.end_headers()
        self.wfile.write(HEARTBEAT)
        return None

    do_GET = do_HEAD = do_POST = answer


class World(public_world.World):
    """
    The names, load balancers and distribution that the settings describe, as
    ``docs/maintenance.md`` has them made.
    """

    def seed_for(self, settings):
        """Everything that the edge leads to: one host behind every load balancer."""
        self.elbs = {elb["name"]: self.elb(elb["name"]) for elb in settings["elbs"]}
        self.homes = {record["name"]: self.elbs[record["elb"]] for record in settings["records"]}
        self.aws.client("s3").create_bucket(Bucket="upgrading.mitx.mit.edu")
        self._distribution()
        self.zone_id = self.aws.client("route53").create_hosted_zone(
            Name="mitx.mit.edu.", CallerReference="x"
        )["HostedZone"]["Id"]
        self.point(self.homes)
        self.old = self.host(OLD)
        self.servers[-1].RequestHandlerClass = Host
        self.register(self.old)
        return self

    def _distribution(self):
        origin = {
            "Id": "s3",
            "DomainName": "upgrading.mitx.mit.edu.s3.us-east-1.amazonaws.com",
            "OriginAccessControlId": "E327GJI25M56DG",
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        rules = [
            {
                "ErrorCode": code,
                "ResponsePagePath": "/index.html",
                "ResponseCode": "503",
                "ErrorCachingMinTTL": 0,
            }
            for code in (403, 404, 405)
        ]
        config = {
            "CallerReference": "test",
            "Comment": "",
            "Enabled": True,
            "Aliases": {"Quantity": len(self.homes), "Items": list(self.homes)},
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {
                "TargetOriginId": "s3",
                "ViewerProtocolPolicy": "redirect-to-https",
            },
            "CustomErrorResponses": {"Quantity": len(rules), "Items": rules},
        }
        self.distribution = self.aws.client("cloudfront").create_distribution(
            DistributionConfig=config
        )["Distribution"]

    def overrides(self):
        """What the settings must say to mean this world; the window is tomorrow's."""
        where = f"{self.config['addresses']['dns']}:{self.config['ports']['dns']}"
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        distribution = {
            "id": self.distribution["Id"],
            "domain_name": self.distribution["DomainName"],
        }
        return {
            "dns": {
                "zone_id": self.zone_id.rpartition("/")[2],
                "interval": 0.1,
                "timeout": 30,
                "public_timeout": 60,
            },
            "maintenance": {"distribution": distribution, "invalidation_timeout": 30},
            "checks": {
                "port": self.config["ports"]["edge"],
                "ca_bundle": self.config["paths"]["ca"],
                "resolvers": [where],
                "authoritative": [where],
                "interval": 0.2,
            },
            "window": {"start": f"{soon:%Y-%m-%d} 12:00"},
        }

    def ready(self):
        """Start the edge; wait until every name is served by the old host."""
        self.start("edge")
        for name, target in self.homes.items():
            until(
                lambda name=name, target=target: self.ask(target, host=name).status == 200,
                f"{name} is served",
            )

    def visitor(self):
        """Start the visitor on every name; returns once it has seen something."""
        process = self.start("visitor", *(word for name in self.homes for word in ("--host", name)))
        until(lambda: (self.summary() or {"asked": 0})["asked"] > 20, "the visitor has begun")
        return process


@pytest.fixture
def world(aws, mitx, tmp_path):
    aws.health({"*": True})
    made = World(aws, tmp_path / "sandbox")
    servers = []
    try:
        made.seed_for(mitx(purposes=["next-residential-live"]).settings)
        servers += name_server.serve(made.config)
        until(
            lambda: all(made.query(name).answer for name in made.homes),
            "the first records are in sync",
        )
        made.load = lambda test=False: mitx(
            test=test, purposes=["next-residential-live"], **made.overrides()
        )
        yield made
    finally:
        made.stop()
        for server in servers:
            server.shutdown()
            server.server_close()


def pointed(world, to):
    return world.load().states["mitx_site.dns_pointed"](f"names to {to}", to, guarded=True)


def finished(world, process):
    """Stop the visitor and return its last summary."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    return world.summary()


def test_on_and_off_under_load_leave_no_visitor_without_an_answer(world):
    world.ready()
    visits = world.visitor()

    on = pointed(world, "maintenance")
    assert on["result"] is True, on
    assert set(on["changes"]) == {"page", *world.homes}
    page_seen = {
        name: world.ask(world.distribution["DomainName"], host=name) for name in world.homes
    }
    until(
        lambda: all(host["page"] for host in world.summary()["hostnames"].values()),
        "every name shows the page",
    )
    again = pointed(world, "maintenance")
    assert (again["result"], again["changes"]) == (True, {}), again
    off = pointed(world, "site")
    assert off["result"] is True, off
    sites = {name: host["site"] for name, host in world.summary()["hostnames"].items()}
    until(
        lambda: all(
            host["site"] > sites[name] for name, host in world.summary()["hostnames"].items()
        ),
        "every name shows the site",
    )

    summary = finished(world, visits)
    assert summary["violations"] == 0, summary["first_violations"]
    assert summary["asked"] > 100
    for name, answer in page_seen.items():
        assert (answer.status, name) == (503, name)
        assert "data-mitx-maintenance" in answer.text
        assert answer.headers["Retry-After"].isdigit()
    for host in summary["hostnames"].values():
        assert [kind.partition(":")[0] for kind in host["targets"]] == ["elb", "cloudfront", "elb"]


def test_the_page_comes_with_503_and_retry_after_on_every_path_and_method(world):
    world.ready()
    assert pointed(world, "maintenance")["result"] is True
    for name in world.homes:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            for path in ("/", "/index.html", "/courses/x/about?a=b", "/api/user/v1/me"):
                answer = world.ask(
                    world.distribution["DomainName"], host=name, method=method, path=path
                )
                assert (answer.status, method, path) == (503, method, path)
                assert answer.headers["Retry-After"].isdigit()
                assert method == "HEAD" or "data-mitx-maintenance" in answer.text


def test_status_tells_what_visitors_get(world):
    world.ready()
    assert pointed(world, "maintenance")["result"] is True
    status = world.load().modules["mitx_site.dns.status"]()
    assert set(status) == set(world.homes)
    for name, line in status.items():
        assert line["shows"] == "maintenance", name
        assert "the maintenance page" in line["visitor"]
        assert set(line["resolvers"].values()) == {world.distribution["DomainName"]}


def test_a_resolver_that_still_answers_the_old_record_fails_the_step_and_is_named(world):
    world.ready()
    loaded, honest = world.load(), world.load().modules["mitx_site.probe.resolve"]

    def behind(names, servers=()):
        """
        What the resolvers say, and a second one that keeps the old record for longer than its time
        to live.
        """
        found = honest(names, servers)
        for name in set(names) & set(world.homes):
            found[name]["198.51.100.53"] = {
                "targets": [world.homes[name]],
                "addresses": [],
                "error": None,
            }
        return found

    loaded.settings["dns"]["public_timeout"] = 1
    loaded.modules["mitx_site.probe.resolve"] = behind
    loaded.modules.run.settings = loaded.settings

    ret = loaded.states["mitx_site.dns_pointed"]("names to the page", "maintenance")

    assert ret["result"] is False
    assert "198.51.100.53" in ret["comment"]
    assert set(ret["changes"]) == set(world.homes)
