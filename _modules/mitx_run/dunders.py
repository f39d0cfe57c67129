"""
Salt's dunders for the files of a room
======================================

Salt gives them to the files that it loads itself, the ``__init__.py`` of a room. What those import
finds them here: each name leads to the loader that runs now, so that two loaders in one process
each see their own.
"""

from salt.loader.context import LoaderContext

_CONTEXT = LoaderContext()
__salt__ = _CONTEXT.named_context("__salt__")
__opts__ = _CONTEXT.named_context("__opts__")
__pillar__ = _CONTEXT.named_context("__pillar__")
__context__ = _CONTEXT.named_context("__context__")
