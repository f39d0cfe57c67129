"""
Salt master of the sandbox and its own minion: configuration and daemons. No root; Salt's own tools,
its own ports.
"""

import getpass
import os
import pathlib
import subprocess

import yaml

from sandbox import config as settings
from sandbox import pillar, processes, salt_ops, stand_ins, world
from sandbox.salt_ops import master as salt_ops_master

FOLDERS = ("cloud.providers.d", "cloud.profiles.d", "cloud.maps.d", "cache/proc", "roots", "edx")
READY_SECONDS = 180
# How long a busy minion may take to say that it is still at it. MITx's master allows 60 s; a dead
# one costs that long.
GATHER_SECONDS = {"qa": 15, "production": 60}


def configure(config):
    """
    Write the configuration of master, its minion and Salt Cloud below ``master/``, and the pillar.
    """
    folder = pathlib.Path(config["paths"]["master"])
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    _link(folder / "roots" / "orchestrate", pathlib.Path(config["repository"]) / "orchestrate")
    _write(folder / "master", master_options(config))
    _write(folder / "minion", minion_options(config))
    existing = _existing(config)
    cloud = {"pool_size": 8, "log_level": "warning", **existing.dirs(config)}
    _write(folder / "cloud", {**cloud, "sandbox": _about(config)})
    _write(folder / "cloud.providers.d" / "sandbox.conf", existing.provider(config))
    existing.write(config)
    pillar.write(config)


def minion_id(config):
    """Name of the master's own minion, as MITx calls it."""
    return f"master-operations-{config['size']}"


def master_options(config):
    """The master's configuration as a dict."""
    root = pathlib.Path(config["paths"]["short"])
    folder = root / "master"
    return {
        **_common(config),
        "interface": config["addresses"]["master"],
        "publish_port": config["ports"]["master_publish"],
        "ret_port": config["ports"]["master_return"],
        "id": f"{minion_id(config)}_master",
        "pki_dir": str(folder / "pki" / "master"),
        "cachedir": str(folder / "cache"),
        "extension_modules": str(folder / "cache" / "extmods"),
        "sock_dir": str(root / "sockets" / "master"),
        "pidfile": str(folder / "master.pid"),
        "auto_accept": True,
        "rotate_aes_key": False,
        "worker_threads": 3,
        "gather_job_timeout": GATHER_SECONDS[config["size"]],
        "timeout": 15 if config["size"] == "qa" else 60,
        "zmq_filtering": True,
        "ping_on_rotate": False,
        "file_roots": {"base": [str(folder / "roots"), *_existing(config).file_roots(config)]},
        "pillar_roots": {
            "base": [
                str(pathlib.Path(config["directory"]) / "pillar"),
                *_existing(config).pillar_roots(config),
            ]
        },
        "runner_dirs": [f"{config['repository']}/_runners"],
        # As in pillar_examples/reactor.conf, without what tells a chat.
        "reactor": [
            {"salt/minion/edx-worker-*/start": ["salt://orchestrate/mitx/reactor/fence.sls"]}
        ],
        "fileserver_list_cache_time": 1,
        "log_file": str(root / "logs" / "salt-master"),
        "sandbox": {
            **_about(config),
            "cloud": str(folder),
            "ttl": config["times"]["dns_ttl"],
            "drain": config["times"]["drain"],
            "health_interval": max(5, config["times"]["health_interval"]),
            "health_healthy": config["times"]["health_healthy"],
            "supervisorctl": f"{config['paths']['bin']}/supervisorctl",
            "certificate": world.certificate(config),
        },
    }


def minion_options(config):
    """
    The configuration of the master's own minion, which runs Salt Cloud for the orchestrations.
    """
    root = pathlib.Path(config["paths"]["short"])
    folder = root / "master"
    return {
        **_common(config),
        "id": minion_id(config),
        "grains": {"roles": ["master"]},
        "master": config["addresses"]["master"],
        "master_port": config["ports"]["master_return"],
        "publish_port": config["ports"]["master_publish"],
        "pki_dir": str(folder / "pki" / "minion"),
        "cachedir": str(folder / "own-minion" / "cache"),
        "extension_modules": str(folder / "own-minion" / "cache" / "extmods"),
        "sock_dir": str(root / "sockets" / "minion"),
        "pidfile": str(folder / "own-minion.pid"),
        "log_file": str(root / "logs" / "salt-minion"),
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        "grains_cache": False,
        "acceptance_wait_time": 1,
        "random_reauth_delay": 1,
        "mine_enabled": False,
        "sandbox": _about(config),
    }


def start(config):
    """Start master and its minion, and wait until the minion answers."""
    arguments = ["-c", config["paths"]["master"], "-l", "warning"]
    env = settings.environment(config)
    for name, more in (("salt-master", []), ("salt-minion", ["--disable-keepalive"])):
        words = _inside(config, [tool(config, name), *arguments, *more])
        processes.start(config["directory"], name, words, env)


def ready(config):
    """Wait until the master's own minion answers a ping."""
    call = ["salt", "--out=quiet", "-t", "2", minion_id(config), "test.ping"]

    def answers():
        for name in ("salt-master", "salt-minion"):
            if not processes.alive(config["directory"], name):
                log = processes.tail(config["directory"], name)
                raise processes.DaemonFailed(f"{name} died; its log ends:\n{log}")
        key = (
            pathlib.Path(config["paths"]["master"])
            / "pki"
            / "master"
            / "minions"
            / minion_id(config)
        )
        return (
            key.exists()
            and run(config, call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
            == 0
        )

    processes.wait_until(answers, READY_SECONDS, f"minion {minion_id(config)} answers")


def tool(config, name):
    """Path of one of Salt's commands in the sandbox's Python environment."""
    return str(pathlib.Path(config["python"]).parent / name)


def command(config, words):
    """A Salt command line with the sandbox's configuration: ``["salt-run", …]`` -> argv."""
    return _inside(config, [tool(config, words[0]), "-c", config["paths"]["master"], *words[1:]])


def run(config, words, **kwargs):
    """
    Run one of Salt's commands in the sandbox's environment; returns
    ``subprocess.CompletedProcess``.
    """
    return subprocess.run(command(config, words), env=environment(config), check=False, **kwargs)


def environment(config):
    """The whole environment of Salt's commands: this process's, with the sandbox's AWS."""
    return {**os.environ, **settings.environment(config)}


def _common(config):
    here = _here(config)
    return {
        "user": getpass.getuser(),
        # Salt puts root_dir before any path of its own that does not begin with it, absolute or
        # not; and a Unix socket's path has no more than 107 bytes. So all of them go through the
        # short name of the sandbox's folder.
        "root_dir": config["paths"]["short"],
        **_module_dirs(config),
        "sdb_dirs": [str(here / "salt" / "_sdb")],
        "consul": {"driver": "sandbox_sdb", "file": config["paths"]["sdb"]},
        "log_level_logfile": "warning",
        "loop_interval": 5,
        "state_output": "mixed",
    }


def _inside(config, words):
    """argv of a process of the master's machine."""
    if not config.get("salt_ops"):
        return words
    folder = pathlib.Path(config["paths"]["master"])
    return salt_ops.inside(config, words, folder, folder / "edx")


def _existing(config):
    """Where the four orchestrations come from: MITx's checkout, or the stand-ins."""
    return salt_ops_master if config.get("salt_ops") else stand_ins


def _module_dirs(config):
    """Where Salt finds modules and states: ours, then those that the four orchestrations need."""
    repository, dirs = config["repository"], _existing(config).dirs(config)
    dirs["module_dirs"] = [f"{repository}/_modules", *dirs["module_dirs"]]
    dirs["states_dirs"] = [f"{repository}/_states", *dirs["states_dirs"]]
    return dirs


def _about(config):
    """What the stand-ins read in Salt's options."""
    return {
        "directory": str(config["directory"]),
        "environment_settings": _existing(config).settings_file(config),
    }


def _here(config):
    return pathlib.Path(config["repository"]) / "sandbox"


def _write(path, data):
    path.write_text(yaml.safe_dump(data, sort_keys=True))


def _link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
