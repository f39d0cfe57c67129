"""
What the four existing orchestrations did and left behind in a sandbox, in words that do not depend
on ids, times and folders: so that two sandboxes can be compared.
"""

import json
import re

import yaml

IDS = re.compile(r"\b(ami|i|subnet|sg)-[0-9a-f]{8,17}\b")
DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")
# What this package asks: by lists of names, or the master's own minion, and as often as it takes.
OURS = re.compile(r" to list |^(saltutil\.(find_job|is_running|running)|test\.ping) ")
RUNNER = re.compile(r"^runner\.cloud\.")


def collect(world):
    """
    ``{subject: set of lines}`` of a sandbox (:class:`tests.support.upgrade_world.World`), without
    what concerns the purposes that no run touches: settings differ in how many hosts they have.
    """
    found = {
        "jobs": jobs(world),
        "instances": instances(world),
        "images": images(world),
        "load balancers": load_balancers(world),
        "SDB": sdb(world),
        "grains": grains(world),
        "disks": disks(world),
        "keys": {path.name for path in world.folder.glob("master/pki/master/minions/*")},
        "calls": calls(world),
    }
    return {
        subject: {line for line in lines if "current-residential" not in line}
        for subject, lines in found.items()
    }


def plain(world, text):
    """``text`` without what differs from run to run."""
    text = text.replace(str(world.folder), "…").replace(world.config["paths"]["short"], "…")
    return DAY.sub("<day>", IDS.sub(r"\1-…", text))


def jobs(world):
    """Which functions were sent to whom."""
    status, output = world.salt_run("jobs.list_jobs", "--out=json")
    assert status == 0, output
    found = json.loads(output[output.index("{") :]).values()
    lines = {
        plain(world, f"{job['Function']} to {job['Target-type']} {job['Target']}") for job in found
    }
    return {line for line in lines if RUNNER.search(line) or not OURS.search(line)}


def instances(world):
    """Every instance that ever was, with its state and tags."""
    found = set()
    for one in world.instances().values():
        found.add(f"{one['name']} is {one['state']}")
        found |= {plain(world, f"{one['name']}: {key}={said}") for key, said in one["tags"].items()}
    return found


def images(world):
    described = world.aws.client("ec2").describe_images(Owners=["self"])["Images"]
    return {f"{one['Name']} is {one['State']}" for one in described}


def load_balancers(world):
    client, found = world.aws.client("elb"), set()
    names = {id_: one["name"] for id_, one in world.instances().items()}
    for elb in client.describe_load_balancers()["LoadBalancerDescriptions"]:
        name = elb["LoadBalancerName"]
        said = [f"holds {names[one['InstanceId']]}" for one in elb["Instances"]]
        said += [f"checks {elb['HealthCheck']['Target']}"]
        for row in elb["ListenerDescriptions"]:
            one = row["Listener"]
            said.append(f"listens {one['Protocol']} {one['LoadBalancerPort']}")
        attributes = client.describe_load_balancer_attributes(LoadBalancerName=name)
        attributes = attributes["LoadBalancerAttributes"]
        said += [f"draining {attributes['ConnectionDraining']['Enabled']}"]
        tags = client.describe_tags(LoadBalancerNames=[name])["TagDescriptions"][0]["Tags"]
        said += [f"tag {tag['Key']}" for tag in tags]
        found |= {f"{name} {line}" for line in said}
    return found


def sdb(world):
    data = json.loads((world.folder / "sdb.json").read_text())
    return {plain(world, f"{key}: {value}") for key, value in data.items()}


def grains(world):
    """The grains of every host that still is, as its minion has them from its file."""
    found = set()
    for path in world.folder.glob("hosts/*/minion/grains"):
        name = _name(path.parent.parent)
        said = yaml.safe_load(path.read_text()) or {}
        found |= {plain(world, f"{name}: {key}={value}") for key, value in said.items()}
    return found


def disks(world):
    """How often Ansible and supervisord were at work on each host, and what of units is enabled."""
    found = set()
    for folder in world.folder.glob("hosts/i-*"):
        name, log = _name(folder), folder / "root/tmp/edx_config/ansible-log.txt"
        recaps = log.read_text().count("PLAY RECAP") if log.exists() else 0
        found.add(f"{name}: {recaps} playbooks")
        units = json.loads((folder / "units.json").read_text())
        found |= {f"{name}: {unit} disabled" for unit, one in units.items() if not one["enabled"]}
    return found


def calls(world):
    """What AWS was told to change, by anybody but this package and the sandbox."""
    lines = (world.folder / "aws" / "calls.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    others = [one for one in found if one["write"] and one["agent"] != "saltext-mitx"]
    return {f"{one['service']} {one['operation']}" for one in others}


def _name(folder):
    return json.loads((folder / "host.json").read_text())["name"]
