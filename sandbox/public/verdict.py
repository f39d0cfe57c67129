"""
What a visitor may see: the site on one consistent release, or the maintenance page. Everything else
is a violation.
"""

import re

RELEASE = re.compile(r"[a-z]+@[0-9a-f]{7,40}\Z")
RELEASE_HEADER = "X-Open-edX-Release"
# What the sandbox's load balancers say of all that they would deal a request to.
BEHIND_HEADER = "X-Sandbox-Releases-Behind"


def judge(status, header, body, marker):
    """
    Judge one answer.

    status: int; header: function from a header's name to its value or None; body: str; marker: what
    the maintenance page has in it. Returns ``(verdict, release, reason)``: verdict ``site`` (with
    its release), ``page``, or ``violation`` (with the reason, one line).
    """
    release = header(RELEASE_HEADER)
    if marker in body:
        reason = _wrong_page(status, header, release)
        return ("violation", None, reason) if reason else ("page", None, None)
    reason = _wrong_site(status, release, body) or _mixed(header(BEHIND_HEADER))
    return ("violation", release, reason) if reason else ("site", release, None)


def _wrong_page(status, header, release):
    if status != 503:
        return f"the maintenance page with status {status}"
    if release:
        return f"the maintenance page as release {release}"
    if not (header("Retry-After") or "").isdigit():
        return "the maintenance page without Retry-After"
    return None


def _wrong_site(status, release, body):
    if status != 200:
        return f"status {status}: {_first_line(body)}"
    if not release or not RELEASE.match(release):
        return f"no release in the answer, {RELEASE_HEADER}: {release}"
    if release not in body:
        return f"the head says {release}, the page does not"
    return None


def _mixed(behind):
    releases = (behind or "").split()
    return f"{' and '.join(releases)} behind one load balancer" if len(releases) > 1 else None


def _first_line(body):
    text = re.sub(r"<[^>]*>|\s+", " ", body).strip()
    return text[:120] or "nothing in it"


class Order:
    """
    The releases that one hostname, or one load balancer, has served. A release may follow another;
    it may not come back, be it only for one answer. Only what was asked for *after* the newer one
    was seen counts as coming back.
    """

    def __init__(self, rollback=False):
        self._rollback = rollback
        self._page_since = False
        self.releases = []

    def page(self):
        """The maintenance page was seen."""
        self._page_since = True

    def site(self, release, sent, received):
        """A release was seen. Times in seconds. Returns None, or what is wrong with it."""
        newest = self.releases[-1] if self.releases else None
        if newest and newest["release"] == release:
            newest["last"] = max(newest["last"], received)
            newest["answers"] += 1
            return None
        back = any(each["release"] == release for each in self.releases)
        if back and sent <= newest["first"]:
            return None
        if back and not (self._rollback and self._page_since):
            return f"{release} again, after {newest['release']} had been served"
        self.releases.append(
            {
                "release": release,
                "first": received,
                "last": received,
                "answers": 1,
                "after_page": self._page_since,
            }
        )
        self._page_since = False
        return None
