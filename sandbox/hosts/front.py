"""
The ``nginx`` of a web host: TLS on the host's address, and each request to the process that its
hostname belongs to.

``studio*`` goes to cms, ``gr.*``, ``gr-*`` and ``gitreload*`` to gitreload, everything else to lms.
A heartbeat asked of no name in particular (or of the LMS's) is good when lms or cms answers. 502
when the process is not there, 504 when it does not answer.

Run by supervisord: ``python -s -S -m sandbox.hosts.front``.
"""

import http.client
import pathlib
import ssl

from sandbox.hosts import process, web

NAME = "nginx"


class Front(web.Handler):
    """Passes a request on, and the answer back."""

    def answer(self):
        """Ask the processes in turn; the first that is there decides."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        answer = (502, "502 Bad Gateway\n", "text/plain")
        for name in self.backends():
            try:
                answer = self.ask(web.UnixConnection(self.server.process.socket(name)), body)
                break
            except TimeoutError:
                answer = (504, "504 Gateway Time-out\n", "text/plain")
            except (OSError, http.client.HTTPException):
                continue
        self.send(*answer)

    def backends(self):
        """Names of the processes that may answer this request, in order."""
        host = (self.headers.get("Host") or "").lower()
        if host.startswith("studio"):
            return ["cms"]
        if host.startswith(("gr.", "gr-", "gitreload")):
            return ["gitreload"]
        return ["lms", "cms"] if self.path.startswith("/heartbeat") else ["lms"]

    def ask(self, connection, body):
        """
        What to send of a process's answer. OSError (TimeoutError among them) or HTTPException when
        there is none.
        """
        try:
            connection.request(
                self.command, self.path, body, {"Host": self.headers.get("Host") or "localhost"}
            )
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        named = [
            (key, value) for key, value in response.getheaders() if key.startswith("X-Open-edX")
        ]
        return response.status, data, response.getheader("Content-Type"), named


class TlsServer(web.Server):
    """
    Each client's handshake happens in the thread of its own request, so that a slow one keeps
    nobody waiting.
    """

    def finish_request(self, request, client_address):
        """Shake hands, then handle."""
        request.settimeout(web.REQUEST_SECONDS)
        with self.context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, client_address, self)


def context(sandbox):
    """The server side of TLS with the sandbox's certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki = pathlib.Path(sandbox) / "pki"
    made.load_cert_chain(pki / "server.crt", pki / "server.key")
    return made


def main():
    """Serve until told to end."""
    with process.life(NAME, needs_code=False) as me:
        server = TlsServer((me.host["address"], me.host["port"]), Front, me)
        server.context = context(me.sandbox)
        server.serve()


if __name__ == "__main__":
    main()
