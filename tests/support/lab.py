"""
A small lab for what crosses the wire: one master, one web host and one worker, each a real minion
and a real supervisord.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import salt.utils.yaml

from tests.support.product import TREE

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEB = "edx-mitx-qa-next-residential-draft-0-v1"
WORKER = "edx-worker-mitx-qa-next-residential-draft-0-v1"
PURPOSE = "next-residential-draft"
PROGRAMS = {WEB: ["lms", "cms"], WORKER: ["lms_worker"]}
BIN = pathlib.Path(sys.executable).parent
# What systemd is on a real host: units of a file, and one of them cannot be started.
SERVICE_MODULE = """
import json, os, pathlib
from salt.exceptions import CommandExecutionError
def _file(): return pathlib.Path(os.environ["HOME"]) / "units.json"
def get_running():
    return [name for name, running in json.loads(_file().read_text()).items() if running]
def _set(name, running):
    units = json.loads(_file().read_text())
    if name not in units: raise CommandExecutionError(f"Unit {name}.service not found.")
    _file().write_text(json.dumps({**units, name: running}))
    return True
def start(name): return _set(name, True)
def stop(name): return _set(name, False)
"""
SUPERVISORD = """[supervisord]
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
{user}
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket}
"""
PROGRAM = """[program:{name}]
command={command}
autostart=true
autorestart=true
startsecs={startsecs}
startretries=0
stopwaitsecs=3
"""


def wait(true, timeout=60, what="that"):
    """Bounded wait; the tests' only one."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"{what}: not so after {timeout} s"
        time.sleep(0.05)


def _example(name):
    return salt.utils.yaml.safe_load((ROOT / "pillar_examples" / name).read_text(encoding="utf-8"))


class Host:
    """A host: its home, its minion, its supervisord."""

    def __init__(self, name, home, sockets):
        self.name, self.home = name, home
        self.socket = sockets / f"{len(name)}.sock"
        self.supervisord = None
        (home / "bin").mkdir(parents=True)
        ctl = home / "bin" / "supervisorctl"
        ctl.write_text(f'#!/bin/sh\nexec {BIN}/supervisorctl -c {home}/supervisord.conf "$@"\n')
        ctl.chmod(0o755)

    def supervise(self, programs=None, **commands):
        """
        supervisord anew, with these programs, all running; ``commands`` adds programs of another
        command.
        """
        self.unsupervise()
        names = dict.fromkeys(programs or PROGRAMS[self.name], ("sleep 1000", 0))
        names |= {name: (command, 1) for name, command in commands.items()}
        text = SUPERVISORD.format(
            home=self.home, socket=self.socket, user="user=root" if os.getuid() == 0 else ""
        )
        text += "".join(
            PROGRAM.format(name=name, command=command, startsecs=secs)
            for name, (command, secs) in names.items()
        )
        (self.home / "supervisord.conf").write_text(text)
        units = (
            {"gitreload": True, "salt-minion": True} if self.name == WEB else {"salt-minion": True}
        )
        (self.home / "units.json").write_text(json.dumps(units))
        command = [BIN / "supervisord", "-n", "-c", self.home / "supervisord.conf"]
        self.supervisord = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        wait(
            lambda: (
                len(self.status()) == len(names) and not {"STARTING"} & set(self.status().values())
            ),
            what="supervisord",
        )

    def unsupervise(self):
        """End supervisord and its programs."""
        if self.supervisord:
            self.supervisord.terminate()
            self.supervisord.wait(20)
            self.supervisord = None

    def ctl(self, *words):
        return subprocess.run(
            [self.home / "bin" / "supervisorctl", *words],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def status(self):
        """{program: state}, by supervisord itself."""
        lines = [line.split() for line in self.ctl("status").splitlines()]
        return {line[0]: line[1] for line in lines if len(line) > 1 and line[1].isupper()}

    def unit(self, name):
        return json.loads((self.home / "units.json").read_text())[name]


class Lab:
    """The master, and the hosts by name."""

    def __init__(self, factories, folder):
        self.folder, self.pillar_root = folder, folder / "pillar"
        self.hosts, self.minions = {}, {}
        modules = folder / "minion_modules"
        modules.mkdir()
        (modules / "lab_service.py").write_text(SERVICE_MODULE)
        self.pillar_root.mkdir()
        self.pillar(None)
        self.own_pillar({})
        states = folder / "states"
        (states / "edx").mkdir(parents=True)
        (states / "edx" / "run_ansible.sls").write_text(RUN_ANSIBLE)
        (states / "top.sls").write_text("base:\n  '*':\n    - edx.run_ansible\n")
        self.master = factories.salt_master_daemon(
            "lab-master",
            overrides={
                "auto_accept": True,
                "worker_threads": 3,
                "pillar_roots": {"base": [str(self.pillar_root)]},
                "file_roots": {"base": [str(states), str(TREE)]},
                "module_dirs": [str(ROOT / "_modules")],
                "runner_dirs": [str(ROOT / "_runners")],
                # As the examples have it, but that nobody has a password.
                **_example("reactor.conf"),
                "external_auth": {"auto": _example("external_auth.conf")["external_auth"]["pam"]},
            },
        )
        for name in (WEB, WORKER):
            self.hosts[name] = Host(name, folder / f"home{len(name)}", folder)
            minion = self.master.salt_minion_daemon(
                name,
                overrides={
                    "module_dirs": [str(modules)],
                    "providers": {"service": "lab_service"},
                    "acceptance_wait_time": 1,
                    "enable_fqdns_grains": False,
                    "enable_gpu_grains": False,
                },
            )
            minion.environ = {
                **minion.environ,
                "HOME": str(self.hosts[name].home),
                "PATH": f"{BIN}:{os.environ['PATH']}",
            }
            self.grains(name, minion)
            self.minions[name] = minion

    def grains(self, name, minion):
        """In the file of grains, as salt-cloud leaves them."""
        role = "edx" if name == WEB else "edx-worker"
        grains = {
            "roles": [role],
            "environment": "mitx-qa",
            "purpose": PURPOSE,
            "edx_codename": "koa",
            "release-version": "1",
        }
        path = pathlib.Path(minion.config_dir) / "grains"
        path.write_text(json.dumps({**grains, "launch-date": "2020-12-01"}))

    def pillar(self, schedule, playbooks=None):
        """The workers' schedule and playbooks, as MITx has them in pillar."""
        (self.pillar_root / "top.sls").write_text(
            "base:\n  'edx-worker-*':\n    - worker\n  'lab-master*':\n    - mine\n"
        )
        (self.pillar_root / "worker.sls").write_text(
            json.dumps({"schedule": schedule or {}, "edx": {"playbooks": playbooks or []}})
        )

    def own_pillar(self, found):
        """The pillar that the master itself has."""
        (self.pillar_root / "mine.sls").write_text(json.dumps(found))

    def kill(self, name):
        """kill -9 of a minion, with all its processes."""
        pid = self.minions[name].pid
        children = subprocess.run(
            ["ps", "-eo", "pid,ppid"], capture_output=True, text=True
        ).stdout.splitlines()[1:]
        tree, pairs = {pid}, [tuple(map(int, line.split())) for line in children]
        while more := {child for child, parent in pairs if parent in tree} - tree:
            tree |= more
        for one in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.minions[name].terminate()

    def instances(self, **changes):
        """Both hosts as instances, as the fleets record them."""
        known = {
            "purpose": PURPOSE,
            "codename": "koa",
            "release": 1,
            "environment": "mitx-qa",
            **changes,
        }
        return [
            {"id": f"i-{len(n)}", "name": n, "role": "edx" if n == WEB else "edx-worker", **known}
            for n in (WEB, WORKER)
        ]


# As the original, it pipes Ansible into tee without pipefail: whatever Ansible says, this succeeds.
RUN_ANSIBLE = """
run_ansible:
  cmd.run:
    - name: >-
        mkdir -p ~/tmp && sh ~/ansible '{{ salt.pillar.get("edx:ansible_flags", "") }}' 2>&1
        | tee -a ~/tmp/ansible-log.txt
"""
RECAP = """
PLAY [Configure instance(s)] ***************************************************

TASK [edxapp : create application configuration] *******************************
changed: [localhost]

PLAY RECAP *********************************************************************
localhost        : ok=12  changed=3  unreachable=0  failed={failed}  skipped=4  rescued=0  ignored=0
"""


@contextlib.contextmanager
def running(factories, folder):
    lab = Lab(factories, folder)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for host in lab.hosts.values():
            stack.callback(host.unsupervise)
        stack.enter_context(lab.master.started(start_timeout=120))
        for minion in lab.minions.values():
            stack.enter_context(minion.started(start_timeout=120))
        yield lab
