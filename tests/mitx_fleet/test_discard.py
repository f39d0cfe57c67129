"""
A build that broke off: what no build finds again is named, and thrown away by exact name and id.
"""

import pytest
import salt.utils.event
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

from tests.support.fleets import QUICK, World, on_the_master

BASES = ("edxapp-mitx-qa-koa-base", "edx-worker-mitx-qa-koa-base")
NUMBER = "edxapp-mitx-qa-koa-release-version"


@pytest.fixture
def broken(mitx, pillar, aws, tmp_path, monkeypatch):
    """
    ``broken(amis, number)``: a build of release 1 that broke off, both bases there, so many of the
    two AMIs made; SDB holds ``number``. On the master.
    """
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(
        salt.utils.event.SaltEvent, "fire_event", lambda self, data, tag, timeout=1000: True
    )
    sdb = tmp_path / "sdb.yaml"
    pillar["consul"] = {"driver": "yaml", "files": [str(sdb)]}

    def load(amis=1, number="0", test=False):
        sdb.write_text(salt.utils.yaml.safe_dump({NUMBER: number}))
        loaded = mitx(**QUICK)
        loaded.world = World(aws, loaded.settings)
        names = [name.format(release=1) for name in loaded.settings["amis"].values()][:amis]
        loaded.images = [loaded.world.image(name) for name in names]
        loaded.old = {name: loaded.world.launch(name) for name in BASES}
        loaded.new = {"edx-beside": loaded.world.launch("edx-beside")}
        loaded.modules["mitx_run.record.pin"]("release_number", 1)
        if test:
            loaded.opts["test"] = True
        found = on_the_master(loaded, tmp_path)
        found.images = loaded.images
        aws.clear_calls()
        return found

    return load


def discard(master):
    return master.states["mitx_fleet.build_discarded"]("discard")


def images(master):
    return {raw["ImageId"] for raw in master.world.ec2.describe_images(Owners=["self"])["Images"]}


@pytest.mark.parametrize("amis", [0, 1])
def test_the_bases_go_with_their_keys_and_the_lone_ami_and_nothing_else(broken, amis):
    master = broken(amis)
    ret = discard(master)
    assert ret["result"] is True, ret
    assert set(master.world.states(*master.old.values()).values()) <= {
        "terminated",
        "shutting-down",
    }
    assert set(master.world.states(*master.new.values()).values()) == {"running"}
    assert master.keys() == ["edx-beside"]
    assert not set(master.images) & images(master)
    assert len(ret["changes"].get("deregistered", [])) == amis
    again = discard(master)
    assert (again["result"], again["changes"]) == (True, {})


def test_a_dry_run_names_all_of_it_and_writes_nothing(broken, aws):
    master = broken(test=True)
    ret = discard(master)
    assert ret["result"] is None
    assert all(name in str(ret["changes"]["destroyed"]) for name in BASES)
    assert master.images[0] in str(ret["changes"]["deregistered"])
    assert set(master.images) <= images(master)
    assert set(master.world.states(*master.old.values()).values()) == {"running"}


def test_a_build_that_is_recorded_is_not_thrown_away(broken):
    master = broken(amis=2, number="1")
    ret = discard(master)
    assert ret["result"] is False
    assert "says that release 1 is built" in ret["comment"]
    assert set(master.world.states(*master.old.values()).values()) == {"running"}


@pytest.mark.parametrize("number", ["0", "1"])
def test_amis_that_are_still_being_made_are_not_thrown_away(broken, aws, number):
    """A build that has ended, or was killed just before its last step."""
    master = broken(amis=2, number=number)
    aws.fault(operation="describe_images", times=None, rewrite={">available<": ">pending<"})
    ret = discard(master)
    assert ret["result"] is False
    assert set(master.world.states(*master.old.values()).values()) == {"running"}
    assert set(master.images) <= images(master)


def test_an_ami_of_which_an_instance_runs_is_not_thrown_away(broken):
    master = broken()
    user = master.world.launch("edx-of-it", image=master.images[0])
    ret = discard(master)
    assert ret["result"] is False
    assert f"is the AMI of {user}" in ret["comment"]
    assert set(master.images) <= images(master)


@pytest.mark.parametrize(
    "grains",
    [
        {},
        {BASES[0]: {"roles": "", "environment": ""}, BASES[1]: {"roles": ["edx-base-worker"]}},
        {BASES[0]: {"roles": ["edx-base"], "environment": "mitx-qa"}},
    ],
    ids=["no minion answers", "grains deleted", "one answers"],
)
def test_bases_that_no_build_finds_again_are_named_with_the_command_that_helps(broken, grains):
    master = broken(0)
    with pytest.raises(CommandExecutionError, match=f"{BASES[1]} .*salt-run mitx.discard_build"):
        master.modules["mitx_fleet.discard.require_findable"](grains)


def test_bases_that_a_build_finds_are_left_to_it(broken):
    found = {
        BASES[0]: {"roles": ["edx-base"], "environment": "mitx-qa"},
        BASES[1]: {"roles": ["edx-base-worker"], "environment": "mitx-qa"},
    }
    broken(0).modules["mitx_fleet.discard.require_findable"](found)


def test_a_snapshot_that_a_kill_left_behind_goes_with_the_next_call(broken, aws):
    master = broken()
    disks = master.world.ec2.describe_images(ImageIds=master.images)["Images"][0]
    snapshot = disks["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    aws.fault(operation="delete_snapshot", times=1, error="UnauthorizedOperation", status=403)
    assert discard(master)["result"] is False
    assert not set(master.images) & images(master)

    def snapshots():
        return {raw["SnapshotId"] for raw in master.world.ec2.describe_snapshots()["Snapshots"]}

    assert snapshot in snapshots()
    ret = discard(master)
    assert ret["result"] is True, ret
    assert ret["changes"] == {"snapshots": [snapshot]}
    assert snapshot not in snapshots()
    assert discard(master)["changes"] == {}
