"""
HTTP servers that a process can serve from its main loop and leave without cutting anybody off.
"""

import contextlib
import http.client
import http.server
import os
import socket
import socketserver
import threading
import time

REQUEST_SECONDS = 15
GRACE_SECONDS = 2


class Handler(http.server.BaseHTTPRequestHandler):
    """A request handler without an access log; subclasses answer every method in ``answer``."""

    timeout = REQUEST_SECONDS

    def do_GET(self):  # noqa: N802 - the name http.server calls
        """Answer whatever is asked."""
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET

    def send(self, status, body, content_type="text/html; charset=utf-8", headers=()):
        """Send a whole answer: status, text or bytes, headers as pairs. HEAD gets no body."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for key, value in (
            ("Content-Type", content_type),
            ("Content-Length", str(len(data))),
            *headers,
        ):
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format, *args):  # noqa: A002 - the signature of http.server
        """Say nothing."""

    def address_string(self):
        """A client over a unix socket has no address."""
        return "local"


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """
    A threading server that is polled by its process (``serve``) and knows how many requests it is
    answering.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    timeout = 0

    def __init__(self, address, handler, process):
        self.process = process
        self._answering = 0
        self._lock = threading.Lock()
        super().__init__(address, handler)
        self.socket.setblocking(False)

    def serve(self, interval=60, each=lambda: None):
        """
        Serve until told to end, calling ``each`` every ``interval`` seconds; then finish what is
        being answered.
        """
        due = time.monotonic() + interval
        while not self.process.stopping(due - time.monotonic(), self.socket):
            self.handle_request()
            if time.monotonic() >= due:
                each()
                due = time.monotonic() + interval
        self.server_close()
        deadline = time.monotonic() + GRACE_SECONDS
        while self._answering and time.monotonic() < deadline:
            time.sleep(0.01)

    def process_request(self, request, client_address):
        """Count a request before its thread starts, so that an end in between waits for it."""
        with self._lock:
            self._answering += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        """Count it off when it is answered."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._answering -= 1

    def handle_error(self, request, client_address):
        """A client that went away is no event."""


class UnixServer(Server):
    """The same on a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self):
        """Take the path over from whoever died on it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.server_address)
        super().server_bind()

    def get_request(self):
        """A connection, with an address as http.server likes it."""
        request, _ = super().get_request()
        return request, ("local", 0)


class UnixConnection(http.client.HTTPConnection):
    """A client's connection to a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=REQUEST_SECONDS)
        self.path = path

    def connect(self):
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
