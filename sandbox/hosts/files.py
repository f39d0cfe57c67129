"""
What is written for the daemons of a host before it boots: the configuration of minion and
supervisord, and the units.
"""

import os
import pathlib
import pwd
import shlex
import shutil

from sandbox import salt_ops
from sandbox.hosts import minion_site, record

MINION_MODULES = pathlib.Path(__file__).resolve().parent / "minion_modules"
BASE_TAGS_AS_GRAINS = ("environment", "purpose", "edx_codename", "business_unit")
TAGS_AS_GRAINS = (
    *BASE_TAGS_AS_GRAINS,
    "release-version",
    "launch-date",
    "Department",
    "Environment",
    "OU",
)
BASE_ROLES = {"edx": "edx-base", "edx-worker": "edx-base-worker"}
PROGRAMS = {
    "edx": {"lms": "openedx lms", "cms": "openedx cms", "nginx": "front"},
    "edx-worker": {"lms_worker": "worker lms_worker", "cms_worker": "worker cms_worker"},
}
# A minion takes five seconds to end, in which it does nothing worth waiting for.
STOP_SECONDS = {"salt-minion": 0.5, "supervisor": 8, "gitreload": 5, "consul": 1}
SUPERVISORD = """[supervisord]
{user}logfile={folder}/logs/supervisord.log
loglevel=warn
pidfile={run}/supervisord.pid
childlogdir={folder}/logs
nodaemon=true

[unix_http_server]
file={run}/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{run}/supervisor.sock
"""
PROGRAM = """
[program:{name}]
command={python} -s -S -m sandbox.hosts.{module}
environment=SANDBOX_PROCESS="{name}"
directory={folder}/root
autostart={autostart}
autorestart=true
startsecs=1
startretries=2
stopwaitsecs=5
redirect_stderr=true
stdout_logfile=edx/var/log/supervisor/{name}.log
"""


def minion(config, host, folder):
    """
    The minion's configuration, as a dict: one process, no threads or timers that it can do without.
    """
    run, module_dirs = host["run"], [str(MINION_MODULES)]
    if config.get("salt_ops"):
        module_dirs.append(str(salt_ops.HERE / "minion_modules"))
    return {
        "id": host["name"],
        "user": _user(),
        "master": "127.0.0.1",
        "publish_port": config["ports"]["master_publish"],
        "master_port": config["ports"]["master_return"],
        "pki_dir": str(folder / "minion" / "pki" / "minion"),
        "cachedir": str(folder / "minion" / "cache"),
        "extension_modules": str(folder / "minion" / "cache" / "extmods"),
        "sock_dir": run,
        "pidfile": f"{run}/minion.pid",
        "log_file": str(folder / "logs" / "minion"),
        "log_level_logfile": "warning",
        "module_dirs": module_dirs,
        "cython_enable": False,
        "multiprocessing": False,
        "zmq_filtering": True,
        "loop_interval": 5,
        "ipv6": False,
        "mine_enabled": False,
        "minion_id_caching": False,
        "enable_gpu_grains": False,
        "enable_fqdns_grains": False,
        "enable_legacy_startup_events": False,
        # A second host of the same name is refused by the master. It asks again, and gets in once
        # the first one is gone.
        "rejected_retry": True,
        "acceptance_wait_time": 1,
        "acceptance_wait_time_max": 5,
        "random_reauth_delay": 1,
        "recon_default": 100,
        "recon_max": 1000,
    }


def grains(tags):
    """The grains that MITx sets on an instance, from its tags; a base has a second role."""
    roles, names = [tags["role"]], TAGS_AS_GRAINS
    if tags.get("Name", "").endswith("-base"):
        roles.append(BASE_ROLES[tags["role"]])
        names = BASE_TAGS_AS_GRAINS
    return {"roles": roles, **{key: tags[key] for key in names if key in tags}}


def supervisord(config, host, folder):
    """The text of supervisord.conf."""
    words = {
        key: str(value).replace("%", "%%")
        for key, value in {"folder": folder, "run": host["run"]}.items()
    }
    # As root, supervisord warns unless told who it is; as anybody else it refuses to be told.
    user = f"user={_user()}\n" if os.getuid() == 0 else ""
    text = SUPERVISORD.format(user=user, **words)
    for name, module in PROGRAMS.get(host["role"], {}).items():
        text += PROGRAM.format(
            name=name,
            module=module,
            python=shlex.quote(config["python"]).replace("%", "%%"),
            autostart=str(not host["base"]).lower(),
            **words,
        )
    return text


def units(config, host, folder):
    """
    The units of a host. gitreload runs on web hosts; on a base instance it is there, but disabled.
    """
    python = config["python"]
    salt_minion = shutil.which("salt-minion", path=os.path.dirname(python)) or "salt-minion"
    found = {
        "supervisor": [
            python,
            "-m",
            "supervisor.supervisord",
            "-c",
            str(folder / "supervisord.conf"),
            "-n",
        ]
    }
    if host["role"] == "edx":
        found["gitreload"] = [python, "-s", "-S", "-m", "sandbox.hosts.openedx", "gitreload"]
    # On a small machine a highstate of many hosts must not keep visitors waiting: on real ones it
    # would not.
    words = ["-c", str(folder / "minion"), "--disable-keepalive", "-l", "quiet"]
    found["salt-minion"] = ["nice", "-n", "10", python, "-S", salt_minion, *words]
    if config.get("salt_ops"):
        inside = (folder / "minion", folder / "root" / "edx")
        found["salt-minion"] = salt_ops.inside(config, found["salt-minion"], *inside)
        found["consul"] = ["sleep", "infinity"]  # which MITx's orchestrations restart
    environments = {
        "gitreload": {"SANDBOX_PROCESS": "gitreload"},
        "salt-minion": {"PYTHONPATH": minion_site.path(config)},
    }
    return {
        name: {
            "argv": argv,
            "environment": environments.get(name, {}),
            "enabled": name != "gitreload" or not host["base"],
            "stop_seconds": STOP_SECONDS[name],
        }
        for name, argv in found.items()
    }


def environment(config, sandbox, folder):
    """
    The whole environment of a host's processes: nothing of the shell that started the sandbox gets
    in.
    """
    bins = [
        f"{sandbox}/bin",
        os.path.dirname(config["python"]),
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/usr/sbin",
        "/sbin",
    ]
    return {
        "HOME": str(folder / "root"),
        "USER": _user(),
        "LOGNAME": _user(),
        "PATH": os.pathsep.join(bins),
        "LANG": "C.UTF-8",
        "PYTHONPATH": config["repository"],
        "PYTHONWARNINGS": "ignore",
        "SANDBOX": str(sandbox),
        "SANDBOX_HOST": str(folder),
        "SANDBOX_INIT": str(folder),
        "SPT_NOENV": (
            "1"
            # Else setproctitle, which Salt calls, writes over the environment that tells whose
            # process
            # it is
        ),
        "MALLOC_ARENA_MAX": "2",
    }


def write(config, host, sandbox, folder):
    """
    Write all of it. What an earlier boot left changed from within stays: the grains, and which
    units are enabled.
    """
    (folder / "minion").mkdir(parents=True, exist_ok=True)
    record.write(folder / "minion" / "minion", minion(config, host, folder))
    if not (folder / "minion" / "grains").exists():
        record.write(folder / "minion" / "grains", host["grains"])
    (folder / "supervisord.conf").write_text(supervisord(config, host, folder))
    known = record.read(folder / "units.json") or {}
    said = units(config, host, folder)
    record.write(
        folder / "units.json",
        {name: {**unit, **_kept(known.get(name, {}))} for name, unit in said.items()},
    )


def _kept(unit):
    return {key: unit[key] for key in unit if key == "enabled"}


def _user():
    return pwd.getpwuid(os.getuid()).pw_name
