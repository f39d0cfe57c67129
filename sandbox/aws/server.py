"""The fake AWS on a socket: a thread for each connection."""

import threading

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from sandbox.aws.application import Application


class Handler(MotoRequestHandler):
    """One request; the log of calls tells what others print for each."""

    def log_request(self, code="-", size="-"):
        """Print nothing."""


class Server:
    """Serves an Application; port 0 takes a free one."""

    def __init__(self, folder, settings, host="127.0.0.1", port=0, health=None):
        self.folder = folder
        self.application = Application(folder, settings, health)
        self.http = make_server(
            host, port, self.application, threaded=True, request_handler=Handler
        )
        self.url = f"http://{host}:{self.http.server_port}"

    def serve_tls(self, port):
        """Answer https too, which is all that Salt Cloud's driver of EC2 speaks."""
        pki = self.folder / "pki"
        tls = make_server(
            "127.0.0.1",
            port,
            self.application,
            threaded=True,
            request_handler=Handler,
            ssl_context=(str(pki / "server.crt"), str(pki / "server.key")),
        )
        threading.Thread(target=tls.serve_forever, name="fake-aws-tls", daemon=True).start()

    def run(self):
        """Serve until interrupted."""
        self.application.health.start()
        try:
            self.http.serve_forever(poll_interval=0.05)
        finally:
            self.application.health.stop()
            self.http.server_close()

    def start(self):
        """Serve in a thread of its own."""
        self.thread = threading.Thread(target=self.run, name="fake-aws", daemon=True)
        self.thread.start()

    def stop(self):
        """Stop serving; returns when the port is free."""
        self.http.shutdown()
        self.thread.join()
