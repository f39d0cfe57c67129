"""
MITx's own four orchestrations, from a checkout: a whole night with them, and the sandbox's
stand-ins held against them. Run where SALT_OPS and SALT_EXTENSIONS name checkouts (Salt 3006,
root)::

    SALT_OPS=~/salt-ops SALT_EXTENSIONS=~/salt-extensions python -m pytest
    tests/integration/test_salt_ops.py
"""

import json
import os
import pathlib
import re

import pytest

from sandbox import assembly, processes
from tests.support import left_behind
from tests.support.upgrade_world import World

ROOT = pathlib.Path(__file__).resolve().parents[2]
GIVEN = [os.environ.get(name) for name in ("SALT_OPS", "SALT_EXTENSIONS")]
pytestmark = [
    pytest.mark.skipif(not all(GIVEN), reason="SALT_OPS and SALT_EXTENSIONS name no checkouts"),
    pytest.mark.timeout(1200),
]

# Where the stand-ins differ: what is compared, the lines that differ, and the words of
# docs/sandbox.md that say so.
LISTED = [
    (
        "jobs",
        r"^(pkg\.remove|mine\.update|saltutil\.refresh_pillar|state\.sls|service\.restart) to ",
        "tell no host to refresh its pillar, update the mine, run the states of Consul",
    ),
    ("jobs", r"^saltutil\.sync_(all|modules) to ", "sync modules alone"),
    (
        "jobs",
        r"cloud\.(profile|map_run|destroy) to |^saltutil\.runner to grain roles:master",
        "call Salt Cloud by its execution module",
    ),
    ("instances", r"-base.*: Name=|-base\S* is terminated", "keep the name of what they destroy"),
    (
        "instances",
        r"-base-DEL|^edx\S*-base: ",
        "keep the name of what they destroy",
    ),
    ("load balancers", r" listens HTTP 80$", "make no listener on port 80"),
    ("disks", r": \d playbooks$", "configure each host once"),
    (
        "calls",
        r"^(iam|s3) |^ec2 (create_tags|modify_network_interface_attribute)$"
        r"|^elb ((add|remove)_tags|apply_security_groups_to_load_balancer"
        r"|create_load_balancer_(listeners|policy)|modify_load_balancer_attributes"
        r"|set_load_balancer_policies_of_listener)$",
        "make no role, no bucket",
    ),
]


def words(*names):
    return [word for name, path in zip(names, GIVEN, strict=True) for word in (name, path)]


@pytest.fixture
def world():
    """``world(real=True)``: a sandbox of its own, with MITx's orchestrations or stand-ins."""
    made = []

    def stand(real):
        made.append(World())
        given = words("--salt-ops", "--salt-extensions") if real else []
        status, output = made[-1].sandbox("up", *given)
        assert status == 0, output
        return made[-1]

    yield stand
    for one in made:
        one.down()


def ended_well(answer):
    status, output = answer
    assert status == 0, output[-4000:]
    return output


def test_prepare_window_rollback_window_and_retirement_with_the_real_four(world):
    real = world(real=True)
    assembly.enforce_policy(real.config)
    assembly.daemon(
        real.config, "visitor", "sandbox.public.visitor", "--dir", str(real.folder), "--rollback"
    )
    old = real.fleet("juniper")
    ended_well(real.salt_run("mitx.prepare"))
    until = "pillar=" + json.dumps({"mitx": {"until": "start"}})
    ended_well(real.salt_run("state.orchestrate", "orchestrate.mitx.window", until))
    ended_well(real.salt_run("mitx.rollback", "restore=True"))
    assert {one for ids in real.members().values() for one in ids} >= {
        id_ for id_ in old if real.instances()[id_]["tags"]["role"] == "edx"
    }
    ended_well(real.salt_run("mitx.window"))
    ended_well(real.salt_run("mitx.retire"))
    processes.stop(real.folder, "visitor")
    assert {real.instances()[id_]["state"] for id_ in old} == {"terminated"}
    assert len(real.fleet("koa")) == len(old)
    summary = real.summary()
    assert summary["asked"] > 100
    assert summary["violations"] == 0, summary["first_violations"]


def test_the_stand_ins_do_and_leave_behind_what_the_real_four_do(world):
    sides = []
    for real in (True, False):
        one = world(real)
        ended_well(one.sandbox("up", "--at", "done"))
        sides.append(left_behind.collect(one))
        one.sandbox("down")
    theirs, ours = sides
    found, used = [], set()
    for subject in theirs:
        for line in sorted(theirs[subject] ^ ours[subject]):
            match = [at for at, row in enumerate(LISTED) if _covers(row, subject, line)]
            used |= set(match)
            if not match:
                side = "real" if line in theirs[subject] else "stand-in"
                found.append(f"{subject}, {side} only: {line}")
    assert found == []
    assert sorted(set(range(len(LISTED))) - used) == [], "no difference any more: take it out"


def _covers(row, subject, line):
    return row[0] == subject and re.search(row[1], line)


def test_every_listed_difference_is_in_the_documentation():
    text = " ".join((ROOT / "docs" / "sandbox.md").read_text().split())
    assert [row[2] for row in LISTED if row[2] not in text] == []
