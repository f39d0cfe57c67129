"""
The name server of the sandbox's public names, over UDP and TCP: what Route 53 says, a moment old at
most.
"""

import contextlib
import signal
import socketserver
import struct
import sys
import threading

import dns.exception
import dns.message

from sandbox.public import common
from sandbox.public.zone import Zone

UDP_BYTES = 512


class UdpServer(socketserver.UDPServer):
    """
    Answers one after the other: what takes time is asking AWS, and the next question would only
    wait for the same.
    """

    allow_reuse_address = True


class TcpServer(socketserver.ThreadingTCPServer):
    """For answers that do not fit into a datagram, and for clients that prefer it."""

    allow_reuse_address = True
    daemon_threads = True


class _Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        reply = _reply(self.server.zone, data, udp=True)
        if reply:
            sock.sendto(reply, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self):
        with contextlib.suppress(OSError, struct.error):
            while True:
                (size,) = struct.unpack("!H", self.rfile.read(2))
                reply = _reply(self.server.zone, self.rfile.read(size), udp=False)
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


def _reply(zone, data, udp):
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return b""
    size = max(UDP_BYTES, query.payload) if udp else 65535
    return zone.answer(query).to_wire(max_size=size, prefer_truncation=True)


def serve(config):
    """Start answering on the configured address; returns the two running servers."""
    where = (config["addresses"]["dns"], config["ports"]["dns"])
    zone = Zone(config)
    servers = [UdpServer(where, _Udp), TcpServer(where, _Tcp)]
    for server in servers:
        server.zone = zone
        threading.Thread(
            target=server.serve_forever, name=type(server).__name__, daemon=True
        ).start()
    return servers


def main(argv=None):
    """``python -m sandbox.public.dns --dir $SANDBOX``: answers until it is told to stop."""
    options = common.arguments(__doc__).parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    for_ever = serve(common.read_config(options.dir))
    signal.sigwait((signal.SIGTERM, signal.SIGINT))
    for server in for_ever:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
