"""
Before and after MITx's own orchestrations: what they are about to read is this run's, and what they
left behind is looked at.
"""

import pytest
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

from tests.support.fleets import QUICK, World

NUMBER, CODENAME = "edxapp-mitx-qa-koa-release-version", "edx_codename"


@pytest.fixture
def built(mitx, pillar, aws, tmp_path):
    """
    ``built(number, codename)``: this run builds Koa v1, its AMIs are there, and SDB says what is
    given.
    """
    sdb = tmp_path / "sdb.yaml"
    pillar["consul"] = {"driver": "yaml", "files": [str(sdb)]}

    def load(number="1", codename="koa", test=False, amis=True):
        sdb.write_text(salt.utils.yaml.safe_dump({NUMBER: number, CODENAME: codename}))
        loaded = mitx(test=test, **QUICK)
        loaded.world = World(aws, loaded.settings)
        loaded.images = loaded.world.build(1) if amis else {}
        if not test:
            loaded.modules["mitx_run.record.pin"]("release_number", 1)
            if amis:
                loaded.modules["mitx_run.record.pin"]("images", loaded.images)
        return loaded

    return load


@pytest.mark.parametrize("check", ["pending_record", "pending_deploy"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"codename": "lilac"}, "sdb://consul/edx_codename is 'lilac', this run's is 'koa'"),
        ({"number": "2"}, f"sdb://consul/{NUMBER} is '2', this run's is 1"),
    ],
)
def test_it_is_not_run_on_somebody_elses_release(built, check, said, told):
    """
    One key for every environment: update_edxapp_ami_sdb would destroy the other one's bases, deploy
    launch the other one's fleet.
    """
    with pytest.raises(CommandExecutionError, match="Somebody else has changed") as refused:
        built(**said).modules[f"mitx_upgrade.saltops.{check}"]()
    assert told in str(refused.value)
    assert "salt-run state.orchestrate orchestrate.mitx.prepare" in str(refused.value)


def test_deploy_takes_no_other_images_than_this_runs(built):
    loaded = built()
    with pytest.raises(
        CommandExecutionError, match="edx_mitx-qa_koa_ami_id is None, this run's is 'ami-"
    ):
        loaded.modules["mitx_upgrade.saltops.pending_deploy"]()


def test_a_deploy_after_which_ansible_had_failed_is_run_again(built, mitx):
    write, missing = (
        built().modules["mitx_run.events.write"],
        mitx(test=True, **QUICK).modules["mitx_upgrade.saltops.pending_deploy"],
    )
    write("existing", sls="orchestrate.edx.deploy", stage="after")
    assert "Ansible has not configured every host" not in missing()
    write("unconfigured", hosts=["edx-0: failed=1"])
    assert "Ansible has not configured every host" in missing()
    write("existing", sls="orchestrate.edx.deploy", stage="after")
    assert "Ansible has not configured every host" not in missing()


def test_a_plan_of_what_is_not_built_yet_is_no_obstacle(built):
    loaded = built(number="0", test=True, amis=False)
    assert loaded.modules["mitx_upgrade.saltops.pending_deploy"]()
    assert loaded.modules["mitx_upgrade.saltops.pending_attach"]() == [
        "the new fleet is not deployed yet"
    ]


def test_an_image_that_failed_is_not_taken_for_built_and_the_way_on_is_told(built, aws):
    loaded = built()
    aws.fault(operation="describe_images", times=None, rewrite={">available<": ">failed<"})
    with pytest.raises(CommandExecutionError) as refused:
        loaded.modules["mitx_upgrade.saltops.pending_build"]()
    said = str(refused.value)
    assert "Failed in EC2, for good: " in said
    assert "cloud.destroy edxapp-mitx-qa-koa-base,edx-worker-mitx-qa-koa-base" in said
    assert f"salt-run sdb.set sdb://consul/{NUMBER} 0" in said


def test_images_that_were_thrown_away_are_built_again_under_the_same_number(built):
    loaded = built(number="0", amis=False)
    loaded.modules["mitx_run.events.write"]("phase", phase="build", status="finished", seconds=1)
    assert loaded.modules["mitx_upgrade.drift.check"](loaded.settings, "build") == [
        "there is no AMI of edx",
        "there is no AMI of edx-worker",
    ]
    assert loaded.modules["mitx_upgrade.saltops.pending_build"]() == [
        "there are no AMIs of koa release 1"
    ]


def test_images_that_ec2_does_not_list_yet_are_not_built_a_second_time(built):
    with pytest.raises(CommandExecutionError, match="EC2 lists 0 of its two AMIs. .* run again"):
        built(number="1", amis=False).modules["mitx_upgrade.saltops.pending_build"]()


# ---- what was said on the command line


def test_what_is_said_for_one_time_reaches_the_phases_and_what_may_not_be_written_down_does_not(
    mitx, pillar
):
    mine = pillar["mitx"]
    mine["drain"] = {"waive": True}
    mine["environments"]["mitx-qa"]["migrate"] = {"snapshot_id": "rds:1"}
    mine["defaults"]["drain"]["command"] = "depth amqp://edx:secret@broker/"
    mine["defaults"]["announce"]["smtp"] = {"host": "outgoing", "password": "hunter2"}
    mine["run"] = "r"
    passed = mitx().modules["mitx_run.nested.inherited"]()["mitx"]
    assert passed["drain"] == {"waive": True}
    assert passed["environments"]["mitx-qa"]["migrate"]["snapshot_id"] == "rds:1"
    assert list(passed["environments"]) == ["mitx-qa"]
    assert passed["run"] == "r"
    # The nested one has these in its own pillar. Cut or masked, they would take its place.
    assert "command" not in passed["defaults"]["drain"]
    assert passed["defaults"]["announce"]["smtp"] == {"host": "outgoing"}
    assert passed["defaults"]["elb"] == mine["defaults"]["elb"]


# ---- a night in which the server of MITx's settings is down


@pytest.fixture
def source(example_pillar, pillar, tmp_path):
    """``mitx:environments_source``, a file here."""
    path = tmp_path / "environment_settings.yml"
    path.write_text(salt.utils.yaml.safe_dump({"environments": example_pillar["environments"]}))
    pillar["mitx"]["environments_source"] = path.as_uri()
    pillar.pop("environments")
    return path


def test_the_last_copy_serves_all_but_the_existing_orchestrations(mitx, source):
    mitx().modules["mitx_run.settings.save_current"]()
    source.unlink()
    modules = mitx(begin=False).modules
    assert modules["mitx_run.settings.get"]()["codename"] == "koa"
    with pytest.raises(CommandExecutionError, match="cannot be fetched .*without_existing: True"):
        modules["mitx_upgrade.saltops.require_unchanged_settings"]()


def test_without_a_copy_it_is_one_more_problem_of_the_settings(mitx, source):
    source.unlink()
    with pytest.raises(
        CommandExecutionError, match=r"\n  - mitx:environments_source: file:.* cannot be fetched"
    ):
        mitx(begin=False).modules["mitx_run.settings.get"]()


def test_a_server_that_does_not_answer_is_told_and_not_a_traceback(mitx, pillar, source):
    pillar["mitx"]["environments_source"] = "http://127.0.0.1:1/environment_settings.yml"
    with pytest.raises(
        CommandExecutionError, match="http://127.0.0.1:1/environment_settings.yml cannot be fetched"
    ):
        mitx(begin=False).modules["mitx_run.settings.get"]()
