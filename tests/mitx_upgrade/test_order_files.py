"""
What only the night would tell of an SLS that nobody has run: a state that does not exist, a
requisite on one.
"""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "orchestrate" / "mitx").rglob("*.sls"))
STATE = re.compile(r"^(\S.*):\n  (mitx_\w+)\.(\w+):", re.MULTILINE)
REQUISITE = re.compile(r"^      - .*$", re.MULTILINE)
NAMED = re.compile(r"(mitx_\w+): (.+?)(?:' if | else |' }}|'? *$)")


def functions(module):
    tree = ast.parse((ROOT / "_states" / f"{module}.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


@pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT / "orchestrate")) for path in FILES]
)
def test_every_state_and_every_requisite_exists(path):
    text = path.read_text()
    states = STATE.findall(text)
    assert states or "include:" in text or "{{" in text or "file.managed:" in text
    for _, module, function in states:
        assert function in functions(module)
    # Salt refuses a state with a colon and nothing after it.
    assert not re.search(r"^  mitx_\w+\.\w+:\n(?!    )", text, re.MULTILINE)
    there = {(module, name) for name, module, _ in states} | {("mitx_upgrade", "run")}
    for line in REQUISITE.findall(text):
        for module, name in NAMED.findall(line):
            assert (module, name) in there
