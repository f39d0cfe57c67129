"""
The maintenance page: rendered, published, and put back
=======================================================

The page is rendered from a Jinja template (``maintenance.template``, default
``salt://orchestrate/mitx/templates/maintenance.html.jinja``) and lies as one object in the bucket
from which the distribution answers. What is published says itself what it is, in the object's
metadata: its digest, which window it announces and until when. So one HEAD tells whether anything
is to do, and an overrun that was announced survives every later publication for the same window.
"""

import datetime
import hashlib
import re
import urllib.parse

import jinja2
import jinja2.sandbox
from salt.exceptions import CommandExecutionError

from mitx_run import aws, errors, events, record, wait, window
from mitx_run.dunders import __salt__

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = (
    "cloudfront:CreateInvalidation",
    "cloudfront:GetInvalidation",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
)

TEMPLATE = "salt://orchestrate/mitx/templates/maintenance.html.jinja"

CONTENT_TYPE = "text/html; charset=utf-8"

# Browsers and CloudFront ask again each time; the page changes in the middle of the night.
CACHE_CONTROL = "no-cache, max-age=0"

_LARGEST = 30_000

_METADATA = ("sha256", "start", "end", "until")

_MARKER = re.compile(r"data-[a-z0-9-]+\Z")

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%*+/=^_~-]+@[A-Za-z0-9.-]+\Z")


def render(settings, until=None, unannounced=False):
    """
    Return the page as HTML (str).

    until
        When the site is now expected back, in any form that ``window.until`` takes.
    unannounced
        Say nothing of the announced window: for maintenance that has nothing to do with it.

    Raises ``CommandExecutionError`` if the template fails, or makes something that cannot be our
    page.
    """
    return _page(settings, _moment(settings, until, unannounced), unannounced)


# A sentence or two, such as that what was submitted is kept.
_LONGEST_NOTE = 500

_TOO_MANY = "TooManyInvalidationsInProgress"


def published(run):
    """
    Return what the bucket holds: ``{sha256, start, end, until, bytes, modified, content_type,
    cache_control}``, the first four ``None`` if it was not published by us; ``None`` if it holds no
    page. One call.
    """
    head = aws.call(run, "s3", "head_object", absent=(404,), **_object(run.settings))
    if head is None:
        return None
    metadata = head.get("Metadata") or {}
    return {
        **{key: metadata.get(f"mitx-{key}") for key in _METADATA},
        "bytes": head.get("ContentLength"),
        "modified": str(head.get("LastModified")),
        "content_type": head.get("ContentType"),
        "cache_control": head.get("CacheControl"),
    }


def plan(run, until=None, unannounced=False):
    """
    Return ``{before, after, changed, changes, calls}``: what is there (:py:func:`published`), what
    will be, whether they differ, ``{key: {old, new}}`` of what does, and the calls that publish it.
    An end that was announced for the same window is kept if none is given. One call.
    """
    before, moment = published(run), _moment(run.settings, until, unannounced)
    window = {} if unannounced else run.settings["window"]
    times = {"start": window.get("start_utc"), "end": window.get("end_utc")}
    if (
        moment is None
        and times["start"]
        and before
        and all(before[key] == times[key] for key in times)
    ):
        moment = _kept(run.settings, before["until"])
    html = _page(run.settings, moment, unannounced)
    after = {
        "sha256": hashlib.sha256(html.encode()).hexdigest(),
        **times,
        "until": moment and moment["until_utc"],
        "bytes": len(html.encode()),
        "content_type": CONTENT_TYPE,
        "cache_control": CACHE_CONTROL,
    }
    changes = {
        key: {"old": (before or {}).get(key), "new": value}
        for key, value in after.items()
        if (before or {}).get(key) != value
    }
    if not changes and _invalidation_missing(run, after["sha256"]):
        # The page is there, and CloudFront may still have the one before: two effects, and the
        # second is missing.
        changes = {"invalidation": {"old": None, "new": "/*"}}
    return {
        "before": before,
        "after": after,
        "changed": bool(changes),
        "changes": changes,
        "calls": _calls(run.settings, html, after, changes),
    }


def _calls(settings, html, after, changes):
    """Two effects, two calls; of a page that is there already, the second alone may be missing."""
    if not changes:
        return []
    put = _put(settings, html, after)
    forget = _invalidate(settings, after["sha256"])
    return [forget] if "invalidation" in changes else [put, forget]


def publish(run, planned):
    """
    Publish the page of a :py:func:`plan`. Returns ``{previous, invalidation, notes}``: ``previous``
    is the path of a copy of the page that was replaced or ``None``; ``invalidation`` is ``None`` or
    ``{id, status}``; ``notes`` are sentences an operator should read.

    Calls: none if nothing is to do, else 3 (2 for the first page ever) and one for each look at the
    invalidation.
    """
    if not planned["changed"]:
        return {"previous": None, "invalidation": None, "notes": []}
    *put, forget = planned["calls"]
    previous = _keep(run) if put and planned["before"] else None
    digest = planned["after"]["sha256"]
    for call in put:
        events.write(run, "page", stage="putting", sha256=digest)
        call.make(run)
    return {"previous": previous, **_forget(run, forget, digest)}


def preview(run, until=None):
    """
    Write the page to the run's folder, publish nothing, and return the file's path.
    """
    return record.capture(run, "page/preview.html", render(run.settings, until))


def _page(settings, moment, unannounced):
    html = _fill(settings, _context(settings, moment, unannounced))
    size, marker = len(html.encode()), settings["maintenance"]["marker"]
    problem = None
    if not re.search(rf"<html\b[^>]*\s{re.escape(marker)}=", html):
        problem = (
            f"<html> does not carry {marker}, by which the checks know the page: {{{{ marker"
            ' }}="{{ version }}"'
        )
    elif size > _LARGEST:
        problem = f"the page has {size} bytes; it must not have more than {_LARGEST}"
    if problem:
        raise CommandExecutionError(f"{_template(settings)}: {problem}. Nothing was published.")
    return html


def _fill(settings, context):
    template = _template(settings)
    source = __salt__["cp.get_file_str"](template)
    if not source:
        raise CommandExecutionError(
            f"The template {template} (pillar maintenance.template) was not found. Nothing was"
            " published."
        )
    # Sandboxed: an environment's template decides how the page looks, not what this process does.
    environment = jinja2.sandbox.SandboxedEnvironment(
        autoescape=True, undefined=jinja2.StrictUndefined
    )
    try:
        return environment.from_string(source).render(**context).lstrip()
    except Exception as err:  # noqa: BLE001 a template can raise whatever Python can
        where = f", line {err.lineno}" if getattr(err, "lineno", None) else ""
        raise CommandExecutionError(
            f"{template}{where}: {type(err).__name__}: {err}. Nothing was published."
        ) from err


def _context(settings, moment, unannounced):
    maintenance, announced = settings["maintenance"], None
    if not _MARKER.match(maintenance["marker"]):
        raise CommandExecutionError(
            "maintenance.marker must be an attribute such as data-mitx-maintenance, is"
            f" {maintenance['marker']!r}"
        )
    if settings["window"].get("start") and not unannounced:
        announced = window.times(settings["window"])
    texts = window.texts(settings["window"])
    if unannounced:
        # The pillar's reason belongs to the window.
        texts["reason"] = "we work on it"
    context = {
        "name": maintenance.get("name") or "Residential MITx",
        "hostnames": [record["name"] for record in settings["records"]],
        **texts,
        "contact_href": _href(texts["contact"]),
        "note": _note(maintenance.get("note")),
        "window": announced,
        "until": moment,
        "marker": maintenance["marker"],
    }
    context["version"] = hashlib.sha256(repr(sorted(context.items())).encode()).hexdigest()[:12]
    return context


def _template(settings):
    return settings["maintenance"]["template"] or TEMPLATE


def _note(text):
    words = " ".join(str(text or "").split())
    return "".join(one for one in words if one.isprintable())[:_LONGEST_NOTE]


def _href(contact):
    if _EMAIL.match(contact):
        return "mailto:" + urllib.parse.quote(contact, safe="@")
    return contact if re.match(r"https?://[^\s\"'<>]+\Z", contact) else None


def _moment(settings, until, unannounced):
    if until is None:
        return None
    if unannounced:
        raise CommandExecutionError(
            "until belongs to an announced window; maintenance that was not announced has none"
        )
    return window.until(settings, until)


def _kept(settings, until):
    # Announced once, it is shown until another is, also when that moment has passed meanwhile.
    return until and window.until(settings, until, now=settings["window"]["start_utc"])


def _object(settings):
    return {"Bucket": settings["maintenance"]["bucket"], "Key": settings["maintenance"]["key"]}


def _keep(run):
    """
    Copy the published page to the run's folder; return the copy's path.
    """
    answer = aws.call(run, "s3", "get_object", absent=(404,), **_object(run.settings))
    if answer is None:
        return None
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    return record.capture(run, f"page/{stamp}.html", answer["Body"].decode(errors="replace"))


def _put(settings, html, after):
    metadata = {f"mitx-{key}": after[key] for key in _METADATA if after.get(key)}
    return aws.planned(
        "s3",
        "put_object",
        **_object(settings),
        Body=html.encode(),
        ContentType=CONTENT_TYPE,
        CacheControl=CACHE_CONTROL,
        Metadata=metadata,
    )


def _invalidate(settings, digest):
    distribution = settings["maintenance"]["distribution"]["id"]
    reference = f"{digest[:16]}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S.%f}"
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": reference}
    return aws.planned(
        "cloudfront", "create_invalidation", DistributionId=distribution, InvalidationBatch=batch
    )


def _forget(run, call, digest):
    """
    Have CloudFront forget the old page and wait a while. Slow is no failure: it is only a note.
    """
    try:
        answer = call.make(run)["Invalidation"]
    except CommandExecutionError as err:
        if not (isinstance(err, errors.AWSTransient) or getattr(err, "code", "") == _TOO_MANY):
            raise CommandExecutionError(
                "The page is published, but CloudFront's copies of the old one were not"
                f" invalidated: {err}"
            ) from err
        note = f"The page is published; visitors may see the old one for some minutes: {err}"
        return {"invalidation": None, "notes": [note]}
    events.write(run, "page", stage="invalidated", sha256=digest)
    distribution = run.settings["maintenance"]["distribution"]["id"]
    invalidation = {"id": answer["Id"], "status": answer["Status"]}
    return _await_invalidation(run, distribution, invalidation)


def _invalidation_missing(run, digest):
    """
    Whether whoever put this page into the bucket last, in whatever run, did not come to have the
    old one forgotten.
    """
    everywhere = [".", *(one["id"] for one in record.runs(run))]
    lines = [line for where in everywhere for line in events.read(run, "page", run_id=where)]
    last = max(lines, key=lambda line: line["time"], default={})
    return (last.get("stage"), last.get("sha256")) == ("putting", digest)


def _await_invalidation(run, distribution, invalidation):
    def look():
        answer = aws.call(
            run,
            "cloudfront",
            "get_invalidation",
            DistributionId=distribution,
            Id=invalidation["id"],
        )
        invalidation["status"] = answer["Invalidation"]["Status"]
        return _is_over(invalidation), invalidation["status"]

    if _is_over(invalidation):
        return {"invalidation": invalidation, "notes": []}
    try:
        wait.until(
            run,
            look,
            timeout=run.settings["maintenance"]["invalidation_timeout"],
            interval=min(run.settings["dns"]["interval"], 2),
            what=f"Invalidation {invalidation['id']} of {distribution}",
        )
    except CommandExecutionError as err:
        return {
            "invalidation": invalidation,
            "notes": [
                f"The page is published; visitors may see the old one for some minutes: {err}"
            ],
        }
    return {"invalidation": invalidation, "notes": []}


def _is_over(invalidation):
    return invalidation["status"].lower() == "completed"
