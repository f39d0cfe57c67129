"""
The distribution, point by point: what would show visitors an error instead of the page is found
days before, with its fix.
"""

import datetime
import http.server
import ssl
import threading

import pytest
from salt.exceptions import CommandExecutionError

from sandbox.public import tls

pytest_plugins = ["tests.support.maintenance"]

LMS = "lms-next-qa.mitx.mit.edu"
PAGE = "<html data-mitx-maintenance='1'>Down</html>"


class Edge(http.server.ThreadingHTTPServer):
    """
    What CloudFront would answer, over TLS: ``status``, ``text``, ``headers``, and a list of what it
    was asked.
    """

    daemon_threads = True

    def __init__(self, pki):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.text, self.headers, self.asked = 503, PAGE, {"Retry-After": "300"}, []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki["certificate"], pki["key"])
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that does not trust us hangs up: that is what some tests want."""


class _Answer(http.server.BaseHTTPRequestHandler):
    def answer(self):
        edge = self.server
        edge.asked.append((self.command, self.headers["Host"], self.path))
        self.send_response(edge.status)
        for name, value in edge.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(edge.text.encode())

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def pki(tmp_path):
    return tls.make(tmp_path / "pki")


@pytest.fixture
def edge(pki):
    server = Edge(pki)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def check(site, load, edge, pki):
    """
    ``check(**overrides)``: the points by name, the distribution being found at ``edge``; the window
    is tomorrow's.
    """
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)

    def points(**overrides):
        checks = {
            "port": edge.server_address[1],
            "ca_bundle": pki["ca"],
            **overrides.pop("checks", {}),
        }
        window = {"start": f"{soon:%Y-%m-%d} 12:00", **overrides.pop("window", {})}
        mitx = load(checks=checks, window=window, **overrides)
        answer = {"addresses": ["127.0.0.1"], "targets": [], "error": None}
        mitx.modules["mitx_site.probe.resolve"] = lambda names, servers=(): {
            name: {"192.0.2.53": answer} for name in names
        }
        points.mitx = mitx
        return {
            one["point"]: one for one in mitx.modules["mitx_site.distribution.check"](mitx.settings)
        }

    return points


def publish(site, text=PAGE):
    site.aws.client("s3").put_object(
        Bucket="upgrading.mitx.mit.edu", Key="index.html", Body=text.encode()
    )


def bad(points):
    return {name: f"{one['found']}. {one['fix']}" for name, one in points.items() if not one["ok"]}


def test_a_distribution_as_the_documentation_makes_it_passes_in_two_calls(site, check, edge):
    publish(site)
    points = check()
    assert bad(points) == {}
    assert site.calls() == ["cloudfront.get_distribution", "s3.head_object"]
    assert set(points) == {
        "deployed",
        "domain name",
        "aliases",
        "origin",
        "root object",
        "error responses",
        "certificate",
        "private bucket",
        "answers",
    }


def test_before_the_first_publication_the_answers_are_not_judged(site, check, edge):
    edge.status, edge.text = 403, "AccessDenied"
    points = check()
    assert bad(points) == {}
    assert "answers" not in points
    assert edge.asked == []


def test_every_name_and_the_unusual_paths_and_methods_are_asked(site, check, edge):
    publish(site)
    check()
    asked = {(method, path) for method, host, path in edge.asked}
    assert {
        ("GET", "/"),
        ("GET", "/courses/nowhere?x=1"),
        ("HEAD", "/"),
        ("POST", "/login"),
    } == asked
    assert {host for _, host, _ in edge.asked} == set(site.names)


def test_a_missing_alias_is_named_with_its_fix(site, check):
    site.edit_distribution(
        Aliases={
            "Quantity": len(site.names) - 1,
            "Items": [name for name in site.names if name != LMS],
        }
    )
    found = bad(check())
    assert set(found) == {"aliases"}
    assert LMS in found["aliases"]
    assert "Add them" in found["aliases"]


def test_a_wildcard_alias_covers_one_label(site, check):
    site.edit_distribution(Aliases={"Quantity": 1, "Items": ["*.mitx.mit.edu"]})
    assert bad(check()) == {}
    site.edit_distribution(Aliases={"Quantity": 1, "Items": ["*.mit.edu"]})
    assert set(bad(check())) == {"aliases"}


def test_in_progress_is_not_deployed(site, check):
    site.aws.distribution(site.distribution_id, "InProgress")
    found = bad(check())
    assert "status is InProgress" in found["deployed"]


def test_a_disabled_distribution_is_told(site, check):
    site.edit_distribution(Enabled=False)
    assert "disabled" in bad(check())["deployed"]


def test_pillar_with_another_domain_name_is_told(site, check):
    points = check(
        maintenance={
            "distribution": {"id": site.distribution_id, "domain_name": "d0other.cloudfront.net"}
        }
    )
    assert site.domain_name in bad(points)["domain name"]


def test_a_distribution_that_is_not_there_is_told(site, check):
    found = bad(
        check(
            maintenance={
                "distribution": {"id": "EDFDVBD632BHDS", "domain_name": "d1.cloudfront.net"}
            }
        )
    )
    assert "no distribution EDFDVBD632BHDS" in found["distribution"]


def test_a_403_with_an_empty_code_is_told_as_missing_permission(site, check):
    site.aws.fault(
        service="cloudfront", operation="get_distribution", error="", status=403, times=None
    )
    found = bad(check())
    assert "credentials do not allow it" in found["distribution"]
    assert "cloudfront:GetDistribution" in found["distribution"]


ORIGIN = {"Id": "page", "S3OriginConfig": {"OriginAccessIdentity": ""}}


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (
            {"DomainName": "upgrading.mitx.mit.edu.s3-website-us-east-1.amazonaws.com"},
            "REST endpoint",
        ),
        ({"DomainName": "another-bucket.s3.us-east-1.amazonaws.com"}, "another-bucket"),
        (
            {"DomainName": "upgrading.mitx.mit.edu.s3.us-east-1.amazonaws.com"},
            "without an identity",
        ),
    ],
)
def test_an_origin_that_is_not_private_is_told(site, check, origin, said):
    site.edit_distribution(Origins={"Quantity": 1, "Items": [{**ORIGIN, **origin}]})
    assert said in bad(check())["origin"]


def test_an_origin_access_identity_of_the_older_kind_will_do(site, check):
    origin = {
        "Id": "page",
        "DomainName": "upgrading.mitx.mit.edu.s3.amazonaws.com",
        "S3OriginConfig": {
            "OriginAccessIdentity": "origin-access-identity/cloudfront/E74FTE3AEXAMPLE"
        },
    }
    site.edit_distribution(Origins={"Quantity": 1, "Items": [origin]})
    assert bad(check()) == {}


def test_a_bucket_that_anybody_can_read_is_told(site, check):
    publish(site)
    site.aws.client("s3").put_object_acl(
        Bucket="upgrading.mitx.mit.edu", Key="index.html", ACL="public-read"
    )
    found = bad(check())
    assert "answers 200 to anybody" in found["private bucket"]
    assert "Block all public access" in found["private bucket"]


def test_a_default_root_object_is_told(site, check):
    site.edit_distribution(DefaultRootObject="index.html")
    assert "/ answers 200" in bad(check())["root object"]


def rule(code, **changes):
    return {
        "ErrorCode": code,
        "ResponsePagePath": "/index.html",
        "ResponseCode": "503",
        "ErrorCachingMinTTL": 1,
        **changes,
    }


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([], "403 gives 403 with no page; 404 gives 404 with no page; 405"),
        ([rule(403), rule(404)], "405 gives 405 with no page"),
        ([rule(403, ResponseCode="200"), rule(404), rule(405)], "403 gives 200 with /index.html"),
        ([rule(403, ResponsePagePath="/old.html"), rule(404), rule(405)], "with /old.html"),
        ([rule(403), rule(404, ErrorCachingMinTTL=300), rule(405)], "404 is kept for 300 s"),
    ],
)
def test_error_responses_that_do_not_give_the_page_with_503_are_told(site, check, rules, said):
    site.edit_distribution(CustomErrorResponses={"Quantity": len(rules), "Items": rules})
    found = bad(check())
    assert said in found["error responses"]
    assert "503 with /index.html" in found["error responses"]


def test_a_certificate_that_ends_within_the_window_is_told(site, check):
    found = bad(check(window={"start": "2099-12-20 21:00"}))
    assert f"{LMS}: ends " in found["certificate"]
    assert "within the window or before it" in found["certificate"]


def test_a_certificate_that_does_not_cover_a_name_is_told(site, check, monkeypatch):
    # A name whose first label the wildcard covers, but not the second.
    domains = {"next-residential-live": {"lms": "lms.next.mitx.mit.edu"}}
    names = [name for purpose in domains.values() for name in purpose.values()]
    check()
    settings = {
        **check.mitx.settings,
        "records": [{**check.mitx.settings["records"][0], "name": name} for name in names],
    }
    points = {
        one["point"]: one for one in check.mitx.modules["mitx_site.distribution.check"](settings)
    }
    assert "lms.next.mitx.mit.edu" in points["certificate"]["found"]
    assert "certificate verify failed" in points["certificate"]["found"]
    assert "ACM" in points["certificate"]["fix"]


def test_a_certificate_of_nobody_trusted_is_told(site, check):
    assert "certificate verify failed" in bad(check(checks={"ca_bundle": None}))["certificate"]


def test_a_distribution_that_does_not_answer_is_told(site, check, edge):
    edge.shutdown()
    edge.server_close()
    assert "refused" in bad(check())["certificate"].lower()


def test_a_distribution_without_an_address_is_told(site, check):
    check()
    nothing = {"addresses": [], "targets": [], "error": "no such name"}
    check.mitx.modules["mitx_site.probe.resolve"] = lambda names, servers=(): {
        name: {"192.0.2.53": nothing} for name in names
    }
    points = {
        one["point"]: one
        for one in check.mitx.modules["mitx_site.distribution.check"](check.mitx.settings)
    }
    assert "192.0.2.53 says no such name" in points["certificate"]["found"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 200}, "status 200, not 503"),
        ({"text": "<html>Gone fishing</html>"}, "not our page"),
        ({"headers": {}}, "no Retry-After"),
        ({"headers": {"Retry-After": "soon"}}, "no Retry-After"),
    ],
)
def test_an_answer_that_is_not_the_page_with_503_is_told(site, check, edge, change, said):
    publish(site)
    for name, value in change.items():
        setattr(edge, name, value)
    found = bad(check())
    assert set(found) == {"answers"}
    assert f"GET {LMS}/: {said}" in found["answers"]


def test_everything_wrong_comes_at_once(site, check):
    site.aws.distribution(site.distribution_id, "InProgress")
    site.edit_distribution(Aliases={"Quantity": 0}, DefaultRootObject="index.html")
    check()
    with pytest.raises(CommandExecutionError) as caught:
        check.mitx.modules["mitx_site.distribution.require"](check.mitx.settings)
    for point in ("deployed", "aliases", "root object"):
        assert f"- {point}: " in str(caught.value)


def test_on_is_refused_while_the_distribution_would_not_serve(site, check):
    check()
    site.aws.distribution(site.distribution_id, "InProgress")
    before = site.records()
    site.aws.clear_calls()

    ret = check.mitx.pointed("maintenance", guarded=True)

    assert ret["result"] is False
    assert "status is InProgress" in ret["comment"]
    assert ret["changes"] == {}
    assert site.records() == before
    assert site.page() is None
    assert site.writes() == []


def test_on_publishes_the_page_first_and_then_moves_the_names(site, check):
    check()
    site.aws.clear_calls()
    ret = check.mitx.pointed("maintenance", guarded=True)
    assert ret["result"] is True, ret
    assert site.writes() == [
        "s3.put_object",
        "cloudfront.create_invalidation",
        "route53.change_resource_record_sets",
    ]
    assert set(ret["changes"]) == {"page", *site.names}
    site.aws.clear_calls()
    assert check.mitx.pointed("maintenance", guarded=True)["changes"] == {}
    assert site.calls() == ["route53.list_resource_record_sets"]
