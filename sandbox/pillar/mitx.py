"""``mitx``: everything this package needs to know of the sandbox's environments."""

import json
import pathlib

from sandbox import salt_ops
from sandbox.hosts import host, worker

PURPOSES = {
    "mitx-qa": ["next-residential-draft", "next-residential-live"],
    "mitx-production": ["residential-draft", "residential-live"],
}
WEB_SYSTEMD = {"edx": ["gitreload"], "edx-worker": []}


def pillar(config):
    """The pillar as a dict; ids of AWS come from ``world.json`` once there is one."""
    source = {"environments_source": salt_ops.SETTINGS_URL} if config.get("salt_ops") else {}
    return {
        "mitx": {
            **source,
            "environment": config["environment"],
            "run_dir": config["paths"]["run"],
            "defaults": defaults(config),
            "environments": {name: environment(config, name) for name in PURPOSES},
        }
    }


def environment(config, name):
    """What differs between environments: purposes, and where production's release comes from."""
    mine = {"purposes": PURPOSES[name]}
    if name == "mitx-production":
        mine["release"] = {"from": "mitx-qa"}
    return mine


def defaults(config):
    """What both environments share."""
    world = _world(config)
    return {
        "window": {
            **config["window"],
            "reason": "we upgrade to Koa",
            "pause_schedule": ["backup_edx_rp_data"],
        },
        "aws": {"region": config["region"], "account": config["account"]},
        "dns": {
            "zone_id": world.get("zone_id", "-"),
            "zone": config["zone"],
            "ttl": config["times"]["dns_ttl"],
            "timeout": 30,
            "public_timeout": 60,
            "interval": 0.5,
        },
        "maintenance": {
            "distribution": world.get("distribution") or {"id": "-", "domain_name": "-"},
            "bucket": world.get("bucket", "-"),
            "invalidation_timeout": 20,
        },
        "release": release(config),
        "images": {"timeout": 120, "interval": 1},
        "services": services(config),
        "drain": {
            "command": f"{config['paths']['bin']}/queue-depth",
            "timeout": 60,
            "interval": 0.5,
        },
        "migrate": {"before": "orchestrate.edx.backup", **migrate(config)},
        "rollback": {"restore": "orchestrate.edx.restore"},
        "checks": checks(config),
        "elb": {"polls": 3, "interval": 0.5, "timeout": 60},
        "gate": {"required": False, "timeout": 60},
        "retire": {"after": 0, "timeout": 60, "nothing_to_save": True},
        "timeouts": {"minions": 30, "highstate": 600, "existing": 900},
    }


def release(config):
    """Where the code comes from: two bare repositories beside the sandbox."""
    git = pathlib.Path(config["paths"]["git"])
    return {
        "upstream": f"file://{git}/upstream.git",
        "origin": f"file://{git}/origin.git",
        "mirror": str(git / "mirror.git"),
        "protocols": ["file"],
        "timeout": 60,
    }


def services(config):
    """Services of a host; ``~`` is the host's own disk."""
    return {
        "supervisorctl": f"{config['paths']['bin']}/supervisorctl",
        "user": None,
        "platform": "~/edx/app/edxapp/edx-platform",
        "ansible_log": "~/tmp/edx_config/ansible-log.txt",
        "systemd": WEB_SYSTEMD,
        "hold": {"begin": f"touch ~/{worker.HELD}", "end": f"rm -f ~/{worker.HELD}"},
        "timeout": 30,
    }


def migrate(config):
    """Migration commands as the runbook has them, with the second database."""
    manage = (
        "cd ~/edx/app/edxapp/edx-platform && ~/edx/app/edxapp/venvs/edxapp/bin/python manage.py"
    )
    flags = "--noinput --fake-initial --settings=production"
    history = "--database student_module_history"
    return {
        "pending": {"default": pending(manage), "student_module_history": pending(manage, history)},
        "commands": [
            {"name": "lms", "command": f"{manage} lms migrate {flags}"},
            {"name": "cms", "command": f"{manage} cms migrate {flags}"},
            {
                "name": "student_module_history",
                "command": f"{manage} lms migrate {history} {flags}",
            },
        ],
        "timeout": 120,
    }


def pending(manage, which=""):
    """A command that lists unapplied migrations, one a line, and fails when Django does."""
    plan = f"{manage} lms showmigrations --plan --settings=production {which}".rstrip()
    return f'plan=$({plan}) && printf "%s\\n" "$plan" | sed -n "s/^\\[ \\] *//p"'


def checks(config):
    """
    How a visitor gets to the sandbox's site: its own resolver, its own edge, its own authority.
    """
    return {
        "paths": [{"path": "/", "status": 200}],
        "port": config["ports"]["edge"],
        "ca_bundle": config["paths"]["ca"],
        "resolvers": [f"{config['addresses']['dns']}:{config['ports']['dns']}"],
        "instance": {"scheme": "https", "port": host.PORT},
        "authoritative": [f"{config['addresses']['dns']}:{config['ports']['dns']}"],
        "timeout": 60,
        "interval": 0.5,
        "watch": 3,
    }


def _world(config):
    path = pathlib.Path(config["directory"]) / "world.json"
    return json.loads(path.read_text()) if path.exists() else {}
