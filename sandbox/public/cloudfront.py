"""
What CloudFront would answer: only for a distribution's aliases, and there the maintenance page from
its S3 origin.

A viewer-request function cannot be run here; what it does is: every path and method is answered
with the status of the distribution's custom error response (503), and ``Retry-After``. The page is
cached as CloudFront caches an error page, until an invalidation is ``Completed``: a forgotten one
shows.
"""

import dataclasses
import fnmatch
import re
import time

from sandbox.public import aws, http

DISTRIBUTIONS_SECONDS = 1.0
INVALIDATIONS_SECONDS = 0.5
RETRY_AFTER = "300"
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access'
    b" Denied</Message></Error>"
)


@dataclasses.dataclass
class Page:
    """An object of S3 as the edge holds it."""

    body: bytes
    headers: list
    until: float


class CloudFront:
    """All distributions. Its methods block on the fake AWS; safe to use from several threads."""

    def __init__(self, config):
        self._cloudfront, self._s3 = aws.client(config, "cloudfront"), aws.client(config, "s3")
        self._distributions = aws.Recent(self._list, DISTRIBUTIONS_SECONDS)
        self._invalidations = {}
        self._done = {}
        self._pages = {}

    def respond(self, request):
        """The response to a request as bytes."""
        distribution = self._distribution(request.host)
        head = request.start[0] == "HEAD"
        if distribution is None:
            text = "The request could not be satisfied. No distribution serves"
            text = f"{text} {request.host}.\n".encode()
            return http.response(403, [("X-Cache", "Error from cloudfront")], text, head)
        rule = _error_rule(distribution)
        page = self._page(distribution, rule) if rule else None
        if page is None:
            return http.response(
                403, [("Content-Type", "application/xml"), ("Server", "AmazonS3")], DENIED, head
            )
        headers = [
            *page.headers,
            ("Retry-After", RETRY_AFTER),
            ("X-Cache", "Error from cloudfront"),
        ]
        return http.response(int(rule["ResponseCode"]), headers, page.body, head)

    def _distribution(self, host):
        for distribution in self._distributions.get():
            aliases = distribution["Aliases"].get("Items", [])
            if distribution["Enabled"] and any(
                fnmatch.fnmatchcase(host, alias.lower()) for alias in aliases
            ):
                return distribution
        return None

    def _list(self):
        return self._cloudfront.list_distributions()["DistributionList"].get("Items", [])

    def _page(self, distribution, rule):
        """The page, or None where the bucket has none."""
        path = rule["ResponsePagePath"]
        key = (distribution["Id"], path)
        if self._invalidated(distribution["Id"], path):
            self._pages.pop(key, None)
        page = self._pages.get(key)
        if page is None or time.monotonic() >= page.until:
            page = self._pages[key] = self._fetch(distribution, rule, page)
        return page

    def _fetch(self, distribution, rule, stale):
        try:
            found = self._s3.get_object(
                Bucket=_bucket(distribution), Key=rule["ResponsePagePath"].lstrip("/")
            )
            body = found["Body"].read()
        except self._s3.exceptions.ClientError as err:
            if err.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                return None
            return stale
        except aws.ERRORS:
            return stale
        headers = [
            ("Content-Type", found.get("ContentType", "binary/octet-stream")),
            ("ETag", found["ETag"]),
        ]
        if found.get("CacheControl"):
            headers.append(("Cache-Control", found["CacheControl"]))
        age = max(
            _shared_age(found.get("CacheControl", "")), int(rule.get("ErrorCachingMinTTL", 10))
        )
        return Page(body, headers, time.monotonic() + age)

    def _invalidated(self, distribution, path):
        """Whether an invalidation of this path has been completed since this was last asked."""
        recent = self._invalidations.setdefault(
            distribution, aws.Recent(lambda: self._completed(distribution), INVALIDATIONS_SECONDS)
        )
        completed = recent.get()
        done = self._done.setdefault((distribution, path), set())
        new, self._done[distribution, path] = completed.keys() - done, completed.keys() | done
        return any(
            fnmatch.fnmatchcase(path, pattern) for each in new for pattern in completed[each]
        )

    def _completed(self, distribution):
        """``{id: [paths]}`` of every completed invalidation."""
        known = dict(self._invalidations[distribution].last or {})
        listed = self._cloudfront.list_invalidations(DistributionId=distribution)[
            "InvalidationList"
        ].get("Items", [])
        for each in listed:
            if each["Status"].lower() == "completed" and each["Id"] not in known:
                found = self._cloudfront.get_invalidation(
                    DistributionId=distribution, Id=each["Id"]
                )["Invalidation"]
                known[each["Id"]] = found["InvalidationBatch"]["Paths"]["Items"]
        return known


def _error_rule(distribution):
    """
    What the distribution answers for an object that S3 denies, or None if it passes S3's own answer
    on.
    """
    rules = distribution["CustomErrorResponses"].get("Items", [])
    return next(
        (rule for rule in rules if rule["ErrorCode"] == 403 and rule.get("ResponsePagePath")), None
    )


def _bucket(distribution):
    origin = distribution["Origins"]["Items"][0]["DomainName"]
    return re.split(r"\.s3[.-]", origin)[0]


def _shared_age(cache_control):
    """Seconds for which a shared cache may keep it, by ``Cache-Control``."""
    if re.search(r"no-cache|no-store|private", cache_control):
        return 0
    for name in ("s-maxage", "max-age"):
        found = re.search(rf"{name}\s*=\s*(\d+)", cache_control)
        if found:
            return int(found[1])
    return 0
