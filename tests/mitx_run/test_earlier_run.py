"""
A run that an earlier version of this package began is gone on with by this one: what that wrote,
when it had closed the site, is in ``tests/support/earlier_run/``.
"""

import pathlib
import shutil

import pytest

WRITTEN = pathlib.Path(__file__).resolve().parents[1] / "support" / "earlier_run"
ID = "20261127T102900Z-koa-95f812"
DONE = [
    *("preflight", "announce", "rebase", "build", "images", "record", "deploy", "smoke"),
    *("quiesce", "close"),
]


@pytest.fixture
def modules(mitx, pillar):
    run_dir = pathlib.Path(pillar["mitx"]["run_dir"])
    shutil.copytree(WRITTEN, run_dir / "mitx-qa" / ID)
    pillar["mitx"]["run"] = ID
    return mitx(begin=False).modules


def test_it_stands_where_it_was_left(modules):
    statuses = modules["mitx_run.phases.statuses"]()
    assert [name for name, entry in statuses.items() if entry["status"] == "finished"] == DONE
    assert modules["mitx_run.phases.unfinished"]()[0] == "stop"
    command = "salt-run state.orchestrate orchestrate.mitx.window"
    assert modules["mitx_run.phases.next_command"]() == command


def test_its_facts_are_known(modules):
    pinned = modules["mitx_run.record.pinned"]
    assert pinned("release_number") == 1
    assert len(pinned("old_fleet")) == len(pinned("new_fleet")) == 5
    assert set(pinned("images")) == {"edx", "edx-worker"}


def test_its_workers_were_fenced_and_the_public_has_seen_the_page(modules):
    workers = [
        "edx-worker-mitx-qa-next-residential-draft-0-v1",
        "edx-worker-mitx-qa-next-residential-live-0-v1",
    ]
    assert modules["mitx_hosts.fence.missed"](workers) == []
    assert modules["mitx_hosts.fence.missed"](["edx-worker-of-nobody"]) != []
    assert modules["mitx_run.events.last"]("dns")["stage"] == "shown"
    assert modules["mitx_run.events.when"]("phase", phase="close", status="finished")
