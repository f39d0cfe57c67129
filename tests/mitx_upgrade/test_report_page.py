"""
The report of a run: all of what an operator, or an auditor, asks for afterwards, on one page.
"""

import json
import pathlib
import xml.etree.ElementTree

import pytest

FLEET = [
    {
        "id": "i-1",
        "name": "edx-mitx-qa-next-residential-live-0-v1",
        "role": "edx",
        "purpose": "next-residential-live",
    }
]


@pytest.fixture
def told(mitx):
    """A run that broke off once and failed once, and what its page says."""
    loaded = mitx()
    write = loaded.modules["mitx_run.events.write"]
    loaded.modules["mitx_run.record.pin"]("release_sha", "a" * 40)
    loaded.modules["mitx_run.record.pin"]("images", {"edx": "ami-1"})
    loaded.modules["mitx_run.record.pin"]("new_fleet", FLEET)
    write("phase", phase="close", status="started")
    write("phase", phase="close", status="finished", seconds=3)
    write("phase", phase="stop", status="started")
    write("phase", phase="stop", status="started")
    write("phase", phase="stop", status="failed", seconds=2, error="<b>no answer</b>\nmore")
    write("approved", gate="verify", note="<script>x</script>", by="ann as root", digest="d")
    write("existing", stage="after", sls="orchestrate.edx.deploy", output="/x/001.json")
    return pathlib.Path(loaded.modules["mitx_upgrade.report.save"]())


def test_it_holds_the_chain_from_the_commit_to_the_load_balancer(told):
    page = told.read_text(encoding="utf-8")
    for text in ("a" * 40, "ami-1", "edx-mitx-qa-next-residential-live-0-v1 (i-1)", "ann as root"):
        assert text in page
    assert "orchestrate.edx.deploy after, /x/001.json" in page
    chain = json.loads(told.with_suffix(".json").read_text())["chain"]
    live = [line for line in chain["load balancers"] if "next-residential-live-mitx" in line]
    assert live[0].endswith(": edx-mitx-qa-next-residential-live-0-v1")


def test_what_failed_and_what_broke_off_have_their_rows(told):
    rows = json.loads(told.with_suffix(".json").read_text())["attempts"]
    assert [(row["phase"], row["status"]) for row in rows] == [
        ("close", "finished"),
        ("stop", "broke off"),
        ("stop", "failed"),
    ]
    assert "stop failed" in told.read_text()


def test_nothing_of_a_note_or_an_error_becomes_markup(told):
    page = told.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>no answer" not in page


def test_the_same_as_markdown_for_a_ticket(told):
    text = told.with_suffix(".md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| stop")]
    assert [row.split("|")[4].strip() for row in rows] == [
        "broke off",
        "failed: \\<b\\>no answer\\</b\\>",
    ]
    assert "- commit: " + "a" * 40 in text
    assert "edx-mitx-qa-next-residential-live-0-v1 (i-1)" in text
    assert "<script>" not in text
    # Each title has something below it.
    assert all(part.split("\n\n")[1].startswith("- ") for part in text.split("\n## ")[1:])


def test_the_picture_is_well_formed_and_loads_nothing_from_elsewhere(told):
    page = told.read_text()
    picture = page[page.index("<svg") : page.index("</svg>") + 6]
    root = xml.etree.ElementTree.fromstring(picture)
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) >= 3
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert len(page) < 100_000


def test_a_report_that_cannot_be_written_hinders_nothing(mitx, monkeypatch, capsys):
    loaded = mitx()
    monkeypatch.setattr("mitx_upgrade.report_page.render", lambda told: 1 / 0)
    assert loaded.modules["mitx_upgrade.report.save"]() is None
    assert "The report could not be written: ZeroDivisionError" in capsys.readouterr().err
