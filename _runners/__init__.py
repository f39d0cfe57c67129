"""
Where Salt finds this package's modules when pip installed it: the ``salt.loader`` entry point.
"""

import pathlib


def loader_dirs():
    """
    Return ``{kind: [folder]}`` for Salt's loader. Installed, the folders are called ``modules``,
    ``states`` and ``runners``; with ``pip install -e`` they are the tree's own.
    """
    here = pathlib.Path(__file__).resolve().parent
    prefix = "_" if here.name.startswith("_") else ""
    return {
        kind: [str(here.parent / f"{prefix}{kind}")] for kind in ("modules", "states", "runners")
    }
