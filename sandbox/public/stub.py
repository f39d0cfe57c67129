"""
The resolver of a visitor's machine: asks the sandbox's name server, and remembers for as long as
the TTL says.
"""

import asyncio
import dataclasses
import time

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from sandbox.public import common

# As a stub resolver does it; a datagram may get lost.
ATTEMPTS = 3
ATTEMPT_SECONDS = 3


class NoAnswer(Exception):
    """The name does not lead to an address, or the name server does not say so in time."""


@dataclasses.dataclass
class Place:
    """
    Where a name leads: what kind of thing (``cloudfront``, ``elb:<name>``, ``other``) and its
    address.
    """

    kind: str
    address: str
    until: float


class Stub:
    """Looks names up at one name server."""

    def __init__(self, address, port):
        self._address, self._port = address, port
        self._known, self._locks = {}, {}

    async def resolve(self, name):
        """
        The Place of ``name``; raises :class:`NoAnswer`. Whoever asks for the same name meanwhile
        waits for one answer.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            place = self._known.get(name)
            if place is None or time.monotonic() >= place.until:
                self._known.pop(name, None)
                place = self._known[name] = await self._ask(name)
            return place

    async def _ask(self, name):
        query = dns.message.make_query(name, "A")
        for _ in range(ATTEMPTS):
            try:
                answer = await dns.asyncquery.udp(
                    query, self._address, timeout=ATTEMPT_SECONDS, port=self._port
                )
            except dns.exception.Timeout:
                continue
            except (dns.exception.DNSException, OSError) as err:
                raise NoAnswer(f"{type(err).__name__}: {err}") from err
            return _place(name, answer)
        raise NoAnswer(f"no answer in {ATTEMPTS * ATTEMPT_SECONDS} s")


def _place(name, answer):
    addresses = [rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A]
    if not addresses:
        raise NoAnswer(f"{name} has no address: {dns.rcode.to_text(answer.rcode())}")
    ttl = min(rrset.ttl for rrset in answer.answer)
    return Place(
        _kind(common.normal(addresses[0].name)), addresses[0][0].address, time.monotonic() + ttl
    )


def _kind(name):
    if name.endswith("." + common.CLOUDFRONT_ZONE):
        return "cloudfront"
    if name.endswith("." + common.ELB_ZONE):
        return "elb:" + name.partition(".")[0]
    return "other"
