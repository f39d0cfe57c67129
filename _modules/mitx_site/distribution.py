"""
The CloudFront distribution of the maintenance page, checked point by point
===========================================================================

The window never edits a distribution: that takes minutes, and adding a name to one can be refused.
So it is checked days ahead, each failing point with its fix. What can be seen from outside is
looked at from outside, as a visitor would: the certificate that is really presented for each name,
and the answer that really comes.

``docs/maintenance.md`` tells how to set it up.
"""

import concurrent.futures
import contextlib
import datetime
import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.request

from salt.exceptions import CommandExecutionError

from mitx_run import aws
from mitx_site import page, probe

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("cloudfront:GetDistribution",)

_ERRORS = (403, 404, 405)

_LONGEST_ERROR_CACHE = 10

_PARALLEL = 8

# Beside "/": what no browser of a visitor asks for, but course software, robots and forms do.
_OTHER_REQUESTS = (("GET", "/courses/nowhere?x=1"), ("HEAD", "/"), ("POST", "/login"))


def check(run):
    """
    Look at every point on which the maintenance page depends. Returns a list of ``{point, ok,
    found, fix}``; ``fix`` is empty where ``ok``. Two AWS calls, and one or more requests to the
    distribution for each public name.

    Whether visitors really get the page is only looked at once one has been published.
    """
    try:
        distribution = _distribution(run)
    except CommandExecutionError as err:
        return [
            _point(
                "distribution",
                str(err),
                "Allow these credentials cloudfront:GetDistribution on it, then try again.",
            )
        ]
    if distribution is None:
        id_ = run.settings["maintenance"]["distribution"]["id"]
        return [
            _point(
                "distribution",
                f"there is no distribution {id_}",
                "Correct maintenance.distribution.id, or create it.",
            )
        ]
    points = [look(run.settings, distribution) for look in _LOOKS]
    address = _address(run.settings)
    points.append(_certificates(run.settings, address))
    points.append(_private_bucket(run.settings))
    if page.published(run):
        points.append(_answers(run.settings, address))
    return points


def require(run):
    """
    Raise ``CommandExecutionError`` with every failing point of :py:func:`check` and its fix.
    Returns the points.
    """
    points = check(run)
    bad = [f"{one['point']}: {one['found']}. {one['fix']}" for one in points if not one["ok"]]
    if bad:
        raise CommandExecutionError(
            "The maintenance page would not be seen as it should; nothing was changed.\n  - "
            + "\n  - ".join(bad)
        )
    return points


def _distribution(run):
    answer = aws.call(
        run,
        "cloudfront",
        "get_distribution",
        absent=("NoSuchDistribution",),
        Id=run.settings["maintenance"]["distribution"]["id"],
    )
    return answer and answer["Distribution"]


def _deployed(settings, distribution):
    status, enabled = distribution["Status"], distribution["DistributionConfig"]["Enabled"]
    if not enabled:
        return _point("deployed", "it is disabled", "Enable it and wait for Deployed.")
    if status.lower() != "deployed":
        return _point(
            "deployed",
            f"its status is {status}",
            "Wait: CloudFront needs some minutes after each edit.",
        )
    return _good("deployed", status)


def _domain_name(settings, distribution):
    wanted, found = (
        settings["maintenance"]["distribution"]["domain_name"],
        distribution["DomainName"],
    )
    if _plain(wanted) != _plain(found):
        return _point(
            "domain name",
            f"it is {found}, pillar says {wanted}",
            "Correct maintenance.distribution in pillar: DNS would point elsewhere.",
        )
    return _good("domain name", found)


def _aliases(settings, distribution):
    aliases = [
        _plain(alias) for alias in distribution["DistributionConfig"]["Aliases"].get("Items") or ()
    ]
    # A wildcard stands for exactly one label.
    missing = [
        name
        for name in _hostnames(settings)
        if not {_plain(name), "*." + _plain(name).partition(".")[2]} & set(aliases)
    ]
    if missing:
        return _point(
            "aliases",
            f"these public names are no alias: {', '.join(missing)}",
            "Add them (an alias belongs to one distribution only), days ahead: it takes minutes,"
            " and visitors get 403 without.",
        )
    return _good("aliases", f"all {len(settings['records'])} names")


def _origin(settings, distribution):
    bucket = settings["maintenance"]["bucket"]
    rest = re.compile(rf"{re.escape(bucket)}\.s3([.-](?!website)[a-z0-9-]+)?\.amazonaws\.com")
    found = [
        origin
        for origin in distribution["DistributionConfig"]["Origins"]["Items"]
        if rest.fullmatch(origin["DomainName"])
    ]
    if not found:
        domains = ", ".join(
            origin["DomainName"]
            for origin in distribution["DistributionConfig"]["Origins"]["Items"]
        )
        return _point(
            "origin",
            f"it is {domains}",
            f"Use the REST endpoint of the bucket, {bucket}.s3.<region>.amazonaws.com, not the"
            " website one.",
        )
    identity = found[0].get("OriginAccessControlId") or (found[0].get("S3OriginConfig") or {}).get(
        "OriginAccessIdentity"
    )
    if not identity:
        return _point(
            "origin",
            f"{found[0]['DomainName']} is read without an identity",
            "Attach an origin access control, and let the bucket's policy allow it.",
        )
    return _good("origin", f"{found[0]['DomainName']} with {identity}")


def _root_object(settings, distribution):
    found = distribution["DistributionConfig"].get("DefaultRootObject")
    if found:
        return _point(
            "root object",
            f"DefaultRootObject is {found}: / answers 200",
            "Remove it, so that / is an error too and answers 503.",
        )
    return _good("root object", "none")


def _error_responses(settings, distribution):
    page = f"/{settings['maintenance']['key']}"
    items = distribution["DistributionConfig"].get("CustomErrorResponses", {}).get("Items") or ()
    rules = {item["ErrorCode"]: item for item in items}
    wrong = []
    for code in _ERRORS:
        rule = rules.get(code) or {}
        if rule.get("ResponsePagePath") != page or str(rule.get("ResponseCode")) != "503":
            wrong.append(
                f"{code} gives {rule.get('ResponseCode') or code} with"
                f" {rule.get('ResponsePagePath') or 'no page'}"
            )
        elif rule.get("ErrorCachingMinTTL", _LONGEST_ERROR_CACHE) > _LONGEST_ERROR_CACHE:
            wrong.append(f"{code} is kept for {rule['ErrorCachingMinTTL']} s")
    if wrong:
        return _point(
            "error responses",
            "; ".join(wrong),
            f"Let 403, 404 and 405 give 503 with {page}, ErrorCachingMinTTL at most"
            f" {_LONGEST_ERROR_CACHE} s.",
        )
    return _good("error responses", f"503 with {page}")


_LOOKS = (_deployed, _domain_name, _aliases, _origin, _root_object, _error_responses)


def _certificates(settings, address):
    """
    Look at the certificate that is presented for each name: trusted, for this name, and valid past
    the window.
    """
    if settings["checks"]["scheme"] != "https":
        return _good("certificate", "not looked at: checks.scheme is http")
    until = _needed_until(settings)

    def look(name):
        with _connected(settings, address, name) as connection:
            expires = ssl.cert_time_to_seconds(connection.sock.getpeercert()["notAfter"])
        end = datetime.datetime.fromtimestamp(expires, datetime.timezone.utc)
        return (
            None
            if end > until
            else f"{name}: ends {end:%Y-%m-%d %H:%M} UTC, within the window or before it"
        )

    wrong = _each(look, _hostnames(settings))
    if wrong:
        return _point(
            "certificate",
            "; ".join(wrong),
            "Attach a certificate from ACM (us-east-1) that covers every public name past the"
            " window.",
        )
    return _good(
        "certificate",
        f"covers all {len(settings['records'])} names past {until:%Y-%m-%d %H:%M} UTC",
    )


def _private_bucket(settings):
    """
    Ask S3 for the page without credentials: whoever can read it there gets 200, and may index it.
    """
    maintenance, fix = (
        settings["maintenance"],
        "Block all public access to the bucket; only the distribution may read it.",
    )
    base = (
        settings["aws"]["endpoint_url"]
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or f"https://s3.{settings['aws']['region']}.amazonaws.com"
    )
    # Path style: a bucket's name with dots in it matches no certificate as a host name.
    url = f"{base}/{maintenance['bucket']}/{maintenance['key']}"
    try:
        with urllib.request.urlopen(url, timeout=_timeout(settings)) as answer:
            return _point("private bucket", f"{url} answers {answer.status} to anybody", fix)
    except urllib.error.HTTPError as err:
        return _good("private bucket", f"answers {err.code} without credentials")
    except OSError as err:
        return _point(
            "private bucket", f"{url} could not be asked: {err}", "Let this master reach S3."
        )


def _answers(settings, address):
    """
    Ask the distribution as visitors of every name would: 503, the page's marker, and Retry-After.
    """
    names = _hostnames(settings)
    requests = [(name, "GET", "/") for name in names] + [
        (names[0], *other) for other in _OTHER_REQUESTS
    ]

    def look(request):
        name, method, path = request
        status, headers, body = _ask(settings, address, *request)
        wrong = [] if status == 503 else [f"status {status}, not 503"]
        if method != "HEAD" and settings["maintenance"]["marker"] not in body:
            wrong.append("not our page")
        if not (headers.get("Retry-After") or "").strip().isdigit():
            wrong.append("no Retry-After")
        return f"{method} {name}{path}: {', '.join(wrong)}" if wrong else None

    wrong = _each(look, requests)
    if wrong:
        return _point(
            "answers",
            "; ".join(wrong),
            "Publish the page (salt-run mitx.announce); set up the error responses and the"
            " viewer-request function.",
        )
    return _good("answers", f"503 with the page and Retry-After to {len(requests)} requests")


def _each(look, items):
    """
    Return what ``look`` complains of, for all items at the same time. No answer is a complaint too.
    """

    def safely(item):
        try:
            return look(item)
        except (OSError, http.client.HTTPException, CommandExecutionError) as err:
            return (
                f"{item if isinstance(item, str) else ' '.join(item[1:]) + ' of ' + item[0]}: {err}"
            )

    with concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
        return [complaint for complaint in pool.map(safely, items) if complaint]


def _ask(settings, address, name, method, path):
    with _connected(settings, address, name) as connection:
        connection.request(
            method,
            path,
            headers={"Host": name, "Accept": "text/html", "User-Agent": "saltext-mitx"},
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(100_000).decode(errors="replace")


@contextlib.contextmanager
def _connected(settings, address, name):
    """
    Connect to the distribution as a visitor of ``name`` would after the swap, whatever DNS says of
    that name now.
    """
    if isinstance(address, CommandExecutionError):
        raise address
    port, timeout = settings["checks"]["port"], _timeout(settings)
    connection = http.client.HTTPConnection(name, port, timeout=timeout)
    connection.sock = socket.create_connection((address, port), timeout)
    try:
        if settings["checks"]["scheme"] == "https":
            context = ssl.create_default_context(cafile=settings["checks"]["ca_bundle"])
            connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
        yield connection
    finally:
        connection.close()


def _address(settings):
    """
    Return an address of the distribution, or the error that there is none: each point that needs it
    tells it.
    """
    name = settings["maintenance"]["distribution"]["domain_name"]
    try:
        answers = probe.resolve([name], settings["checks"]["resolvers"])[name]
    except CommandExecutionError as err:
        return err
    addresses = [address for answer in answers.values() for address in answer["addresses"]]
    said = ", ".join(f"{server} says {answer['error']}" for server, answer in answers.items())
    return addresses[0] if addresses else CommandExecutionError(f"{name} has no address: {said}")


def _needed_until(settings):
    now = datetime.datetime.now(datetime.timezone.utc)
    end = settings["window"].get("end_utc")
    return max(now, datetime.datetime.fromisoformat(end.replace("Z", "+00:00"))) if end else now


def _timeout(settings):
    # One look of a check; what waits for a switch has checks.timeout for all of its looks.
    return min(10, settings["checks"]["timeout"])


def _hostnames(settings):
    return [record["name"] for record in settings["records"]]


def _plain(name):
    return name.rstrip(".").lower()


def _good(point, found):
    return {"point": point, "ok": True, "found": found, "fix": ""}


def _point(point, found, fix):
    return {"point": point, "ok": False, "found": found, "fix": fix}
