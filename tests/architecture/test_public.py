"""What a person can call: few functions, each with an example that can be typed."""

import ast
import inspect
import pathlib
import re
import shlex

import pytest
import salt.utils.args

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST = 120
EXAMPLE = re.compile(r"CLI Example:\n+\s+\.\. code-block:: bash\n+((?:\s{8}.+\n?)+)")


def functions(path):
    """{name: definition} of what Salt exposes of a file."""
    tree = ast.parse(path.read_text())
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


MODULES = {
    f"{path.parent.name}.{name}": node
    for path in ROOT.glob("_modules/*/__init__.py")
    for name, node in functions(path).items()
}
RUNNERS = {f"mitx.{name}": node for name, node in functions(ROOT / "_runners/mitx.py").items()}
STATES = {
    f"{path.stem}.{name}": node
    for path in ROOT.glob("_states/*.py")
    for name, node in functions(path).items()
}
CALLED = {"salt.cmd": MODULES, "state.single": STATES}


def signature(node):
    """The signature of a definition, its defaults left out."""
    kinds = inspect.Parameter
    needed = len(node.args.args) - len(node.args.defaults)
    parameters = [
        kinds(
            arg.arg, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if number < needed else None
        )
        for number, arg in enumerate(node.args.args)
    ]
    more = [kinds(node.args.kwarg.arg, kinds.VAR_KEYWORD)] if node.args.kwarg else []
    return inspect.Signature(parameters + more)


def test_they_are_few():
    assert 60 < len(MODULES) + len(RUNNERS) + len(STATES) <= MOST


@pytest.mark.parametrize("name", [*MODULES, *RUNNERS])
def test_each_has_an_example_that_salt_would_take(name):
    found = EXAMPLE.search(ast.get_docstring({**MODULES, **RUNNERS}[name], clean=False) or "")
    assert found, f"{name} has no CLI Example"
    lines = [line.strip() for line in found[1].splitlines() if line.strip()]
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert program in ("salt-run", "salt-call")
        words = [word for word in words if word not in ("--local", "with_pillar=True")]
        called, *words = words
        known = RUNNERS
        if called in CALLED:
            known, (called, *words) = CALLED[called], words
        positional, keywords = salt.utils.args.parse_input(words, condition=False)
        if known is STATES:
            keywords.pop("test", None)
        signature(known[called]).bind(*positional, **keywords)


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("_modules/*/*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_nothing_else_says_that_it_can_be_called(path):
    if path.name != "__init__.py":
        assert "CLI Example" not in path.read_text()


@pytest.mark.parametrize("path", sorted(ROOT.glob("orchestrate/**/*.sls")), ids=lambda p: p.stem)
def test_an_sls_is_rendered_without_asking_anybody(path):
    """
    What fails in Jinja is told by Salt as a traceback, and as a part of the SLS: at night nobody
    finds the reason in it. States ask.
    """
    called = set(re.findall(r"salt\.(mitx_\w+\.\w+)", path.read_text()))
    assert called <= {"mitx_run.get_settings", "mitx_run.get_phases"}
