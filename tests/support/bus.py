"""
An event bus that takes every event and tells nobody. Where there is none, Salt waits a second for a
master at each event.
"""

import contextlib
import pathlib
import shutil
import socketserver
import tempfile
import threading

SOCKET = "master_event_pull.ipc"


class _Events(socketserver.StreamRequestHandler):
    def handle(self):
        while self.request.recv(65536):
            pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def bus(folder=None):
    """
    One in ``folder``, by default a new one with a short path: that of a socket may have 107
    characters. Yields the folder; at the end it is gone.
    """
    folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="bus"))
    folder.mkdir(exist_ok=True)
    server = _Server(str(folder / SOCKET), _Events)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield folder
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder, ignore_errors=True)
