"""The journal has one file for its kinds of events; nobody writes or reads past it."""

import ast
import pathlib

from mitx_run import events

ROOMS = pathlib.Path(__file__).resolve().parents[2] / "_modules"
ITS_OWN = {ROOMS / "mitx_run" / "events.py", ROOMS / "mitx_run" / "journal.py"}


def calls(file, *functions):
    """``(path, arguments)`` of calls like ``journal.write(…)`` in the rooms."""
    wanted = {f"{file}.{function}" for function in functions}
    for path in sorted(set(ROOMS.rglob("*.py")) - ITS_OWN):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in wanted:
                yield path, node.args


def test_every_event_that_is_written_or_read_is_of_a_known_kind():
    used = [*calls("events", "write", "read", "last", "when"), *calls("journal", "gateway")]
    kinds = {
        argument.value
        for _, arguments in used
        for argument in arguments[1:]
        if isinstance(argument, ast.Constant)
    }
    assert len(kinds) > 30
    assert kinds <= set(events.KINDS), kinds - set(events.KINDS)
    assert set(events.KINDS) <= kinds, "nobody writes or reads these"


def test_nobody_writes_or_reads_the_journal_past_its_events():
    assert [path for path, _ in calls("journal", "write", "entries")] == []
