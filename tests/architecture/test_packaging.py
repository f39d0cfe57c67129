"""
Both ways of installing must give a master the same functions: a wheel through the ``salt.loader``
entry point, and a tree that ``saltutil.sync_*`` copies. An engineer who finds half of them at 3
a.m. has neither.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import salt.utils.yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = """
import json, sys
import salt.config, salt.loader
opts = salt.config.master_config(sys.argv[1])
opts["file_client"] = "local"
opts["grains"] = {"kernel": "Linux", "os": "Debian", "os_family": "Debian"}
modules = salt.loader.minion_mods(opts)
states = salt.loader.states(opts, modules, {}, None)
runners = salt.loader.runner(opts)
mine = lambda loaded: sorted(name for name in loaded if name.split(".")[0].startswith("mitx"))
try:
    asked = modules["mitx_run.get_settings"]()
except Exception as err:
    asked = str(err)
found = {"modules": mine(modules), "states": mine(states), "runners": mine(runners)}
print(json.dumps({"asked": asked, **found, "root": runners["mitx.file_root"]()}))
"""


def config(folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    # A master that has run has it; salt-run of 3008 does not make it.
    (folder / "cache" / "proc").mkdir(parents=True, exist_ok=True)
    opts = {
        "root_dir": str(folder),
        "cachedir": str(folder / "cache"),
        "id": "t_master",
        "log_file": str(folder / "log"),
    }
    (folder / "master").write_text(salt.utils.yaml.safe_dump({**opts, **more}))
    return folder / "master"


def probe(config_path, path, folder):
    # Started elsewhere, so that the tree is not found by accident.
    command = [sys.executable, "-c", PROBE, str(config_path)]
    environ = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What a clone has, without the tests and the sandbox."""
    folder = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "sandbox/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory, source):
    """The functions of a tree in file_roots, synced."""
    folder = tmp_path_factory.mktemp("tree")
    path = config(
        folder,
        file_roots={"base": [str(source)]},
        extension_modules=str(folder / "extmods"),
        file_client="local",
    )
    salt_run(folder, "saltutil.sync_all")
    return probe(path, folder, folder)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, source):
    """The functions of the installed wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    target = folder / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return probe(config(folder), target, folder)


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def gitfs(tmp_path_factory, source):
    """
    The folder of a master with the example's gitfs, and what its runners gave; the remotes lie on
    this disk.
    """
    folder = tmp_path_factory.mktemp("gitfs")
    salt_ops = tmp_path_factory.mktemp("salt-ops")
    (salt_ops / "salt/orchestrate/edx").mkdir(parents=True)
    (salt_ops / "salt/orchestrate/edx/deploy.sls").write_text("deploy:\n  test.nop: []\n")
    for name, branch in ((salt_ops, "master"), (source, "main")):
        git(name, "init", "--quiet", f"--initial-branch={branch}")
        git(name, "add", "--all")
        git(name, "commit", "--quiet", "--message=all of it")
    text = (ROOT / "pillar_examples/master.conf").read_text()
    text = text.replace("https://github.com/mitodl/salt-ops", f"file://{salt_ops}")
    text = text.replace("https://github.com/mitodl/saltext-mitx", f"file://{source}")
    assert "https://" not in text
    example = salt.utils.yaml.safe_load(text)
    path = config(folder, extension_modules=str(folder / "extmods"), **example)
    for command in ("fileserver.update", "saltutil.sync_all"):
        salt_run(folder, command)
    return folder, probe(path, folder, folder)


def salt_run(folder, *words):
    command = [pathlib.Path(sys.executable).with_name("salt-run"), "-c", folder, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_examples_gitfs_gives_the_same_functions_and_orchestrations(tree, gitfs):
    folder, found = gitfs
    for kind in ("modules", "states", "runners", "asked"):
        assert found[kind] == tree[kind]
    files = json.loads(salt_run(folder, "fileserver.file_list", "--out=json"))
    assert {"orchestrate/mitx/window.sls", "orchestrate/edx/deploy.sls"} <= set(files)


def test_a_wheel_and_a_synced_tree_give_the_same_functions(tree, wheel):
    assert {"mitx.maintenance", "mitx.status", "mitx.rollback"} <= set(tree["runners"])
    assert {"mitx_run.get_settings", "mitx_upgrade.ensure", "mitx_site.get_maintenance"} <= set(
        tree["modules"]
    )
    assert {"mitx_upgrade.phase_done", "mitx_upgrade.saltops_ran"} <= set(tree["states"])
    for kind in ("modules", "states", "runners", "asked"):
        assert wheel[kind] == tree[kind]
    # The rooms find each other, and Salt's dunders.
    assert "Pillar has no mitx:environments" in tree["asked"]


def test_the_installed_sls_files_lie_where_the_runner_says(wheel):
    root = pathlib.Path(wheel["root"])
    here = {
        path.relative_to(ROOT)
        for path in (ROOT / "orchestrate").rglob("*.*")
        if path.suffix in (".sls", ".jinja", ".py")
    }
    there = {
        path.relative_to(root)
        for path in root.rglob("*.*")
        if path.suffix in (".sls", ".jinja", ".py")
    }
    assert here == there
    assert pathlib.Path("orchestrate/mitx/window.sls") in there
