"""
What stands in the way is told days before the window, all of it at once, and with a name that can
be acted on.
"""

import pathlib
import shutil

import pytest
import salt.loader

from mitx_upgrade import preflight
from tests.support.rooms import Modules

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXISTING = {
    "orchestrate/edx/build_ami.sls": (
        """
{# salt.commented_out.function() #}
{% set subnets = salt.boto_vpc.describe_subnets(subnet_names=['a']) %}
{% set token = salt['vault.read']('x') %}
base:
  salt.runner:
    - name: cloud.profile_of_long_ago
snapshot:
  boto_ec2.snapshot_created:
    - name: x
ok:
  file.managed:
    - name: /nowhere
"""
    ),
    "orchestrate/edx/deploy.sls": (
        """
deploy:
  salt.function:
    - tgt: 'roles:master'
    - name: saltutil.runner
    - arg:
        - cloud.map_run_of_long_ago
"""
    ),
    "orchestrate/edx/update_edxapp_ami_sdb.sls": "{% set x = salt.sdb.get('sdb://consul/x') %}",
}


@pytest.fixture
def problems(mitx, tmp_path):
    """What preflight finds, with these of the existing orchestrations on the master."""
    for name, text in EXISTING.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def find(**overrides):
        # Nobody answers there, and it is told at once.
        nowhere = {"endpoint_url": "http://127.0.0.1:9", "attempts": 1}
        opts = {
            **mitx(aws=nowhere, **overrides).opts,
            "file_roots": {"base": [str(tmp_path / "tree")]},
        }
        return Modules(salt.loader.minion_mods(opts))["mitx_upgrade.preflight.problems"]()

    return find


def test_what_the_existing_orchestrations_use_and_the_master_lacks_is_named(problems):
    found = problems()
    assert found["existing orchestrations"] == [
        "orchestrate.aws.mitx_elb is not in the master's file_roots"
    ]
    told = "\n".join(found["modules"])
    for name, sls in (
        ("boto_vpc.describe_subnets", "orchestrate.edx.build_ami"),
        ("vault.read", "orchestrate.edx.build_ami"),
        ("boto_ec2.snapshot_created", "orchestrate.edx.build_ami"),
        ("cloud.profile_of_long_ago", "orchestrate.edx.build_ami"),
        ("cloud.map_run_of_long_ago", "orchestrate.edx.deploy"),
    ):
        assert f"does not load {name}, which {sls} uses" in told
    for there in ("commented_out", "file.managed", "sdb.get", "salt.runner", "salt.function"):
        assert there not in told


def test_a_disk_that_would_be_full_in_the_night_is_told_with_its_folder(
    problems, monkeypatch, tmp_path
):
    kind = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: kind(10**12, 10**12, 50 * 2**20))
    found = problems()
    assert "50 MiB are free, of 100 that it takes" in found["run record"][0]
    assert "50 MiB are free, of 1000 that it takes" in found["mirror of the repository"][0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: kind(10**12, 0, 10**12))
    assert not {"run record", "mirror of the repository"} & set(problems())


def test_a_silent_aws_hides_nothing_of_the_rest(problems):
    found = problems(
        window={"start": "2019-12-20 21:00"},
        announce={"smtp": {"host": "localhost"}, "sender": "nobody", "to": []},
    )
    assert {
        "window",
        "mail",
        "modules",
        "AWS account",
        "load balancers",
        "current fleet",
        "DNS records",
    } <= set(found)
    assert "127.0.0.1:9" in "".join(found["AWS account"])


def test_an_old_synced_copy_that_shadows_the_installed_one_is_told(
    mitx, aws, tmp_path, monkeypatch
):
    synced = tmp_path / "synced"
    monkeypatch.setattr(preflight, "_installed_by_pip", lambda: [synced])
    shutil.copytree(ROOT / "_modules", synced, ignore=shutil.ignore_patterns("__pycache__"))

    def notes():
        # No reactor is configured here, which is told too.
        found = Modules(salt.loader.minion_mods(mitx().opts))["mitx_upgrade.preflight.notes"]()
        return [line for line in found if "reactor" not in line]

    (account,) = notes()
    assert aws.url in account
    with (synced / "mitx_site/dns.py").open("a") as module:
        module.write("# of last year\n")
    _, told = notes()
    assert str(synced) in told
    assert "mitx_site/dns.py" in told
    assert "mitx_fleet/elb.py" not in told


def test_what_cannot_be_found_out_is_neither_good_nor_in_the_way(problems, mitx):
    nowhere = {"endpoint_url": "http://127.0.0.1:9", "attempts": 1}
    found = mitx(aws=nowhere).modules["mitx_upgrade.preflight.checklist"]()
    assert found["permissions"]["result"] is None
    assert "could not be asked" in found["permissions"]["told"][0]
    assert found["AWS account"]["result"] is False
    assert found["mail"] == {"result": True, "told": []}
    assert "permissions" not in problems()
