"""
The documents as a site: ``make docs``. What stands in docstrings, in the table of settings and in
pillar_examples/ is written to docs/reference/ each time; nothing of it is kept.
"""

import inspect
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "_modules"), str(ROOT)]

import reference  # noqa: E402 found by the line above

project = "saltext-mitx"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["_build"]
html_theme = "furo"
myst_heading_anchors = 3
# Links to files beside docs/ are for whoever reads the repository.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
myst_url_schemes = ["http", "https"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "ensure"}
add_module_names = False
highlight_language = "none"

reference.write(ROOT / "docs/reference")


def _signature(_app, _what, _name, function, _options, signature, returned):
    """
    The runner's functions are wrapped, and Salt must not look through; whoever reads them may.
    """
    cells = getattr(function, "__closure__", None) or ()
    inner = [cell.cell_contents for cell in cells if inspect.isfunction(cell.cell_contents)]
    return (str(inspect.signature(inner[0])), returned) if inner else (signature, returned)


def setup(app):
    app.connect("autodoc-process-signature", _signature)
