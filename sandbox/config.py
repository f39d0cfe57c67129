"""
``config.json``: what a sandbox is: size, ports, times, paths, the announced window. Written once,
then only read.
"""

import contextlib
import datetime
import getpass
import hashlib
import json
import os
import pathlib
import random
import socket
import sys
import tempfile

from sandbox import salt_ops

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
ACCOUNT = "123456789012"
REGION = "us-east-1"
ZONE = "mitx.mit.edu."
# Seconds. worker_start: until a worker takes its first job; Open edX's load half a minute, which is
# not needed here: they are held.
TIMES = {
    "dns_ttl": 2,
    "health_interval": 1,
    "health_healthy": 2,
    "drain": 3,
    "ami_pending": 3,
    "worker_start": 15,
}
# Sixty hosts that are probed each second keep a tenth of a small machine busy.
SLOWER = {"health_interval": 3}
PORTS = ("aws", "aws_tls", "dns", "edge", "edge_http", "master_publish", "master_return")
WINDOW_HOURS = 4
ENVIRONMENTS = {"qa": "mitx-qa", "production": "mitx-production"}


class SandboxError(Exception):
    """What was asked for cannot be done; the message says why, and what can be."""


def default_directory():
    """$SANDBOX, else ``.sandbox`` in the repository."""
    return pathlib.Path(os.environ.get("SANDBOX") or REPOSITORY / ".sandbox").resolve()


def create(directory, size, given=None):
    """
    Write a new ``config.json`` and return it as a dict. given: MITx's own orchestrations, as
    :func:`sandbox.salt_ops.read` returns them; None for the stand-ins.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "size": size,
        "environment": ENVIRONMENTS[size],
        "directory": str(directory),
        "repository": str(REPOSITORY),
        "python": sys.executable,
        "region": REGION,
        "account": salt_ops.account(given) if given else ACCOUNT,
        "salt_ops": given,
        "zone": ZONE,
        "addresses": dict.fromkeys(("aws", "dns", "edge", "master"), LOOPBACK),
        "ports": free_ports(*PORTS),
        "times": {**TIMES, **(SLOWER if size == "production" else {})},
        "paths": _paths(directory),
        "window": window(),
    }
    write(directory, config)
    return config


def read(directory):
    """The config as a dict, or None where there is no sandbox."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((pathlib.Path(directory) / "config.json").read_text())
    return None


def write(directory, config):
    """Replace ``config.json`` whole."""
    write_json(pathlib.Path(directory) / "config.json", config)


def write_json(path, data):
    """Replace a JSON file whole, so that no reader sees half of it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    scratch.replace(path)


def window(now=None):
    """
    A window that opened five minutes ago: {start: "YYYY-MM-DD HH:MM" in UTC, timezone, hours}.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    start = now - datetime.timedelta(minutes=5)
    return {"start": start.strftime("%Y-%m-%d %H:%M"), "timezone": "UTC", "hours": WINDOW_HOURS}


def new_window(old, start=None, hours=None):
    """
    Another window: one that is open now, or as said. It never starts when ``old`` does: that would
    be the same run.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    found = window(now)
    if found["start"] == old["start"]:
        found = window(now - datetime.timedelta(minutes=1))
    if start:
        try:
            datetime.datetime.strptime(start, "%Y-%m-%d %H:%M")
        except ValueError as err:
            raise SandboxError(f"--start: expected YYYY-MM-DD HH:MM, not {start!r}") from err
        found["start"] = start
    return {**found, "hours": hours or found["hours"]}


def environment(config):
    """
    Variables for everything that runs in the sandbox: where AWS is, and credentials that open
    nothing else.
    """
    directory = pathlib.Path(config["directory"])
    python_path = [config["repository"]]
    with_salt_ops = {}
    if config.get("salt_ops"):
        python_path.append(str(salt_ops.HERE / "shim"))
        # Where boto 2 and Salt Cloud's driver of EC2 find the fake AWS.
        with_salt_ops = {
            "BOTO_CONFIG": str(directory / "boto.cfg"),
            "REQUESTS_CA_BUNDLE": config["paths"]["ca"],
            "MOTO_ACCOUNT_ID": config["account"],
        }
    return {
        "SANDBOX": str(directory),
        "AWS_ENDPOINT_URL": f"http://{config['addresses']['aws']}:{config['ports']['aws']}",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_DEFAULT_REGION": config["region"],
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        **with_salt_ops,
    }


def _paths(directory):
    names = (
        "hosts",
        "images",
        "databases",
        "queues",
        "aws",
        "logs",
        "pids",
        "bin",
        "pki",
        "git",
        "master",
        "run",
        "root",
    )
    paths = {name: str(directory / name) for name in names}
    return {
        **paths,
        "ca": str(directory / "ca.pem"),
        "sdb": str(directory / "sdb.json"),
        "short": _short(directory),
    }


def _short(directory):
    """
    The sandbox's folder by a path short enough for Unix sockets below it (107 bytes): itself, or
    where a link to it will be.
    """
    if len(str(directory)) <= 50:
        return str(directory)
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    return str(pathlib.Path(tempfile.gettempdir()) / f"mitx-{getpass.getuser()}-{digest}")


def link(config):
    """
    Make the short name of the sandbox's folder, where it needs one. SandboxError if something else
    has that name.
    """
    short = pathlib.Path(config["paths"]["short"])
    if str(short) == config["directory"]:
        return
    if not short.is_symlink():
        short.symlink_to(config["directory"])
    if os.readlink(short) != config["directory"]:
        raise SandboxError(f"{short} is in the way: it should be a link to {config['directory']}")


def unlink(config):
    """Remove what ``link`` made."""
    short = pathlib.Path(config["paths"]["short"])
    if (
        str(short) != config["directory"]
        and short.is_symlink()
        and os.readlink(short) == config["directory"]
    ):
        short.unlink()


def free_ports(*names):
    """
    A port for each name, free on loopback for TCP and UDP, below the range that clients' own
    sockets come from.
    """
    taken = {}
    for name in names:
        while name not in taken:
            port = random.randrange(20000, 32000)
            if port not in taken.values() and _is_free(port):
                taken[name] = port
    return taken


def _is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True
