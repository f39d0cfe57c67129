"""
Bringing a sandbox up from nothing or from whatever is left of it, looking at it, and taking it
down.
"""

import contextlib
import datetime
import fcntl
import json
import pathlib
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from sandbox import config as settings
from sandbox import git_history, master, processes, salt_ops, world
from sandbox.aws import AWS
from sandbox.hosts import databases, proc, shims, watcher
from sandbox.public import tls

# The order of starting; stopped the other way round, so that nothing restarts what is going away.
DAEMONS = ("aws", "dns", "edge", "salt-master", "salt-minion", "supervisorctl", "hosts")
HOSTS_SECONDS = {"qa": 300, "production": 900}


def up(directory, size=None, say=print, anew=False, given=None):
    """Make sure that the sandbox stands; returns its config. What runs already is left alone.

    size: None takes what is there, or else qa. anew: take down and remove what is there first.
    given: MITx's own orchestrations (:func:`sandbox.salt_ops.read`); None takes what is there, or
    else the stand-ins.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        started = time.monotonic()
        if anew:
            down(directory, say)
            _empty(directory)
        config = _config(directory, size, say, given)
        if stands(config):
            say(f"The sandbox stands in {directory}.")
            return config
        _assemble(config, say)
        say(f"The sandbox stands in {directory} ({time.monotonic() - started:.0f} s).")
    return config


def down(directory, say=print):
    """
    Stop every process of the sandbox, and nothing else; its files stay. Returns how many processes
    there were.
    """
    directory = pathlib.Path(directory)
    count = processes.stop_many(
        directory, [name for name in processes.names(directory) if name in ("visitor", "hosts")]
    )
    count += _end_hosts(directory)
    count += processes.stop_many(directory, processes.names(directory))
    config = settings.read(directory)
    if config:
        settings.unlink(config)
    say(
        f"Stopped {count} processes of the sandbox in {directory}."
        if count
        else f"Nothing runs in {directory}."
    )
    return count


def _end_hosts(directory):
    """End the hosts that a killed watcher left behind; returns how many processes there were."""
    config = settings.read(directory)
    left = sum(len(rows) for rows in proc.of_hosts(directory / "hosts").values()) if config else 0
    if left:
        watcher.stop(directory, config)
    return left


def stands(config):
    """Whether every daemon is alive and every host is there."""
    directory = config["directory"]
    return all(processes.alive(directory, name) for name in DAEMONS) and not missing_hosts(config)


def missing_hosts(config):
    """
    Names of instances that run in EC2 and have no host that is up; all of them while AWS is not
    there.
    """
    made = world.read(config)
    if made is None:
        return ["(nothing is seeded)"]
    up_now = {host["id"] for host in hosts(config) if host["state"] == "running"}
    return sorted(name for name, found in running_instances(config).items() if found not in up_now)


def running_instances(config):
    """
    {name: id} of the instances that EC2 says are running and that have a role, bases included.
    """
    client = world.World(config).client("ec2")
    filters = [
        {"Name": "instance-state-name", "Values": ["running"]},
        {"Name": "tag-key", "Values": ["role"]},
    ]
    pages = client.get_paginator("describe_instances").paginate(Filters=filters)
    found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return {
        next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "Name"): one["InstanceId"]
        for one in found
    }


def hosts(config):
    """Every ``host.json`` (list of dicts)."""
    return [
        json.loads(path.read_text())
        for path in pathlib.Path(config["paths"]["hosts"]).glob("*/host.json")
    ]


def _config(directory, size, say, given):
    """
    The config of what stands here, or a new one where nothing does or what did cannot be taken up
    again.
    """
    config = settings.read(directory)
    if config is None:
        return settings.create(directory, size or "qa", given)
    there = config.get("salt_ops")
    size, given = size or config["size"], given or there
    wanted = size == config["size"] and given == there
    alive = processes.alive(directory, "aws")
    if not wanted and alive:
        own = " with MITx's own orchestrations" if there else ""
        words = shlex.join(["up", "--anew", "--size", size, *salt_ops.words(given)])
        raise settings.SandboxError(
            f"A sandbox of size {config['size']}{own} runs in {directory}. To replace it: python -m"
            f" sandbox {words}"
        )
    if alive and world.read(config) is not None:
        return config
    if world.read(config) is not None and wanted:
        say(
            "The sandbox's AWS is gone, and with it everything it held in memory: building from"
            " nothing."
        )
    down(directory, say=lambda _: None)
    _empty(directory)
    return settings.create(directory, size, given)


def _empty(directory):
    """Remove everything that the sandbox wrote; the folder itself and its lock stay."""
    for path in directory.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _assemble(config, say):
    directory = config["directory"]
    settings.link(config)
    if config.get("salt_ops"):
        pathlib.Path(config["paths"]["root"]).mkdir(exist_ok=True)
    tls.make(directory, config["zone"])
    git_history.build(config["paths"]["git"], rebased=config["size"] == "production")
    ports = ["--port", config["ports"]["aws"]]
    if config.get("salt_ops"):
        ports += ["--tls-port", config["ports"]["aws_tls"]]
    daemon(config, "aws", "sandbox.aws", "--dir", directory, *ports)
    processes.wait_until(
        lambda: _listens(config),
        30,
        f"the fake AWS answers (logs/aws.log: {processes.tail(directory, 'aws', 3)})",
    )
    fresh = world.read(config) is None
    if fresh:
        say("Seeding AWS with Juniper v3.")
        _seed(config)
    master.configure(config)
    for name, module in (("dns", "sandbox.public.dns"), ("edge", "sandbox.public.edge")):
        daemon(config, name, module, "--dir", directory)
    master.start(config)
    daemon(config, "supervisorctl", "sandbox.hosts.supervisorctl", shims.ctl_socket(config))
    daemon(config, "hosts", "sandbox.hosts", "--dir", directory)
    say("Waiting for the master, the hosts and the load balancers.")
    master.ready(config)
    _wait_for_hosts(config)
    if fresh:  # later on, hosts may well be out of service
        processes.wait_until(
            lambda: not sick(config),
            180,
            "the load balancers have their hosts in service",
            interval=0.5,
        )


def _seed(config):
    """Make the world of today."""
    _remember_qa(config)
    databases.seed_databases(
        config["directory"], world.World(config).purposes(), git_history.release("juniper")
    )
    made = world.seed(config)
    settings.write_json(config["paths"]["sdb"], world.sdb(config, made))


def _remember_qa(config):
    """
    Production takes QA's release: what this master recorded when it upgraded QA, here a week ago.
    """
    if config["size"] != "production":
        return
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=7)
    run = pathlib.Path(config["paths"]["run"]) / "mitx-qa" / f"{began:%Y%m%dT%H%M}00Z-koa-seeded"
    facts = {
        "release_sha": git_history.tip(config["paths"]["git"], "mitx/koa"),
        "release_number": 1,
    }
    record = {
        "id": run.name,
        "environment": "mitx-qa",
        "began": f"{began:%Y-%m-%dT%H:%M:%S.%f}Z",
        "by": "sandbox",
        "facts": facts,
    }
    settings.write_json(run / "run.json", {**record, "host": "sandbox", "why": "seeded"})


def enforce_policy(config):
    """From here on AWS allows the package what ``mitx.iam_policy`` says that it needs, no more."""
    words = ["salt-run", "mitx.iam_policy", "--out=json"]
    printed = master.run(config, words, stdout=subprocess.PIPE, text=True)
    if printed.returncode:
        raise settings.SandboxError(f"{' '.join(words)} ended with {printed.returncode}")
    AWS(f"http://{config['addresses']['aws']}:{config['ports']['aws']}").enforce(
        json.loads(printed.stdout)
    )


def daemon(config, name, module, *arguments):
    """Start one of the sandbox's own daemons (a Python module) under its name."""
    argv = [config["python"], "-m", module, *arguments]
    return processes.start(
        config["directory"], name, argv, settings.environment(config), cwd=config["repository"]
    )


def _wait_for_hosts(config):
    seconds = HOSTS_SECONDS[config["size"]]

    def ready():
        if not processes.alive(config["directory"], "hosts"):
            log = processes.tail(config["directory"], "hosts")
            raise processes.DaemonFailed(f"the host watcher died; its log ends:\n{log}")
        return not missing_hosts(config) and not silent_minions(config)

    processes.wait_until(ready, seconds, "every host is up and its minion answers", interval=0.5)


def silent_minions(config):
    """Names of hosts whose minion is not known to the master, or does not answer a ping."""
    names = set(running_instances(config))
    accepted = pathlib.Path(config["paths"]["master"]) / "pki" / "master" / "minions"
    missing = sorted(name for name in names if not (accepted / name).exists())
    if missing:
        return missing
    words = [
        "salt",
        "--out=json",
        "--static",
        "-t",
        "5",
        "-L",
        ",".join(sorted(names)),
        "test.ping",
    ]
    answer = master.run(config, words, capture_output=True, text=True)
    try:
        said = json.loads(answer.stdout or "{}")
    except ValueError:
        return sorted(names)
    return sorted(name for name in names if said.get(name) is not True)


def sick(config):
    """``elb: instance`` pairs that are registered and not InService."""
    client = world.World(config).client("elb")
    found = []
    for elb in client.describe_load_balancers()["LoadBalancerDescriptions"]:
        name = elb["LoadBalancerName"]
        for state in client.describe_instance_health(LoadBalancerName=name)["InstanceStates"]:
            if state["State"] != "InService":
                found.append(f"{name}: {state['InstanceId']}")
    return found


def _listens(config):
    """Whether the fake AWS answers; raises when it died instead."""
    if not processes.alive(config["directory"], "aws"):
        raise processes.DaemonFailed(
            f"the fake AWS died; its log ends:\n{processes.tail(config['directory'], 'aws')}"
        )
    url = settings.environment(config)["AWS_ENDPOINT_URL"] + "/_sandbox/settings"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, urllib.error.URLError):
        opener.open(urllib.request.Request(url, method="POST", data=b"{}"), timeout=2).close()
        return True
    return False


@contextlib.contextmanager
def _locked(directory):
    """One ``up`` at a time; the second waits and then finds that everything stands."""
    with open(directory / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
