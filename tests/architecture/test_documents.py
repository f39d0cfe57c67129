"""
What documents and messages tell somebody to type is there: the command, its arguments, the file.
"""

import pathlib
import re
import shlex

import pytest
import salt.utils.args

from tests.architecture.test_public import RUNNERS, signature

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/page.md"])
CODE = sorted(
    path
    for folder in ("_modules", "_runners", "_states", "orchestrate", "pillar_examples", "sandbox")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".sls", ".conf", ".md", ".jinja") and "__pycache__" not in path.parts
)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \??=", MAKEFILE, re.MULTILINE))
# Left out: what follows is said elsewhere, or is the reader's own.
OPEN = re.compile(r"[…<>|]")


def typed(text):
    """The commands in a document: code spans, and the lines of blocks, without comments."""
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()[1:-1]]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [re.split(r"\s{2,}#|\s{2,}\(", one)[0].strip() for one in (*lines, *spans)]


def words(command, program):
    """The words after the program; nothing where this is another, or an outline."""
    if not command.startswith(f"{program} "):
        return []
    return shlex.split(command.removeprefix(f"{program} "))


def problems(command):
    """What a command names that is not there."""
    called = words(command, "salt-run")
    if called[:1] == ["state.orchestrate"]:
        return not_there([name for name in called[1:2] if name.startswith("orchestrate.mitx")])
    if called and called[0].startswith("mitx."):
        return unlike(called)
    return [one for word in words(command, "make") for one in unmade(word)]


def unmade(word):
    """What a word after ``make`` names that the Makefile does not have."""
    name, is_variable, _ = word.partition("=")
    if is_variable:
        return [] if name in VARIABLES else [f"no variable {name}"]
    return [] if name in TARGETS else [f"no target {name}"]


def not_there(names):
    paths = {
        name: ROOT / (name.replace(".", "/") + ".sls") for name in names if not OPEN.search(name)
    }
    return [f"no {name}" for name, path in paths.items() if not path.exists()]


def unlike(called):
    name, *arguments = called
    if OPEN.search(name):
        return []
    if name not in RUNNERS:
        return [f"no {name}"]
    positional, keywords = salt.utils.args.parse_input(
        [word for word in arguments if not OPEN.search(word) and not word.startswith("--")],
        condition=False,
    )
    try:
        signature(RUNNERS[name]).bind_partial(*positional, **keywords)
    except TypeError as err:
        return [f"{name}: {err}"]
    return []


def in_one_line(path):
    """The text of a file, its strings joined that go over several lines."""
    return re.sub(r"\"\s*\n\s*f?\"", "", path.read_text(encoding="utf-8"))


def advised(path):
    """The runner functions that a file says can be typed."""
    return set(re.findall(r"salt-run (mitx\.[a-z_]+)\b(?!\{)", in_one_line(path)))


def test_something_is_looked_at():
    commands = [one for path in DOCUMENTS for one in typed(path.read_text("utf-8"))]
    assert len([one for one in commands if one.startswith("salt-run mitx.")]) > 60
    assert len([one for path in CODE for one in advised(path)]) > 60
    assert problems("salt-run mitx.windows") == ["no mitx.windows"]
    assert problems("salt-run mitx.window untill=stop")
    assert problems("salt-run state.orchestrate orchestrate.mitx.nights")
    assert problems("make upgrad SIZES=qa") == ["no target upgrad", "no variable SIZES"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_of_a_document_is_there(path):
    commands = typed(path.read_text(encoding="utf-8"))
    found = {one: problems(one) for one in commands}
    assert not {one: told for one, told in found.items() if told}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_message_advises_is_there(path):
    assert not {one for one in advised(path) if one not in RUNNERS}
    joined = in_one_line(path)
    orchestrations = set(
        re.findall(r"state\.orchestrate (orchestrate\.mitx\.[a-z_.]+[a-z_])", joined)
    )
    assert not not_there(orchestrations)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_link_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    folder = ROOT / "docs" if path.parent.name == "benchmarks" else path.parent
    links = re.findall(r"\]\(([^)#\s]+)", text)
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in local if not (folder / link).exists()]
