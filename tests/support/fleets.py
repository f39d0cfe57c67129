"""
What the tests of fleets and load balancers stand on: instances and load balancers in the fake AWS,
tagged as MITx tags them.
"""

import json
import pathlib
import types

import salt.config
import salt.loader

from tests.support.rooms import Modules

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The load balancers of mitx-qa, their names cut to 32 characters.
DRAFT = "edx-next-residential-draft-mitx"
LIVE = "edx-next-residential-live-mitx-q"
STUDIO = "edx-next-residential-studio-live"
LISTENERS = [
    {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstanceProtocol": "HTTPS", "InstancePort": 443}
]
# Polls follow each other at once, and a call is made once: what botocore's retries do is not the
# subject.
QUICK = {
    "aws": {"attempts": 1},
    "elb": {"polls": 3, "interval": 0.02, "timeout": 60},
    "images": {"timeout": 60, "interval": 0.05},
    "checks": {"interval": 0.05},
    "retire": {"timeout": 60, "nothing_to_save": True},
    "timeouts": {"minions": 60},
}


class World:
    """
    ``settings`` of an environment, made real in ``aws``: a VPC, its images, load balancers and
    instances.
    """

    def __init__(self, aws, settings):
        self.aws, self.settings = aws, settings
        self.ec2, self.elb = aws.client("ec2"), aws.client("elb")
        self.subnet = self.network(settings["vpc_name"])
        base = self.ec2.run_instances(ImageId=self.first_image(), MinCount=1, MaxCount=1)[
            "Instances"
        ][0]["InstanceId"]
        self.base = base
        self.images = {}

    def network(self, name):
        """A VPC of that name with one subnet; returns the subnet's id."""
        vpc = self.ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        self.ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": name}])
        return self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/16")["Subnet"]["SubnetId"]

    def first_image(self):
        return self.ec2.register_image(Name="first", RootDeviceName="/dev/sda1")["ImageId"]

    def image(self, name, pending=0):
        """An image called ``name``; returns its id. ``pending``: seconds until it is available."""
        self.aws.settings(ami_pending=pending)
        return self.ec2.create_image(InstanceId=self.base, Name=name)["ImageId"]

    def build(self, release, pending=0):
        """Both images of a release, as build_ami names them; returns {role: id}."""
        self.images = {
            r: self.image(name.format(release=release), pending)
            for r, name in self.settings["amis"].items()
        }
        return self.images

    def launch(
        self,
        name,
        role="edx",
        purpose=None,
        codename="koa",
        release=1,
        environment=None,
        image=None,
    ):
        """One running instance; returns its id."""
        tags = {
            "Name": name,
            "role": role,
            "purpose": purpose,
            "edx_codename": codename,
            "release-version": str(release),
            "environment": environment or self.settings["environment"],
        }
        launched = self.ec2.run_instances(
            ImageId=image or self.images.get(role) or self.first_image_once(),
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": k, "Value": v} for k, v in tags.items() if v is not None],
                }
            ],
        )
        return launched["Instances"][0]["InstanceId"]

    def first_image_once(self):
        return self.ec2.describe_images(Filters=[{"Name": "name", "Values": ["first"]}])["Images"][
            0
        ]["ImageId"]

    def fleet(self, codename, release):
        """Everything that settings name, in that release; returns {name: id}."""
        return {
            one["name"].format(release=release): self.launch(
                one["name"].format(release=release), one["role"], one["purpose"], codename, release
            )
            for one in self.settings["instances"]
        }

    def balancers(self, tag=True, subnet=None):
        """The run's load balancers, empty."""
        for elb in self.settings["elbs"]:
            tags = (
                [{"Key": "environment", "Value": self.settings["environment"]}]
                if tag
                else [{"Key": "Name", "Value": "x"}]
            )
            self.elb.create_load_balancer(
                LoadBalancerName=elb["name"],
                Listeners=LISTENERS,
                Subnets=[subnet or self.subnet],
                Tags=tags,
            )

    def web(self, fleet, elb):
        """The ids of a fleet ({name: id}) that belong in a load balancer (of settings)."""
        prefix = f"edx-{self.settings['environment']}-{elb['purpose']}-"
        return sorted(id_ for name, id_ in fleet.items() if name.startswith(prefix))

    def register(self, fleet, only=None):
        """Put a fleet ({name: id}) into its load balancers."""
        for elb in self.settings["elbs"]:
            if only in (None, elb["name"]):
                self.elb.register_instances_with_load_balancer(
                    LoadBalancerName=elb["name"],
                    Instances=[{"InstanceId": id_} for id_ in self.web(fleet, elb)],
                )

    def members(self):
        """{load balancer: sorted ids}, read past the log and the faults."""
        found = self.elb.describe_load_balancers()["LoadBalancerDescriptions"]
        return {
            raw["LoadBalancerName"]: sorted(one["InstanceId"] for one in raw["Instances"])
            for raw in found
        }

    def expected(self, fleet):
        """What :meth:`members` must be when exactly this fleet is registered."""
        return {elb["name"]: self.web(fleet, elb) for elb in self.settings["elbs"]}

    def states(self, *ids):
        """{id: state of the instance}"""
        found = self.ec2.describe_instances(InstanceIds=list(ids))["Reservations"]
        return {
            one["InstanceId"]: one["State"]["Name"] for held in found for one in held["Instances"]
        }

    def calls(self):
        """What our package asked of AWS: [operation]."""
        return [call["operation"] for call in self.aws.calls(agent="saltext-mitx")]

    def writes(self):
        """What our package changed in AWS: [operation]."""
        return [call["operation"] for call in self.aws.calls(agent="saltext-mitx", writes=True)]


def recorded_upgrade(mitx, aws, **overrides):
    """
    A run in which the old fleet (Juniper v3) serves, and the new one (Koa v1) is launched, healthy
    and recorded. Returns what ``mitx`` does, with ``world``, ``old`` and ``new`` ({name: id}),
    ``reload(**overrides)``: the same run with other settings, and ``impatient()``: the same run,
    giving up on health after a second.
    """
    run = mitx(**{**QUICK, **overrides})
    world = World(aws, run.settings)
    world.balancers()
    run.old = world.fleet("juniper", 3)
    world.register(run.old)
    run.modules["mitx_run.record.pin"]("old_fleet", run.modules["mitx_fleet.fleets.current"]())
    run.modules["mitx_run.record.pin"]("images", world.build(1))
    run.new = world.fleet("koa", 1)
    run.modules["mitx_run.record.pin"]("release_number", 1)
    run.modules["mitx_run.record.pin"](
        "new_fleet", run.modules["mitx_fleet.fleets.new"](release=1)["instances"]
    )
    aws.health({"*": True})
    aws.clear_calls()
    run.world = world
    run.reload = lambda **more: mitx(**{**QUICK, **overrides, **more})
    run.impatient = lambda: run.reload(elb={**QUICK["elb"], "timeout": 1})
    return run


def on_the_master(loaded, folder):
    """
    Load the package once more, with the options of a master that has the keys of both fleets and
    Salt Cloud with the sandbox's driver, as an orchestration sees it. ``loaded``: of
    :func:`recorded_upgrade`. Adds ``keys()``.
    """
    keys = folder / "pki"
    for kind in (
        "minions",
        "minions_pre",
        "minions_rejected",
        "minions_denied",
        "minions_autosign",
    ):
        (keys / kind).mkdir(parents=True, exist_ok=True)
    # Salt 3008 writes a file there for each call of the wheel, and makes it only for a master that
    # runs.
    (folder / "cache" / "proc").mkdir(parents=True, exist_ok=True)
    master = {
        "root_dir": str(folder),
        "pki_dir": str(keys),
        "cachedir": str(folder / "cache"),
        "sock_dir": str(folder / "sock"),
        "cloud_dirs": [str(ROOT / "sandbox" / "cloud")],
    }
    (folder / "master").write_text(json.dumps(master))
    (folder / "cloud").write_text("log_level: warning\n")
    (folder / "cloud.providers.d").mkdir(exist_ok=True)
    (folder / "cloud.providers.d" / "sandbox.conf").write_text(
        '{"sandbox": {"driver": "sandbox", "deploy": false}}'
    )
    opts = {**salt.config.DEFAULT_MASTER_OPTS, **loaded.opts, **master}
    utils = salt.loader.utils(opts)
    modules = salt.loader.minion_mods(opts, utils=utils)
    states = salt.loader.states(opts, modules, utils, salt.loader.serializers(opts))
    for name in {**loaded.old, **loaded.new}:
        (keys / "minions" / name).touch()
    accepted = keys / "minions"
    again = types.SimpleNamespace(
        world=loaded.world,
        old=loaded.old,
        new=loaded.new,
        modules=Modules(modules),
        states=states,
        accepted=accepted,
    )
    again.keys = lambda: sorted(path.name for path in accepted.iterdir())
    return again
