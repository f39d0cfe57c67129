"""
The judge's sight: whatever is wrong for one second, at any moment, behind any load balancer, is in
the summary. Computed: the schedule of the visitor, what a load balancer would answer, no waiting.
"""

import itertools
import random

import pytest

from sandbox.public import verdict, visitor
from sandbox.public.summary import Summary

OLD, NEW = "juniper@1111111", "koa@2222222"
PLACES = {
    "lms-draft": "draft",
    "studio-draft": "draft",
    "preview-draft": "draft",
    "lms-live": "live",
    "preview-live": "live",
    "studio-live": "studio",
    "lms-current": "current",
    "studio-current": "current",
    "preview-current": "current",
}
OURS = ("draft", "live", "studio")
SECONDS, TRIALS = 20, 200
MARKER = "data-mitx-maintenance"


def answered(status, headers, body):
    headers = {name.lower(): value for name, value in headers.items()}
    return verdict.judge(status, lambda name: headers.get(name.lower()), body, MARKER)


def site(release, behind=None):
    headers = {verdict.RELEASE_HEADER: release, verdict.BEHIND_HEADER: behind or release}
    return answered(200, headers, f"runs {release}")


def mixed(members):
    """One of so many members is still of the old release."""

    def answer(chance):
        return site(OLD if chance.randrange(members) == 0 else NEW, f"{OLD} {NEW}")

    return answer


FAULTS = {
    **{f"two releases behind one of {count}": mixed(count) for count in (2, 3, 4, 12)},
    "page without 503": lambda chance: answered(200, {"Retry-After": "300"}, MARKER),
    "cut answer": lambda chance: ("violation", None, "Broken: the body ends too early"),
    "refused connection": lambda chance: ("violation", None, "ConnectionRefusedError: [Errno 111]"),
    "5xx": lambda chance: answered(500, {}, "Server Error"),
    "no member in service": lambda chance: answered(503, {}, ""),
}


def visits():
    """``(sent, host)`` as the visitor asks."""
    hosts = itertools.islice(visitor.rounds_of(list(PLACES)), int(SECONDS * visitor.RATE))
    return [(number / visitor.RATE, host) for number, host in enumerate(hosts)]


def violations(answers):
    """Of ``[(sent, host, (verdict, release, reason))]``, by the summary."""
    control = [name for name in PLACES if "-current" in name]
    summary = Summary(list(PLACES), 0.0, control=control)
    for sent, host, (said, release, reason) in answers:
        summary.add(
            {
                "host": host,
                "target": f"elb:{PLACES[host]}",
                "verdict": said,
                "release": release,
                "reason": reason,
                "status": 200,
                "sent": sent,
                "received": sent + 0.02,
            }
        )
    return summary.as_dict()["violations"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_second_of_a_fault_behind_one_load_balancer_is_seen_each_time(fault):
    for seed in range(TRIALS):
        random.seed(seed)
        chance = random.Random(seed)
        begin, place = chance.uniform(0, SECONDS - 1), chance.choice(OURS)
        found = violations(
            (
                sent,
                host,
                FAULTS[fault](chance)
                if PLACES[host] == place and begin <= sent < begin + 1
                else site(NEW),
            )
            for sent, host in visits()
        )
        assert found > 0, f"seed {seed}"


def test_one_answer_of_an_earlier_release_is_seen_each_time():
    for seed in range(TRIALS):
        random.seed(seed)
        asked = visits()
        # Each name has had an answer of the new release by then.
        later = [number for number, (sent, _) in enumerate(asked) if sent > 6]
        wrong = random.Random(seed).choice(later)
        found = violations(
            (sent, host, site(OLD if sent < 5 or number == wrong else NEW))
            for number, (sent, host) in enumerate(asked)
        )
        assert found == 1, f"seed {seed}"


def test_a_night_without_a_fault_has_no_violation():
    random.seed(0)
    assert violations((sent, host, site(NEW)) for sent, host in visits()) == 0


def test_the_swap_behind_the_page_is_no_violation():
    random.seed(0)
    page = answered(503, {"Retry-After": "300"}, MARKER)

    def said(sent):
        return site(OLD) if sent < 8 else page if sent < 12 else site(NEW)

    assert violations((sent, host, said(sent)) for sent, host in visits()) == 0
