"""
A release that comes from QA's AMIs: proven to be there, nothing pushed. Real git, real loader, fake
AWS.
"""

import json

import pytest
import salt.utils.yaml

from tests.support import release_world
from tests.support.release_world import BRANCH

NAMES = {
    "edx": "edxapp_mitx-qa_koa_base_release_4",
    "edx-worker": "edx_worker_mitx-qa_koa_base_release_4",
}


@pytest.fixture
def world(tmp_path):
    return release_world.build(tmp_path / "forge")


@pytest.fixture
def production(world, mitx, pillar, tmp_path, aws):
    """
    ``production(test=False, names=…, **release)``: an environment that takes QA's release; its AMIs
    are in AWS and SDB.
    """

    def load(test=False, names=NAMES, **changed):
        ec2 = aws.client("ec2")
        ids = {
            role: ec2.register_image(Name=name, RootDeviceName="/dev/sda1")["ImageId"]
            for role, name in names.items()
        }
        sdb = {
            "edx_mitx-qa_koa_ami_id": ids["edx"],
            "edx_worker_mitx-qa_koa_ami_id": ids["edx-worker"],
        }
        (tmp_path / "sdb.yaml").write_text(salt.utils.yaml.safe_dump(sdb))
        pillar["consul"] = {"driver": "yaml", "files": [str(tmp_path / "sdb.yaml")]}
        release = {**release_world.settings(world), "from": "mitx-qa", **changed}
        loaded = mitx(test=test, release=release, aws={"endpoint_url": aws.url})
        loaded.images, loaded.ec2 = ids, ec2
        return loaded

    return load


def _record(loaded, sha, run="earlier"):
    folder = loaded.run_dir / "mitx-qa" / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"began": run, "facts": {"release_sha": sha}}))


def test_qas_recorded_commit_and_images_are_proven_and_nothing_is_pushed(world, production):
    before = world.refs(world.origin)
    loaded = production()
    _record(loaded, world.patches[0], "2020-10")
    _record(loaded, world.tip(), "2020-11")
    ret = loaded.states["mitx_release.proven"]("QA's release")
    assert (ret["result"], ret["changes"]) == (True, {}), ret["comment"]
    assert world.tip() in ret["comment"]
    assert loaded.images["edx"] in ret["comment"]
    assert loaded.modules["mitx_run.record.pinned"]("release_sha") == world.tip()
    assert world.refs(world.origin) == before
    assert loaded.modules["mitx_run.events.read"]("git") == []


def test_a_commit_of_a_backup_counts_and_says_where(world, production):
    loaded = production(test=True)
    _record(loaded, world.tip())
    old, new = world.tip(), world.rc3
    world.set(world.origin, f"refs/mitx/backup/koa/20201101T000000Z-{old}", old)
    world.set(world.origin, BRANCH, new)
    assert loaded.modules["mitx_release.release.proof"]()["where"] == [
        f"refs/mitx/backup/koa/20201101T000000Z-{old}"
    ]
    assert loaded.states["mitx_release.proven"]("QA's release")["result"] is True


def test_what_is_missing_is_named(world, production):
    loaded = production()
    proven = loaded.states["mitx_release.proven"]

    def comment():
        ret = proven("QA's release")
        assert ret["result"] is False
        return ret["comment"]

    assert "pillar release:sha" in comment()
    _record(loaded, "1" * 40)
    assert "neither mitx/koa on origin nor a backup" in comment()
    _record(loaded, world.tip(), "later")
    loaded.ec2.deregister_image(ImageId=loaded.images["edx-worker"])
    assert f"{loaded.images['edx-worker']}, which mitx-qa recorded" in comment()
    assert loaded.modules["mitx_run.record.pinned"]("release_sha") is None


def test_another_releases_image_is_not_taken(world, production):
    loaded = production(names={**NAMES, "edx": "edxapp_mitx-qa_juniper_base_release_4"})
    _record(loaded, world.tip())
    ret = loaded.states["mitx_release.proven"]("QA's release")
    assert ret["result"] is False
    assert (
        "called edxapp_mitx-qa_juniper_base_release_4; wanted: edxapp_mitx-qa_koa_base_release_"
        in ret["comment"]
    )
