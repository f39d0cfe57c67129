"""
Where the sandbox's public names lead: CloudFront on one loopback address, each load balancer on its
own.

All of them listen on the same TLS port (``ports.edge``) and, if there is one, plain port
(``ports.edge_http``). A load balancer that is made later gets its listener within a second.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import pathlib
import signal
import ssl
import sys

from sandbox.public import aws, common, http
from sandbox.public.cloudfront import CloudFront
from sandbox.public.elb import Balancers, Forwarder

DISCOVER_SECONDS = 1.0
REQUEST_SECONDS = 15
LARGEST_HEAD = 64 * 1024


class Edge:
    """The listeners, and what each of them answers with."""

    def __init__(self, config):
        self._ports = config["ports"]
        self._balancers, self._forwarder, self._cloudfront = (
            Balancers(config),
            Forwarder(config),
            CloudFront(config),
        )
        self._threads = concurrent.futures.ThreadPoolExecutor(8, "aws")
        self._tls = _server_context(pathlib.Path(config["paths"]["pki"]))
        self._listeners = {}

    async def run(self, stop):
        """Serve until ``stop`` (an ``asyncio.Event``) is set."""
        await self._listen(common.address_of(common.CLOUDFRONT_ZONE), self._from_cloudfront)
        while not stop.is_set():
            with contextlib.suppress(*aws.ERRORS):
                await self._discover()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), DISCOVER_SECONDS)
        for address in list(self._listeners):
            self._close(address)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _discover(self):
        wanted = await self._blocking(self._balancers.addresses)
        here = common.address_of(common.CLOUDFRONT_ZONE)
        for address in self._listeners.keys() - wanted.keys() - {here}:
            self._close(address)
        for address in wanted.keys() - self._listeners.keys():
            await self._listen(address, functools.partial(self._from_balancer, wanted[address]))

    async def _listen(self, address, respond):
        serve = functools.partial(self._serve, respond)
        servers = [
            await asyncio.start_server(
                serve, address, self._ports["edge"], ssl=self._tls, limit=LARGEST_HEAD, backlog=512
            )
        ]
        if self._ports.get("edge_http"):
            servers.append(
                await asyncio.start_server(
                    serve, address, self._ports["edge_http"], limit=LARGEST_HEAD
                )
            )
        self._listeners[address] = servers

    def _close(self, address):
        for server in self._listeners.pop(address):
            server.close()

    async def _serve(self, respond, reader, writer):
        try:
            request = await asyncio.wait_for(http.read_request(reader), REQUEST_SECONDS)
            if request is not None:
                writer.write(await respond(request))
                await writer.drain()
        except (http.Broken, asyncio.LimitOverrunError):
            writer.write(http.response(400))
        except aws.ERRORS as err:
            print(f"edge: {err}", file=sys.stderr, flush=True)
            writer.write(http.response(500))
        except (OSError, asyncio.TimeoutError):
            # The client went away, or never said what it wants.
            pass
        finally:
            writer.close()

    async def _from_cloudfront(self, request):
        return await self._blocking(self._cloudfront.respond, request)

    async def _from_balancer(self, name, request):
        members = self._balancers.recent_members(name)
        if members is None:
            members = await self._blocking(self._balancers.members, name)
        return await self._forwarder.respond(request, members)

    async def _blocking(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def _server_context(pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    # Every connection is used once: tickets for the next one would only cost.
    context.num_tickets = 0
    return context


async def serve(config):
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Edge(config).run(stop)


def main(argv=None):
    """``python -m sandbox.public.edge --dir $SANDBOX``."""
    options = common.arguments(__doc__.strip().splitlines()[0]).parse_args(argv)
    asyncio.run(serve(common.read_config(options.dir)))


if __name__ == "__main__":
    sys.exit(main())
