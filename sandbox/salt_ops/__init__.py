"""
MITx's own four orchestrations in the sandbox, from a checkout of salt-ops, in place of the
stand-ins.

``make upgrade SALT_OPS=<checkout> SALT_EXTENSIONS=<checkout>``. Nothing of either is copied or
changed: they are file roots of the master. What is still stood in for, and why, is in
docs/sandbox.md.

A sandbox that has one has ``salt_ops`` in its ``config.json``: ``{tree, extensions, certificate}``:
two folders and the ARN of the certificate that ``mitx_elb`` names.
"""

import importlib.metadata
import os
import pathlib
import re
import subprocess

import yaml

HERE = pathlib.Path(__file__).resolve().parent
# source: https://github.com/mitodl/salt-ops
SETTINGS_URL = (
    "https://raw.githubusercontent.com/mitodl/salt-ops/main/salt/environment_settings.yml"
)
NEEDED = {
    "tree": (
        "salt/environment_settings.yml",
        "salt/orchestrate/edx/build_ami.sls",
        "salt/orchestrate/edx/update_edxapp_ami_sdb.sls",
        "salt/orchestrate/edx/deploy.sls",
        "salt/orchestrate/aws/mitx_elb.sls",
        "pillar/environment_settings.sls",
    ),
    "extensions": ("extensions/_modules/boto_ec2.py",),
}
CERTIFICATE = re.compile(r"arn:aws:acm:us-east-1:(?P<account>\d{12}):certificate/[0-9a-f-]+")


class Unfit(Exception):
    """What was given cannot be used; the message says why, in one sentence."""


def read(tree, extensions):
    """
    Return ``{tree, extensions, certificate}`` of two checkouts. Unfit names the first thing that
    is not as it must be: a folder, this machine, or its Salt.
    """
    found = {"tree": _folder(tree), "extensions": _folder(extensions)}
    for kind, paths in NEEDED.items():
        for path in paths:
            if not (found[kind] / path).is_file():
                name = "SALT_OPS" if kind == "tree" else "SALT_EXTENSIONS"
                raise Unfit(f"{name}: there is no {path} in {found[kind]}")
    _check_machine()
    elb = (found["tree"] / "salt/orchestrate/aws/mitx_elb.sls").read_text()
    certificate = CERTIFICATE.search(elb)
    if not certificate:
        raise Unfit(f"SALT_OPS: mitx_elb.sls in {found['tree']} names no certificate of ACM")
    return {**{kind: str(path) for kind, path in found.items()}, "certificate": certificate[0]}


def account(salt_ops):
    """The AWS account that the orchestrations are written for (12 digits)."""
    return CERTIFICATE.fullmatch(salt_ops["certificate"])["account"]


def settings(salt_ops):
    """The whole content of the checkout's ``environment_settings.yml`` (dict)."""
    text = (pathlib.Path(salt_ops["tree"]) / "salt/environment_settings.yml").read_text()
    return yaml.safe_load(text)


def words(given):
    """The arguments of ``python -m sandbox`` that name what :func:`read` returned (list)."""
    if not given:
        return []
    return ["--salt-ops", given["tree"], "--salt-extensions", given["extensions"]]


def inside(config, words, salt, edx):
    """
    ``words`` (argv) as they have to be started to see the folder ``salt`` as /etc/salt and ``edx``
    as /edx, as MITx's orchestrations expect.
    """
    return ["/bin/sh", str(HERE / "root.sh"), config["paths"]["root"], str(salt), str(edx), *words]


def _folder(path):
    return pathlib.Path(path).expanduser().resolve()


def _check_machine():
    version = importlib.metadata.version("salt")
    if not version.startswith("3006."):
        raise Unfit(
            f"MITx's orchestrations need the modules of Salt 3006, and this is {version}: make"
            " upgrade SALT=3006 SALT_OPS=…"
        )
    if os.getuid() != 0:
        raise Unfit(
            "MITx's orchestrations write below /etc/salt and run /edx/bin: each host needs a mount"
            " namespace of its own, and that needs root"
        )
    tried = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, text=True
    )
    if tried.returncode:
        raise Unfit(f"This machine allows no mount namespaces: {tried.stderr.strip()}")
