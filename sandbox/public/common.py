"""What the public side's daemons share: the sandbox's description, and who listens where."""

import argparse
import hashlib

import sandbox.config

CLOUDFRONT_ZONE = "cloudfront.net"
ELB_ZONE = "elb.amazonaws.com"


def arguments(description):
    """An argument parser with what every daemon of the public side takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--dir", default=str(sandbox.config.default_directory()), help="the sandbox's folder"
    )
    return parser


def read_config(directory):
    """The content of ``config.json``; exits with a message where there is no sandbox."""
    config = sandbox.config.read(directory)
    if config is None:
        raise SystemExit(f"There is no sandbox in {directory}: it has no config.json")
    return config


def normal(name):
    """A DNS name as it is compared: lower case, no trailing dot."""
    return str(name).rstrip(".").lower()


def is_aws_name(name):
    """Whether AWS itself, and not Route 53's customer, owns this name."""
    return normal(name).endswith(("." + CLOUDFRONT_ZONE, "." + ELB_ZONE))


def address_of(name):
    """
    The loopback address behind a name of AWS's own. Every ELB has one of its own; CloudFront has
    one for all distributions, which tells them apart by the hostname that is asked for, as the real
    one does.
    """
    name = normal(name)
    if name.endswith(CLOUDFRONT_ZONE):
        return "127.80.0.1"
    high, low = hashlib.sha256(name.encode()).digest()[:2]
    return f"127.81.{high}.{low or 1}"
