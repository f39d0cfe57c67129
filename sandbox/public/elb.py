"""
What a classic load balancer would answer: one of its instances in service, else 503 with an empty
body.
"""

import asyncio
import json
import pathlib
import random
import ssl

from sandbox.public import aws, common, http
from sandbox.public.verdict import BEHIND_HEADER, RELEASE_HEADER

BALANCERS_SECONDS = 1.0
HEALTH_SECONDS = 0.3
CONNECT_SECONDS = 5
# A little less than the visitor's patience, so that it is told 504 rather than nothing.
ANSWER_SECONDS = 12


class Balancers:
    """
    All load balancers: which there are, and who is in service behind each. Blocks on the fake AWS;
    thread safe.
    """

    def __init__(self, config):
        self._hosts = pathlib.Path(config["paths"]["hosts"])
        self._elb = aws.client(config, "elb")
        self._balancers = aws.Recent(self._list, BALANCERS_SECONDS)
        self._health = {}

    def addresses(self):
        """``{loopback address: name of the load balancer}``."""
        found = {}
        for name, dns_name in self._balancers.get().items():
            other = found.setdefault(common.address_of(dns_name), name)
            if other != name:
                raise SystemExit(
                    f"The load balancers {other} and {name} fall on the same loopback address;"
                    " rename one"
                )
        return found

    def members(self, name):
        """``(address, port)`` of every instance that gets requests."""
        return self._health.setdefault(
            name, aws.Recent(lambda: self._in_service(name), HEALTH_SECONDS)
        ).get()

    def recent_members(self, name):
        """The same without asking AWS, or None if that is what it takes."""
        return self._health[name].peek() if name in self._health else None

    def _list(self):
        found = self._elb.get_paginator("describe_load_balancers").paginate().build_full_result()
        return {
            balancer["LoadBalancerName"]: balancer["DNSName"]
            for balancer in found["LoadBalancerDescriptions"]
        }

    def _in_service(self, name):
        states = self._elb.describe_instance_health(LoadBalancerName=name)["InstanceStates"]
        # One that is being deregistered still reads InService, but only finishes what it has.
        serving = [
            state
            for state in states
            if state["State"] == "InService" and "deregistration" not in state["Description"]
        ]
        return [place for state in serving if (place := self._place(state["InstanceId"]))]

    def _place(self, instance):
        try:
            host = json.loads((self._hosts / instance / "host.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return host["address"], int(host["port"])


class Forwarder:
    """
    Passes requests on to instances over TLS, a new connection each. What a real load balancer does
    not do: it says in each answer which releases are behind it, so that one old instance among many
    is seen at once, and not by whoever happens to meet it.
    """

    def __init__(self, config):
        self._releases = {}
        # A load balancer does not check its instances' names; here at least the CA must be ours.
        self._tls = ssl.create_default_context(cafile=config["paths"]["ca"])
        self._tls.check_hostname = False

    async def respond(self, request, members):
        """
        The answer of one of ``members`` to the request, as bytes. Which one is chance: dealt in
        turn, across all load balancers, the requests for one name would all meet the same instance,
        and nobody a sick one beside it.
        """
        if not members:
            return http.response(503)
        chosen = random.choice(members)
        await self._look_at(request, members)
        try:
            answer = await asyncio.wait_for(self._ask(request, *chosen), ANSWER_SECONDS)
        except asyncio.TimeoutError:
            return http.response(504)
        except (OSError, http.Broken, asyncio.LimitOverrunError):
            return http.response(502)
        answer.headers = [
            pair for pair in answer.headers if pair[0].lower() not in ("connection", "keep-alive")
        ]
        self._learn(chosen, answer)
        behind = sorted({self._releases.get(place) or "" for place in members} - {""})
        answer.headers += [("Connection", "close"), (BEHIND_HEADER, " ".join(behind))]
        return answer.encode()

    async def _look_at(self, request, members):
        """Ask those of whom no release is known yet."""
        unknown = [place for place in members if place not in self._releases]
        asked = http.Message(
            ["GET", "/", "HTTP/1.1"], [("Host", request.host or ""), ("Connection", "close")]
        )
        for place in unknown:
            try:
                self._learn(
                    place, await asyncio.wait_for(self._ask(asked, *place), CONNECT_SECONDS)
                )
            except (OSError, asyncio.TimeoutError, http.Broken, asyncio.LimitOverrunError):
                # It is asked again with the next request.
                continue

    def _learn(self, place, answer):
        release = answer.header(RELEASE_HEADER)
        if release:
            self._releases[place] = release

    async def _ask(self, request, address, port):
        connecting = asyncio.open_connection(
            address, port, ssl=self._tls, server_hostname=request.host or None
        )
        reader, writer = await asyncio.wait_for(connecting, CONNECT_SECONDS)
        try:
            writer.write(_forwarded(request).encode())
            return await http.read_response(reader, request.start[0])
        finally:
            writer.close()


def _forwarded(request):
    drop = ("connection", "keep-alive", "x-forwarded-proto", "x-forwarded-port")
    headers = [pair for pair in request.headers if pair[0].lower() not in drop]
    headers += [
        ("Connection", "close"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
    ]
    return http.Message(request.start, headers, request.body)
