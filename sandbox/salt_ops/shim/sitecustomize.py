"""
``salt.ext.six`` for modules of salt-extensions, which import it: late releases of Salt 3006 have
none.
"""

import importlib
import importlib.abc
import importlib.util
import sys

PREFIX = "salt.ext.six"


class Six(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``salt.ext.six`` and what is below it in the package ``six``."""

    def find_spec(self, name, path=None, target=None):
        """A spec for what is ours, else None."""
        if name == PREFIX or name.startswith(PREFIX + "."):
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec):
        """The module of the package six."""
        return importlib.import_module(spec.name.removeprefix("salt.ext."))

    def exec_module(self, module):
        """It is imported already."""


sys.meta_path.append(Six())
