"""
The sandbox's own four orchestrations, ``sandbox/salt``, and what they need of Salt: modules that
speak with AWS through boto3, a driver for Salt Cloud. They run on every Salt.
"""

import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def dirs(config):
    """Options that tell Salt and Salt Cloud where modules are (dict of lists)."""
    return {
        "module_dirs": [str(HERE / "salt" / "_modules")],
        "states_dirs": [str(HERE / "salt" / "_states")],
        "cloud_dirs": [str(HERE / "cloud")],
    }


def file_roots(config):
    """What the master serves beside our own SLS files."""
    return [str(HERE / "salt")]


def pillar_roots(config):
    """Pillar beside the sandbox's: none."""
    return []


def provider(config):
    """Salt Cloud's provider: a driver of the sandbox's own."""
    return {"sandbox": {"driver": "sandbox", "deploy": False}}


def settings_file(config):
    """Path of the settings that the orchestrations read."""
    return str(pathlib.Path(config["directory"]) / "environment_settings.yml")


def write(config):
    """Nothing else is needed."""
