"""
What MITx's orchestrations need of Salt: their file and pillar roots, salt-extensions, stand-ins for
what no sandbox has, Salt Cloud's driver of EC2, and boto 2 led to the fake AWS.

The same functions as :mod:`sandbox.stand_ins`.
"""

import pathlib

from sandbox import config as settings
from sandbox import salt_ops, stand_ins, world

# States of the sandbox that take the place of MITx's.
STATES = (
    "top.sls",
    "edx/run_ansible.sls",
    "orchestrate/edx/backup.sls",
    "orchestrate/edx/restore.sls",
)
CONSUL = ("init.sls", "dns_proxy.sls")
# What hosts get of salt-extensions: not its grains, which ask EC2's metadata address.
SYNCED = ("_modules", "_states", "_sdb", "_utils")


def dirs(config):
    """Options that tell Salt and Salt Cloud where modules are (dict of lists)."""
    here, theirs = salt_ops.HERE, pathlib.Path(config["salt_ops"]["extensions"]) / "extensions"
    return {
        "module_dirs": [str(here / "_modules"), str(theirs / "_modules")],
        "states_dirs": [str(here / "_states"), str(theirs / "_states")],
        "utils_dirs": [str(here / "_utils"), str(theirs / "_utils")],
    }


def file_roots(config):
    """What the master serves beside our own SLS files; what stands in goes first."""
    folder = pathlib.Path(config["paths"]["master"])
    tree = f"{config['salt_ops']['tree']}/salt"
    return [str(folder / "stand-ins"), tree, str(folder / "extensions")]


def pillar_roots(config):
    """MITx's own pillar; the sandbox's top file takes of it what the four need."""
    return [f"{config['salt_ops']['tree']}/pillar"]


def provider(config):
    """Salt Cloud's provider as MITx's profiles name it: Salt's own driver of EC2."""
    ec2 = {
        "driver": "ec2",
        "id": "sandbox",
        "key": "sandbox",
        "keyname": world.KEY_PAIR,
        "private_key": f"{config['paths']['master']}/cloud.pem",
        "location": config["region"],
        "endpoint": f"{config['addresses']['aws']}:{config['ports']['aws_tls']}",
        # No ssh: hosts make their own keys at first boot, the master accepts them.
        "deploy": False,
    }
    return {"mitx": ec2}


def settings_file(config):
    """Path of the settings that the orchestrations read."""
    return f"{config['salt_ops']['tree']}/salt/environment_settings.yml"


def write(config):
    """Write links to the stand-ins and to salt-extensions, and what boto 2 and Salt Cloud read."""
    folder = pathlib.Path(config["paths"]["master"])
    for name in STATES:
        _link(folder / "stand-ins" / name, stand_ins.HERE / "salt" / name)
    for name in CONSUL:
        _link(folder / "stand-ins" / "consul" / name, salt_ops.HERE / "consul.sls")
    for name in SYNCED:
        theirs = pathlib.Path(config["salt_ops"]["extensions"]) / "extensions" / name
        if theirs.is_dir():
            _link(folder / "extensions" / name, theirs)
    (folder / "cloud.pem").write_text("no host of the sandbox is reached by ssh\n")
    (folder / "cloud.pem").chmod(0o600)
    proxy = f"proxy = {config['addresses']['aws']}\nproxy_port = {config['ports']['aws']}\n"
    boto = pathlib.Path(settings.environment(config)["BOTO_CONFIG"])
    boto.write_text(f"[Boto]\nis_secure = False\n{proxy}num_retries = 2\n")


def _link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
