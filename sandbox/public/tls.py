"""
The sandbox's own certificate authority, and one certificate for all its public names and hosts.

``ca.pem``, ``pki/server.key``, ``pki/server.crt``.
"""

import datetime
import os
import pathlib
import sys

import trustme

from sandbox.public import common

DAYS = 365


def make(directory, zone="mitx.mit.edu", names=()):
    """
    Make what is missing of the CA and the server's certificate, which is for ``*.<zone>``,
    ``<zone>``, ``localhost``, 127.0.0.1 and ``names``. Returns ``{ca, key, certificate}``: paths.
    """
    pki = pathlib.Path(directory) / "pki"
    paths = {
        "ca": pathlib.Path(directory) / "ca.pem",
        "key": pki / "server.key",
        "certificate": pki / "server.crt",
    }
    if not all(path.exists() for path in paths.values()):
        pki.mkdir(parents=True, exist_ok=True)
        zone = common.normal(zone)
        subjects = dict.fromkeys([f"*.{zone}", zone, "localhost", *map(common.normal, names)])
        authority = trustme.CA(organization_name="sandbox CA")
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=DAYS)
        server = authority.issue_cert(*subjects, "127.0.0.1", not_after=end)
        _write(paths["key"], server.private_key_pem.bytes(), 0o600)
        _write(paths["certificate"], server.cert_chain_pems[0].bytes())
        # Last: whoever sees this file finds the others complete.
        _write(paths["ca"], authority.cert_pem.bytes())
    return {name: str(path) for name, path in paths.items()}


def _write(path, data, mode=0o644):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    os.replace(temporary, path)


def main(argv=None):
    """``python -m sandbox.public.tls --dir $SANDBOX``: prints the path of the CA."""
    options = common.arguments(__doc__).parse_args(argv)
    print(make(options.dir)["ca"])


if __name__ == "__main__":
    sys.exit(main())
