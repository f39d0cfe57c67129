"""
Writes the pages of docs/reference/ for docs/conf.py: every setting with its type, its default and
what pillar_examples/mitx.sls says of it, and the pages that sphinx.ext.autodoc fills.
"""

import json
import pathlib
import re

from mitx_run import settings, shapes

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "pillar_examples/mitx.sls"
ROOMS = ("mitx_run", "mitx_fleet", "mitx_hosts", "mitx_site", "mitx_release", "mitx_upgrade")
_KEY = re.compile(
    r"(?P<indent> *)(?:# (?P<more> *))?(?P<key>[a-z_]+):(?: +[^#\s].*?)??(?: +# (?P<said>.+))?"
)


def write(folder):
    """
    Write all pages to ``folder``.
    """
    folder.mkdir(exist_ok=True)
    (folder / "settings.md").write_text(settings_page(), encoding="utf-8")
    pages = {
        "commands": ("Commands of the runner", ["saltext.mitx.runners.mitx"]),
        "states": (
            "States",
            [f"saltext.mitx.states.{room}" for room in ROOMS if room in _states()],
        ),
        "functions": ("Functions", ROOMS),
    }
    for name, (title, modules) in pages.items():
        (folder / f"{name}.rst").write_text(_page(title, modules), encoding="utf-8")


def settings_page():
    """
    Return all settings, as Markdown.
    """
    said = explained(EXAMPLES.read_text(encoding="utf-8"))
    lines = [
        "# All settings",
        "",
        "Below `mitx:defaults`, `mitx:environments:<environment>` or `mitx` itself; s: seconds.",
    ]
    above = None
    for path, kind, default in flat(settings.KEYS):
        section = path.partition(":")[0]
        if section != above:
            lines += ["", f"## {section}", ""]
        above = section
        lines.append(f"- **`{path}`** ({shapes.spoken(kind)}{_default(default)}): {said[path]}")
    return "\n".join([*lines, ""])


def explained(text):
    """
    Return ``{path of a key: what a pillar file says of it}``: the comment on its line, else the one
    above it.
    """
    defaults, _, environments = text.partition("\n  environments:\n    mitx-qa:\n")
    said = _said(environments.partition("\n    mitx-production:\n")[0], 3)
    return said | _said(defaults.partition("\n  defaults:\n")[2], 2)


def _said(text, outer):
    found, path, prose = {}, [], []
    for line in text.splitlines():
        match = _KEY.fullmatch(line)
        if not match:
            prose = [*prose, line.strip(" #")] if line.strip().startswith("#") else []
            continue
        depth = len(match["indent"] + (match["more"] or "")) // 2 - outer
        path = [*path[:depth], match["key"]]
        if match["said"] or prose:
            found[":".join(path)] = match["said"] or " ".join(prose)
        prose = []
    return found


def flat(keys, above=""):
    for key, entry in keys.items():
        path = f"{above}:{key}" if above else key
        if isinstance(entry, dict):
            yield from flat(entry, path)
        else:
            yield path, *entry


def _default(value):
    if value is shapes.REQUIRED:
        return ", must be said"
    return "" if value is None else f", default `{json.dumps(value)}`"


def _states():
    return [path.stem for path in (EXAMPLES.parents[1] / "_states").glob("*.py")]


def _page(title, modules):
    parts = [title, "=" * len(title), ""]
    for module in modules:
        parts += [f".. automodule:: {module}", ""]
    return "\n".join(parts)
