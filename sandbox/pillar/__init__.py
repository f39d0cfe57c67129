"""
Pillar of the sandbox, in the shape of MITx's own: ``environments`` (all purposes) and ``mitx``
(what we added).
"""

import pathlib
import shlex

import yaml

from sandbox.pillar import environments, mitx


def write(config):
    """
    Write the pillar tree, and the settings file that the existing orchestrations fetch, into the
    sandbox.
    """
    directory = pathlib.Path(config["directory"])
    folder = directory / "pillar"
    folder.mkdir(parents=True, exist_ok=True)
    settings = environments.settings(config)
    _write(directory / "environment_settings.yml", settings)
    named = "environments"
    if config.get("salt_ops"):
        named = "environment_settings"  # the checkout's own, which reads the file
    else:
        _write(folder / "environments.sls", settings)
    _write(folder / "mitx.sls", mitx.pillar(config))
    worker = {"schedule": restart_schedule(config), "edx": {"playbooks": ["edx-east/edxapp.yml"]}}
    _write(folder / "edx_worker.sls", worker)
    _write(folder / "schedule.sls", {"schedule": backup_schedule(config)})
    master = [named, "mitx", "schedule"]
    top = {"*master-operations*": master, "edx-worker-*": ["edx_worker"]}
    _write(folder / "top.sls", {"base": top})


def backups(config):
    """The file to which each run of the master's scheduled backup adds its second since 1970."""
    return pathlib.Path(config["directory"]) / "logs" / "scheduled-backups"


def backup_schedule(config):
    """MITx's master backs up its databases at 01:00; here a night is short."""
    command = f"date +%s >> {shlex.quote(str(backups(config)))}"
    return {"backup_edx_rp_data": {"function": "cmd.run", "args": [command], "seconds": 15}}


def restart_schedule(config):
    """MITx restarts every worker each five days, stopped programs included."""
    return {
        "restart_edx_workers": {
            "function": "supervisord.restart",
            "args": ["all"],
            "kwargs": {"bin_env": f"{config['paths']['bin']}/supervisorctl"},
            "days": 5,
            "splay": 30,
        }
    }


def _write(path, data):
    scratch = path.with_name("." + path.name)
    scratch.write_text(yaml.safe_dump(data, sort_keys=True))
    scratch.replace(path)
