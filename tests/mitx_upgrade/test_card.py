"""The handover card: what somebody who was just woken reads of a run in each state."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.held import held


@pytest.fixture
def night(mitx, monkeypatch):
    """``night(*(kind, fields))``: the card of a run whose journal holds these events."""

    def told(*lines, locked=None):
        modules = mitx(retire={"after": 48, "nothing_to_save": True}).modules
        for kind, fields in lines:
            modules["mitx_run.events.write"](kind, **fields)
        monkeypatch.setattr("mitx_run.lock.locked_by", lambda run: locked)
        monkeypatch.setattr("mitx_upgrade.drift.summary", lambda run: ["DNS: all 6 names"])
        monkeypatch.setattr("mitx_site.checks.in_words", lambda run: "see the site (6 names)")
        monkeypatch.setattr("mitx_run.record.identify", lambda run: "testrun")
        return modules["mitx_upgrade.get_status"]()["card"]

    return told


def phase(name, status="finished", **fields):
    return "phase", {"phase": name, "status": status, "seconds": 3, **fields}


def upto(*names):
    return [phase(name) for name in names]


def test_what_visitors_get_is_asked_as_one_of_them_and_not_taken_from_a_record(night):
    assert night()["visitors"] == "see the site (6 names)"
    card = night(phase("close"))
    assert list(card)[:6] == ["environment", "run", "state", "window", "page", "visitors"]


def test_who_cannot_look_says_so(mitx, monkeypatch):
    def nobody(run):
        raise CommandExecutionError("no resolver answers")

    monkeypatch.setattr("mitx_site.checks.in_words", nobody)
    monkeypatch.setattr("mitx_upgrade.drift.summary", lambda run: [])
    status = mitx().modules["mitx_upgrade.get_status"]()
    assert status["visitors"] == "cannot be looked at: no resolver answers"


def test_waiting_for_a_human(night):
    command = "salt-run mitx.approve"
    waits = phase("verify", "waiting", command=command)
    card = night(*upto("preflight", "close", "migrate"), waits, locked=held("verify"))
    assert card["state"].startswith("waiting since ")
    assert card["state"].endswith(": verify waits for a human")
    assert card["done"] == "preflight close migrate"
    assert [line.split()[0] for line in card["waits"]] == ["verify"]
    assert card["to_come"].split()[:2] == ["announce", "rebase"]
    assert card["to_come"].endswith("open retire")
    assert card["page"].startswith("up since ")
    assert card["databases"].startswith("migrated, ")
    assert "ann, process 7" in card["locked_by"]
    assert card["next"] == command
    assert card["look"]


def test_failed_says_where_and_its_first_line(night):
    card = night(*upto("close"), phase("migrate", "failed", error="lms: Duplicate column\nmore"))
    assert card["failed"][0].startswith("migrate at ")
    assert card["failed"][0].endswith(": lms: Duplicate column")
    assert card["databases"].startswith("perhaps half migrated")
    assert card["page"]
    assert card["next"].startswith("salt-run ")


def test_killed_in_the_middle_of_a_migration(night):
    card = night(*upto("close"), phase("migrate", "started", seconds=None))
    assert card["state"].startswith("broke off since ")
    assert card["databases"].startswith("a migration was begun")


def test_taken_back(night):
    card = night(
        *upto("close", "migrate"),
        phase("rollback", "started"),
        ("restored", {"sls": "orchestrate.edx.restore"}),
        phase("rollback"),
    )
    assert card["databases"].startswith("restored, ")
    assert card["page"] == ""
    assert card["done"] == ""


def test_a_rollback_alone_does_not_restore_the_databases(night):
    back = phase("rollback", "started"), phase("rollback")
    assert night(*upto("close", "migrate"), *back)["databases"].startswith("migrated, ")
    # Nor does one of another night.
    restored = "restored", {"sls": "orchestrate.edx.restore"}
    card = night(restored, phase("rollback"), *upto("close", "migrate"), *back)
    assert card["databases"].startswith("migrated, ")
    said = phase("rollback", "started", database_restored=True)
    assert night(said, phase("rollback"))["databases"].startswith("restored, as was said, ")


def test_open_again_the_page_is_down(night):
    assert night(*upto("close", "migrate", "open"))["page"] == ""


def test_workers_are_where_they_were_last_put_and_what_was_lost_is_told(night):
    workers = {"minions": ["edx-worker-1"]}
    assert night()["new_workers"] == []
    assert "kept from the queues" in night(("fenced", workers))["new_workers"][0]
    unfenced = night(("fenced", workers), ("not_held", workers), ("unfenced", workers))
    assert "may have their queues" in unfenced["new_workers"][0]
    assert "edx-worker-1" in unfenced["new_workers"][1]


def test_what_was_another_day_has_its_date_in_the_windows_zone(night):
    card = night(locked=held("verify", since="2020-01-02T01:30:00Z"))
    assert card["state"].startswith("running since 2020-01-01 20:30:00: ")
