"""What the visitor has seen so far, summed up."""

import datetime

from sandbox.public.verdict import Order

FIRST_VIOLATIONS = 20

# No answer of the site at all: what a machine that stalls looks like, too.
UNANSWERED = ("status 502", "status 504", "no answer", "TimeoutError", "ConnectionResetError")
# A stall is seen on the control group; seconds around it, and how many of them are one at most.
STALL_SECONDS, MOST_STALLS = 2, 5


class Summary:
    """
    Adds up answers in the order in which they came. ``rollback``: going back to an earlier release
    is right, if the maintenance page was seen in between. ``control``: host names of an environment
    that nobody touches; an answer missing there, or elsewhere at the same time, is a stall of the
    machine, and no violation.
    """

    def __init__(self, hostnames, started, rollback=False, control=()):
        self._rollback = rollback
        self._control, self._stalled, self._stalls = set(control), None, 0
        self._started = self._last = started
        self._hosts = {name: _Host(rollback) for name in hostnames}
        self._balancers = {}
        self._violations = []
        self._counts = {"site": 0, "page": 0, "violation": 0, "stall": 0}

    def add(self, answer):
        """
        Count one answer, a dict with ``host, target, verdict, release, reason, sent, received``
        (seconds since 1970). What is only wrong beside earlier answers becomes a violation here:
        ``verdict`` and ``reason`` are changed.
        """
        host = self._hosts[answer["host"]]
        if answer["verdict"] == "site":
            self._check_order(host, answer)
        elif answer["verdict"] == "page":
            self._page(host, answer["received"])
        elif self._is_stall(answer):
            answer["verdict"] = "stall"
        host.count(answer)
        self._counts[answer["verdict"]] += 1
        self._last = max(self._last, answer["received"])
        if answer["verdict"] == "violation" and len(self._violations) < FIRST_VIOLATIONS:
            self._violations.append(answer)

    def _is_stall(self, answer):
        """An environment that is broken for longer is no stall."""
        if not str(answer["reason"]).startswith(UNANSWERED):
            return False
        if answer["host"] in self._control:
            self._stalled = answer["received"]
            self._stalls += 1
            return self._stalls <= MOST_STALLS
        near = self._stalled is not None and answer["sent"] - self._stalled <= STALL_SECONDS
        return near and self._stalls <= MOST_STALLS

    def _check_order(self, host, answer):
        orders = [host.order]
        if answer["target"].startswith("elb:"):
            host.balancer = answer["target"]
            orders.append(self._balancers.setdefault(answer["target"], Order(self._rollback)))
        problems = [
            order.site(answer["release"], answer["sent"], answer["received"]) for order in orders
        ]
        reason = next(filter(None, problems), None)
        if reason:
            answer.update(verdict="violation", reason=reason)

    def _page(self, host, received):
        host.order.page()
        if host.balancer:
            self._balancers[host.balancer].page()
        host.window = (host.window or (received,))[0], received

    def as_dict(self, finished=False):
        """The summary as JSON can hold it: times in UTC, lengths in seconds."""
        elapsed = max(self._last - self._started, 0.001)
        asked = sum(self._counts.values())
        windows = [host.window for host in self._hosts.values() if host.window]
        whole = (
            (min(first for first, _ in windows), max(last for _, last in windows))
            if windows
            else None
        )
        return {
            "started": utc(self._started),
            "last": utc(self._last),
            "finished": finished,
            "asked": asked,
            "per_second": round(asked / elapsed, 1),
            "site": self._counts["site"],
            "page": self._counts["page"],
            "violations": self._counts["violation"],
            "stalls": self._counts["stall"],
            "first_violations": [written(answer) for answer in self._violations],
            "window": _window(whole),
            "hostnames": {name: host.as_dict() for name, host in self._hosts.items()},
            "balancers": {
                name.partition(":")[2]: _releases(order) for name, order in self._balancers.items()
            },
        }


class _Host:
    def __init__(self, rollback):
        self.order = Order(rollback)
        self.counts = {"site": 0, "page": 0, "violation": 0, "stall": 0}
        self.window, self.balancer = None, None
        self.targets, self.target_since = [], 0.0

    def count(self, answer):
        self.counts[answer["verdict"]] += 1
        # What was asked for before the newest target was first seen is only slow, not a way back.
        if answer["target"] not in self.targets[-1:] and answer["sent"] > self.target_since:
            self.targets.append(answer["target"])
            self.target_since = answer["received"]

    def as_dict(self):
        return {
            "site": self.counts["site"],
            "page": self.counts["page"],
            "violations": self.counts["violation"],
            "releases": _releases(self.order),
            "window": _window(self.window),
            "targets": self.targets,
        }


def written(answer):
    """An answer as it stands in ``visitor.jsonl``."""
    return {
        "time": utc(answer["sent"]),
        "host": answer["host"],
        "target": answer["target"],
        "status": answer["status"],
        "release": answer["release"],
        "verdict": answer["verdict"],
        "reason": answer["reason"],
        "ms": round((answer["received"] - answer["sent"]) * 1000),
    }


def utc(seconds):
    """Seconds since 1970 as ISO 8601."""
    return (
        datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _releases(order):
    return [
        {**each, "first": utc(each["first"]), "last": utc(each["last"])} for each in order.releases
    ]


def _window(times):
    if times is None:
        return None
    return {"first": utc(times[0]), "last": utc(times[1]), "seconds": round(times[1] - times[0], 1)}
