"""
What the hosts' minions import: Salt as it is installed here, and not much else, as on a real host.

For every job a minion makes ten loaders. Each lists Salt's folders file by file, byte code too, and
looks through the metadata of all that is installed: here a virtual environment of some hundred
packages, sixty times over. So: links to Salt's own files, without the byte code of what is loaded
by name, links to the packages beside it, and no metadata.
"""

import importlib.util
import os
import pathlib
import shutil

LOADED_BY_NAME = {
    "modules",
    "states",
    "returners",
    "proxy",
    "serializers",
    "renderers",
    "matchers",
    "executors",
    "utils",
}
METADATA = (".dist-info", ".egg-info", ".pth")


def path(config):
    """The folder."""
    return str(pathlib.Path(config["directory"]) / "site")


def install(config):
    """Make it, once."""
    target, salt = (
        pathlib.Path(path(config)),
        pathlib.Path(importlib.util.find_spec("salt").submodule_search_locations[0]),
    )
    if target.exists():
        return
    scratch = target.with_name(f".site.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for one in salt.parent.iterdir():
        if one.suffix not in METADATA and one.name not in ("salt", "__pycache__"):
            (scratch / one.name).symlink_to(one)

    def left_out(folder, _):
        below = pathlib.Path(folder).relative_to(salt).parts
        return ["__pycache__"] if below and below[0] in LOADED_BY_NAME else []

    shutil.copytree(salt, scratch / "salt", ignore=left_out, copy_function=_link)
    scratch.rename(target)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
