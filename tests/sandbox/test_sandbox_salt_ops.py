"""MITx's own orchestrations in the sandbox: what is asked of a checkout and of the machine."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from sandbox import cli, salt_ops
from sandbox.hosts import aws as host_aws
from sandbox.hosts import files
from sandbox.pillar import environments

ARN = "arn:aws:acm:us-east-1:610119931565:certificate/263b0a3a-9a28-4146-abaa-034f874b8e17"
SETTINGS = "environments: {mitx-qa: {vpc_name: MITx QA, purposes: {}}}\n"


@pytest.fixture
def checkouts(tmp_path):
    """Something that looks like checkouts of both repositories: (tree, extensions)."""
    tree, extensions = tmp_path / "salt-ops", tmp_path / "salt-extensions"
    for folder, paths in (
        (tree, salt_ops.NEEDED["tree"]),
        (extensions, salt_ops.NEEDED["extensions"]),
    ):
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("")
    (tree / "salt/environment_settings.yml").write_text(SETTINGS)
    (tree / "salt/orchestrate/aws/mitx_elb.sls").write_text(f"certificate: {ARN}\n")
    return tree, extensions


@pytest.fixture
def fit(monkeypatch):
    """This machine and its Salt are as they must be."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3006.29")
    monkeypatch.setattr("os.getuid", lambda: 0)
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)


def test_a_checkout_says_which_account_and_which_settings(checkouts, fit):
    given = salt_ops.read(*checkouts)
    assert given == {
        "tree": str(checkouts[0]),
        "extensions": str(checkouts[1]),
        "certificate": ARN,
    }
    assert salt_ops.account(given) == "610119931565"
    assert list(environments.settings_map({"salt_ops": given})) == ["mitx-qa"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda tree, _: shutil.rmtree(tree),
            "SALT_OPS: there is no salt/environment_settings.yml in",
        ),
        (
            lambda _, extensions: shutil.rmtree(extensions),
            "SALT_EXTENSIONS: there is no extensions/_modules/boto_ec2.py in",
        ),
        (
            lambda tree, _: (tree / "salt/orchestrate/aws/mitx_elb.sls").write_text(""),
            "names no certificate of ACM",
        ),
    ],
)
def test_what_is_no_checkout_is_told_in_one_sentence(checkouts, fit, capsys, wrong, said):
    wrong(*checkouts)
    words = ["--salt-ops", str(checkouts[0]), "--salt-extensions", str(checkouts[1])]
    assert cli.main(["--dir", str(checkouts[0].parent / "sandbox"), "up", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (("importlib.metadata.version", lambda name: "3008.2"), "need the modules of Salt 3006"),
        (("os.getuid", lambda: 1000), "that needs root"),
        (
            (
                "subprocess.run",
                lambda *_, **__: subprocess.CompletedProcess([], 1, "", "unshare: not permitted\n"),
            ),
            "This machine allows no mount namespaces: unshare: not permitted",
        ),
    ],
)
def test_a_machine_that_cannot_is_told_before_anything_is_made(
    checkouts, fit, monkeypatch, machine, said
):
    monkeypatch.setattr(*machine)
    with pytest.raises(salt_ops.Unfit, match=said):
        salt_ops.read(*checkouts)


def test_salt_extensions_alone_is_a_mistake(tmp_path, capsys):
    words = ["up", "--salt-extensions", str(tmp_path)]
    assert cli.main(["--dir", str(tmp_path / "sandbox"), *words]) == 1
    assert "SALT_OPS is not" in capsys.readouterr().err


def test_an_instance_has_a_host_once_salt_cloud_has_left_its_grains(aws, tmp_path):
    ec2 = host_aws.client({"ports": {"aws": int(aws.url.rpartition(":")[2])}})
    image = ec2.register_image(Name="any", RootDeviceName="/dev/sda1")["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "edx-0-v1"}]}]
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
    instance = made["Instances"][0]["InstanceId"]
    assert host_aws.instances(ec2, tmp_path) == []
    grains = {"roles": ["edx", "edx-base"], "environment": "mitx-qa"}
    (tmp_path / f"{instance}.json").write_text(json.dumps({"name": "edx-0-v1", "grains": grains}))
    (found,) = host_aws.instances(ec2, tmp_path)
    assert found["tags"]["role"] == "edx"
    assert found["grains"] == grains


def test_a_host_s_packages_are_not_this_machine_s():
    config = {
        "ports": {"master_publish": 1, "master_return": 2},
        "salt_ops": {"tree": "x"},
        "directory": "/x",
    }
    dirs = files.minion(config, {"name": "x", "run": "/x/s/i-1"}, pathlib.Path("/x"))["module_dirs"]
    assert any((pathlib.Path(folder) / "pkg.py").exists() for folder in dirs)


@pytest.mark.skipif(os.getuid() != 0, reason="mount namespaces need root")
def test_a_host_sees_folders_of_its_own_and_leaves_nothing_mounted(tmp_path):
    for name in ("root", "salt", "edx"):
        (tmp_path / name).mkdir()
    (tmp_path / "salt" / "minion").write_text("id: x\n")
    before = pathlib.Path("/proc/self/mounts").read_text()
    config = {"salt_ops": {"tree": "x"}, "paths": {"root": str(tmp_path / "root")}}
    command = 'cat /etc/salt/minion; cat /etc/hostname; pwd; touch /edx/here; echo "$1"'
    words = ["/bin/sh", "-c", command, "sh", "two words"]
    words = salt_ops.inside(config, words, tmp_path / "salt", tmp_path / "edx")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    hostname = pathlib.Path("/etc/hostname").read_text().strip()
    assert done.stdout.splitlines() == ["id: x", hostname, str(tmp_path), "two words"], done.stderr
    assert (tmp_path / "edx" / "here").exists()
    assert list((tmp_path / "root").iterdir()) == []
    assert pathlib.Path("/proc/self/mounts").read_text() == before


def test_modules_of_salt_extensions_find_six(tmp_path):
    path = os.pathsep.join([str(salt_ops.HERE / "shim")])
    command = [sys.executable, "-c", "from salt.ext.six.moves import range; import salt.ext.six"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0 or "No module named 'six'" in done.stderr, done.stderr
