"""
The product as a master's file root, ``TREE``: links to what a master serves, and nothing else of
the repository. With a virtual environment in it Salt lists twenty thousand files at each command.
"""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "tests" / "support" / "tree"
