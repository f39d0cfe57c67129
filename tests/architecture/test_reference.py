"""
What docs/reference.py makes of the examples: a setting that nobody explains is found in the night.
"""

import importlib.util
import pathlib

from mitx_run import settings

ROOT = pathlib.Path(__file__).resolve().parents[2]


def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pillar_examples_explain_every_setting_and_no_other():
    pages = reference()
    said = pages.explained(pages.EXAMPLES.read_text(encoding="utf-8"))
    paths = {path for path, _, _ in pages.flat(settings.KEYS)}
    assert paths - set(said) == set()
    unknown = {path for path in said if not any(f"{one}:".startswith(f"{path}:") for one in paths)}
    assert unknown == set()
    assert said["dns:timeout"] == "s until Route 53 must say INSYNC"
    assert said["retire:proof:key"].startswith("what the key begins with")


def test_each_stands_in_the_reference_with_type_and_default():
    page = reference().settings_page()
    line = "- **`checks:watch`** (a number, default `60`): s for which the site is"
    assert line in page
    assert "- **`dns:zone_id`** (a text, must be said): the public zone" in page
