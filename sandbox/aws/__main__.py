"""``python -m sandbox.aws --dir $SANDBOX --port PORT``: the fake AWS as a process of its own."""

import argparse
import contextlib
import pathlib
import signal
import sys

from sandbox.aws.server import Server
from sandbox.aws.settings import from_config


def main():
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.aws", description=__doc__)
    parser.add_argument("--dir", required=True, type=pathlib.Path, help="the sandbox's folder")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--tls-port", type=int, help="serve https with the sandbox's certificate too"
    )
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(arguments.dir, from_config(arguments.dir), arguments.host, arguments.port)
    if arguments.tls_port:
        server.serve_tls(arguments.tls_port)
    print(f"fake AWS at {server.url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


if __name__ == "__main__":
    main()
