"""
What Salt Cloud's driver of EC2 needs besides: it counts lists from 0, names a filter's only value
without a number, and takes the second element of an answer for its content.
"""

import re
from urllib.parse import parse_qsl, urlencode

AGENT = "python-requests"
ONLY_VALUE = re.compile(r"^(Filter\.\d+\.Value)$")
REQUEST_ID_LAST = re.compile(
    r"^(.*?<\w+Response[^>]*>)(.*)(<requestId>[^<]*</requestId>)(</\w+Response>)\s*$", re.DOTALL
)
NOTHING_ELSE = re.compile(r"(</requestId>)(</\w+Response>)$")


def number(environ):
    """Write the query of a request as EC2's model has it; requests of others stay as they are."""
    if environ.get("HTTP_USER_AGENT", "").startswith(AGENT):
        pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        pairs = [(ONLY_VALUE.sub(r"\1.1", key), value) for key, value in pairs]
        from_zero = set()
        for key, _ in pairs:
            from_zero |= _counted_from_zero(key)
        pairs = [(_from_one(key, from_zero), value) for key, value in pairs]
        environ["QUERY_STRING"] = urlencode(pairs)


def readable(call, response):
    """Put the request's id first, as EC2 does, and something after it where there is nothing."""
    if call.service == "ec2" and call.agent == AGENT:
        text = REQUEST_ID_LAST.sub(r"\1\3\2\4", response.get_data(as_text=True))
        response.set_data(NOTHING_ELSE.sub(r"\1<return>true</return>\2", text))
    return response


def _counted_from_zero(key):
    """Names of the lists in a parameter's name, with what is before them, that begin at 0."""
    parts = key.split(".")
    return {".".join(parts[:at]) for at, part in enumerate(parts) if part == "0"}


def _from_one(key, from_zero):
    parts = key.split(".")
    counted = [
        str(int(part) + 1) if part.isdigit() and ".".join(parts[:at]) in from_zero else part
        for at, part in enumerate(parts)
    ]
    return ".".join(counted)
