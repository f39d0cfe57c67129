"""What a campaign sees: a leak is found, and what varies is none."""

import pytest

from tests.campaigns import __main__ as campaigns


def rounds(*descriptors):
    return [{"processes": 13, "descriptors": n, "MiB": 900} for n in descriptors]


@pytest.mark.parametrize(
    ("descriptors", "told"),
    [
        # In the first round Salt loads what it needs.
        ((300, 700, 710, 705), []),
        ((700, 800, 900, 1100), ["descriptors grew from 800 to 1100 in 4 rounds"]),
        ((700, 1400, 2800), []),
    ],
)
def test_what_grows_round_by_round_is_a_leak(descriptors, told):
    assert campaigns._grown(rounds(*descriptors)) == told
