"""
The sandbox's seeded AWS, its stand-ins for the existing orchestrations and its Salt Cloud driver,
without daemons.
"""

import json
import pathlib

import pytest
import salt.config
import salt.loader
import yaml
from salt.exceptions import CommandExecutionError, SaltCloudExecutionTimeout, SaltRenderError

from sandbox import assembly, git_history, master, report, world
from sandbox import config as settings
from sandbox.aws import FakeAWS
from sandbox.public import tls

OLD_NAME = "edx-mitx-qa-next-residential-live-0-v3"


@pytest.fixture(scope="class", params=["qa"])
def seeded(request, tmp_path_factory):
    """
    A seeded sandbox on a fake AWS in this process, its master configured but not started: its
    config. One for a class.
    """
    config = settings.create(tmp_path_factory.mktemp("assembly") / "sandbox", request.param)
    with FakeAWS(config["directory"], ami_pending=3600) as aws:
        config["ports"]["aws"] = int(aws.url.rpartition(":")[2])
        settings.write(config["directory"], config)
        tls.make(config["directory"], config["zone"])
        git_history.build(config["paths"]["git"])
        assembly._seed(config)
        master.configure(config)
        yield config


@pytest.fixture
def sandbox(seeded, monkeypatch):
    """``seeded`` with its environment set; SDB is put back after the test."""
    for name, value in settings.environment(seeded).items():
        monkeypatch.setenv(name, value)
    sdb = pathlib.Path(seeded["paths"]["sdb"])
    before = sdb.read_text()
    settings.link(seeded)
    yield seeded
    settings.unlink(seeded)
    sdb.write_text(before)


@pytest.fixture
def salt_of(sandbox):
    """``salt_of()`` -> modules and states of the sandbox's master, by Salt's real loader."""

    def load():
        opts = salt.config.master_config(f"{sandbox['paths']['master']}/master")
        opts |= {"file_client": "local", "test": False, "grains": {"kernel": "Linux"}}
        folder = pathlib.Path(sandbox["directory"]) / "pillar"
        opts["pillar"] = {}
        for name in ("environments", "mitx"):
            opts["pillar"] |= yaml.safe_load((folder / f"{name}.sls").read_text())
        modules = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts))
        return modules, salt.loader.states(
            opts, modules, salt.loader.utils(opts), salt.loader.serializers(opts)
        )

    return load


def _ec2(config):
    return world.World(config).client("ec2")


def _render(modules, name):
    path = settings.REPOSITORY / "sandbox" / "salt" / "orchestrate" / f"{name}.sls"
    return modules["slsutil.renderer"](str(path))


class TestWorld:
    @pytest.mark.parametrize("seeded", ["qa", "production"], indirect=True)
    def test_the_seeded_world_is_what_the_settings_say(self, sandbox, salt_of):
        modules, _ = salt_of()
        found, made = modules["mitx_run.get_settings"](), world.read(sandbox)
        for elb in found["elbs"]:
            hostnames = {found["hosts"][elb["purpose"]]["domains"][kind] for kind in elb["domains"]}
            assert set(made["elbs"][elb["name"]]["hostnames"]) == hostnames
        assert world.World(sandbox).moving_names() == sorted(
            record["name"] for record in found["records"]
        )
        assert len(made["instances"]) == {"qa": 9, "production": 30}[sandbox["size"]]

    def test_the_old_fleet_serves_and_every_name_points_at_its_load_balancer(self, sandbox):
        made = world.read(sandbox)
        records = (
            world.World(sandbox)
            .client("route53")
            .list_resource_record_sets(HostedZoneId=made["zone_id"])
        )
        targets = {
            one["Name"]: one["ResourceRecords"][0]["Value"]
            for one in records["ResourceRecordSets"]
            if one["Type"] == "CNAME"
        }
        assert len(targets) == 16
        for elb in made["elbs"].values():
            assert {targets[f"{name}."] for name in elb["hostnames"]} == {elb["dns_name"]}
        elb = (
            world.World(sandbox)
            .client("elb")
            .describe_load_balancers(LoadBalancerNames=["edx-next-residential-live-mitx-q"])
        )
        members = {one["InstanceId"] for one in elb["LoadBalancerDescriptions"][0]["Instances"]}
        assert members == {
            made["instances"][f"edx-mitx-qa-next-residential-live-{number}-v3"] for number in (0, 1)
        }

    def test_seeding_is_not_in_the_log_of_calls(self, sandbox):
        assert report.read_lines(pathlib.Path(sandbox["paths"]["aws"]) / "calls.jsonl") == []

    def test_sdb_knows_juniper_and_nothing_of_koa(self, sandbox, salt_of):
        modules, _ = salt_of()
        assert modules["sdb.get"]("sdb://consul/edxapp-mitx-qa-juniper-release-version") == "3"
        assert modules["sdb.get"]("sdb://consul/edxapp-mitx-qa-koa-release-version") is None
        image = modules["sdb.get"]("sdb://consul/edx_mitx-qa_juniper_ami_id")
        root = pathlib.Path(sandbox["paths"]["images"]) / image / "root"
        assert (
            json.loads(
                (root / "edx/app/edxapp/edx-platform/openedx/core/release.json").read_text()
            )["codename"]
            == "juniper"
        )

    def test_sdb_keeps_what_is_set(self, sandbox, salt_of):
        modules, _ = salt_of()
        modules["sdb.set"]("sdb://consul/edx_codename", "koa")
        modules["sdb.set"]("sdb://consul/other", 7)
        assert salt_of()[0]["sdb.get"]("sdb://consul/edx_codename") == "koa"
        modules["sdb.delete"]("sdb://consul/other")
        assert modules["sdb.get"]("sdb://consul/other") is None


class TestStandIns:
    """
    What salt-ops does wrong must go wrong here too: those are the faults the package guards
    against.
    """

    @pytest.fixture
    def modules(self, salt_of, monkeypatch):
        for name in ("ENVIRONMENT", "PURPOSE", "PURPOSES", "RUN_MIGRATIONS", "ANSIBLE_FLAGS"):
            monkeypatch.delenv(name, raising=False)
        return salt_of()[0]

    def test_build_ami_takes_the_next_number_and_starts_from_the_plain_image(
        self, sandbox, modules, monkeypatch
    ):
        monkeypatch.setenv("ENVIRONMENT", "mitx-qa")
        monkeypatch.setenv("PURPOSE", "next-residential-draft")
        sls = _render(modules, "edx/build_ami")
        (profile,) = [
            part["contents"]
            for part in sls["load_edx_base_cloud_profile"]["file.managed"]
            if "contents" in part
        ]
        assert f"image: {world.read(sandbox)['images']['ubuntu-base']}" in profile
        assert "edxapp_mitx-qa_koa_base_release_1" in json.dumps(sls["snapshot_edx_node"])
        assert {"wait_until_available": False} in sls["snapshot_edx_node"][
            "boto_ec2.snapshot_created"
        ]
        modules["sdb.set"]("sdb://consul/edxapp-mitx-qa-koa-release-version", "2")
        assert "release_3" in json.dumps(_render(modules, "edx/build_ami")["snapshot_edx_node"])

    @pytest.mark.parametrize(
        ("value", "flags"),
        [("1", "-e migrate_db=yes"), ("0", "-e migrate_db=yes"), ("", ""), (None, "")],
    )
    def test_run_migrations_is_on_with_any_text(self, modules, monkeypatch, value, flags):
        monkeypatch.setenv("ENVIRONMENT", "mitx-qa")
        monkeypatch.setenv("PURPOSE", "next-residential-draft")
        if value is not None:
            monkeypatch.setenv("RUN_MIGRATIONS", value)
        state = _render(modules, "edx/build_ami")["build_edx_base_nodes"]["salt.state"]
        assert {"pillar": {"edx": {"ansible_flags": flags}}} in state

    @pytest.mark.parametrize("seeded", ["production"], indirect=True)
    def test_production_is_built_from_qas_images(self, sandbox, modules, monkeypatch):
        monkeypatch.setenv("ENVIRONMENT", "mitx-production")
        monkeypatch.setenv("PURPOSE", "residential-draft")
        sls = _render(modules, "edx/build_ami")
        qa = world.read(sandbox)["images"]["edxapp_mitx-qa_koa_base_release_1"]
        assert f"image: {qa}" in json.dumps(sls["load_edx_base_cloud_profile"])
        assert "--tags install:configuration" in json.dumps(sls["build_edx_base_nodes"])

    def test_update_sdb_fails_without_an_image_and_takes_a_pending_one(
        self, sandbox, modules, monkeypatch
    ):
        monkeypatch.setenv("ENVIRONMENT", "mitx-qa")
        modules["sdb.set"]("sdb://consul/edx_codename", "koa")
        modules["sdb.set"]("sdb://consul/edxapp-mitx-qa-koa-release-version", "1")
        with pytest.raises(SaltRenderError, match="no element 0|out of range"):
            _render(modules, "edx/update_edxapp_ami_sdb")
        source = world.read(sandbox)["instances"][OLD_NAME]
        for name in world.ami_names("mitx-qa", "koa", 1).values():
            image = _ec2(sandbox).create_image(InstanceId=source, Name=name)["ImageId"]
        assert _ec2(sandbox).describe_images(ImageIds=[image])["Images"][0]["State"] == "pending"
        assert image in json.dumps(
            _render(modules, "edx/update_edxapp_ami_sdb")["update_edx_worker_ami_value"]
        )

    def test_deploy_targets_what_was_launched_today(self, modules, monkeypatch):
        monkeypatch.setenv("ENVIRONMENT", "mitx-qa")
        monkeypatch.setenv("PURPOSES", "next-residential-draft,next-residential-live")
        sls = _render(modules, "edx/deploy")
        today = modules["status.time"]("%Y-%m-%d")
        assert f"G@launch-date:{today}" in json.dumps(sls["restart_edx_services"])
        assert "--tags install:configuration" in json.dumps(sls["deploy_edx_configuration"])

    def test_deploy_without_purposes_means_the_current_ones(self, modules):
        contents = json.dumps(_render(modules, "edx/deploy")["generate_edx_cloud_map_file"])
        assert "current-residential-live" in contents
        assert "next-residential" not in contents

    def test_mitx_elb_moves_every_name_to_the_load_balancer(self, sandbox, salt_of, monkeypatch):
        monkeypatch.setenv("ENVIRONMENT", "mitx-qa")
        monkeypatch.setenv("PURPOSES", "next-residential-draft,next-residential-live")
        modules, states = salt_of()
        made = world.read(sandbox)
        for elb in made["elbs"].values():
            for hostname in elb["hostnames"]:
                modules["boto_elb.set_cname"](
                    "mitx.mit.edu.", hostname, made["distribution"]["domain_name"], 2
                )
        sls = _render(modules, "aws/mitx_elb")
        for identifier in (
            "create_elb_for_edx_next-residential-live",
            "create_elb_for_edx_next-residential-live_studio",
        ):
            arguments = {
                key: value
                for part in sls[identifier]["boto_elb.present"]
                for key, value in part.items()
            }
            assert states["boto_elb.present"](**arguments)["result"] is True
        moved = {
            "lms-next-qa.mitx.mit.edu",
            "preview-next-qa.mitx.mit.edu",
            "gr-next-qa.mitx.mit.edu",
            "studio-next-qa.mitx.mit.edu",
        }
        for elb in made["elbs"].values():
            for hostname in elb["hostnames"]:
                target = (
                    elb["dns_name"] if hostname in moved else made["distribution"]["domain_name"]
                )
                assert modules["boto_elb.get_cname"]("mitx.mit.edu.", hostname) == {
                    "target": target,
                    "ttl": 2,
                }
        assert states["boto_elb.present"](**arguments)["changes"] == {}

    def test_register_instances_only_adds(self, sandbox, salt_of):
        modules, states = salt_of()
        made = world.read(sandbox)
        new = made["instances"]["edx-mitx-qa-next-residential-draft-0-v3"]
        ret = states["boto_elb.register_instances"]("edx-next-residential-live-mitx-q", [new])
        assert (ret["result"], list(ret["changes"])) == (True, ["old", "new"])
        members = {
            one["InstanceId"]
            for one in modules["boto_elb.get"]("edx-next-residential-live-mitx-q")["Instances"]
        }
        assert members == {
            new,
            *(
                made["instances"][f"edx-mitx-qa-next-residential-live-{number}-v3"]
                for number in (0, 1)
            ),
        }

    def test_a_dry_run_changes_nothing(self, sandbox, salt_of):
        _, states = salt_of()
        before = len(_ec2(sandbox).describe_images(Owners=["self"])["Images"])
        states.opts["test"] = True
        ret = states["boto_ec2.snapshot_created"](
            "x", ami_name="x", instance_name=OLD_NAME, wait_until_available=False
        )
        assert ret["result"] is None
        assert len(_ec2(sandbox).describe_images(Owners=["self"])["Images"]) == before


class TestTwins:
    def test_get_id_finds_terminated_twins_and_fails(self, sandbox, salt_of):
        modules, _ = salt_of()
        made = world.read(sandbox)
        assert modules["boto_ec2.get_id"](OLD_NAME) == made["instances"][OLD_NAME]
        _ec2(sandbox).terminate_instances(InstanceIds=[made["instances"][OLD_NAME]])
        assert modules["boto_ec2.get_id"](OLD_NAME) == made["instances"][OLD_NAME]
        image = made["images"]["ubuntu-base"]
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": OLD_NAME}]}]
        _ec2(sandbox).run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
        with pytest.raises(CommandExecutionError, match="Found more than one instance"):
            modules["boto_ec2.get_id"](OLD_NAME)


class TestSaltCloud:
    """
    The driver through the ``cloud`` execution module, as the stand-ins and ``retire`` call it.
    """

    @pytest.fixture
    def cloud(self, sandbox, salt_of):
        folder = pathlib.Path(sandbox["paths"]["master"])
        image = world.read(sandbox)["images"]["ubuntu-base"]
        (folder / "cloud.profiles.d" / "edx.conf").write_text(
            f"edx: {{provider: sandbox, image: {image}, wait_for_minion: 0, tag: {{role: edx,"
            " purpose: next-residential-live}}\n"
        )
        return salt_of()[0]

    def _running(self, sandbox):
        return assembly.running_instances(sandbox)

    def test_a_profile_launches_with_its_tags(self, sandbox, cloud):
        cloud["cloud.profile"]("edx", ["one"])
        found = _ec2(sandbox).describe_instances(InstanceIds=[self._running(sandbox)["one"]])
        tags = {
            tag["Key"]: tag["Value"] for tag in found["Reservations"][0]["Instances"][0]["Tags"]
        }
        assert tags == {"Name": "one", "role": "edx", "purpose": "next-residential-live"}

    def test_a_map_launches_what_is_missing_and_skips_names_that_are_there(self, sandbox, cloud):
        path = pathlib.Path(sandbox["paths"]["master"]) / "cloud.maps.d" / "edx.map"
        path.write_text(f"edx:\n  - {OLD_NAME}\n  - two: {{tag: {{purpose: other}}}}\n")
        before = self._running(sandbox)
        cloud["cloud.map_run"](path=str(path), parallel=True)
        after = self._running(sandbox)
        assert set(after) - set(before) == {"two"}
        assert after[OLD_NAME] == before[OLD_NAME]

    def test_destroy_takes_exact_names_and_the_minions_key_with_them(self, sandbox, cloud):
        keys = pathlib.Path(sandbox["paths"]["master"]) / "pki" / "master" / "minions"
        keys.mkdir(parents=True)
        mine, other = (
            OLD_NAME.replace("-live-0-v3", f"-{rest}") for rest in ("draft-0-v3", "live-1-v3")
        )
        for name in (mine, other):
            (keys / name).write_text("key")
        cloud["cloud.destroy"]([mine, "edx-mitx-qa-next-residential-*"])
        assert mine not in self._running(sandbox)
        assert other in self._running(sandbox)
        assert [path.name for path in keys.iterdir()] == [other]

    def test_a_host_whose_minion_never_answers_is_an_error(self, sandbox, cloud):
        profile = pathlib.Path(sandbox["paths"]["master"]) / "cloud.profiles.d" / "edx.conf"
        profile.write_text(profile.read_text().replace("wait_for_minion: 0", "wait_for_minion: 1"))
        with pytest.raises(SaltCloudExecutionTimeout, match="mute .* its minion does not answer"):
            cloud["cloud.profile"]("edx", ["mute"])
