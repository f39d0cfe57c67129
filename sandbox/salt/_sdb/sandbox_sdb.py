"""
SDB driver on one JSON file, under the profile name that MITx's Consul has
==========================================================================

Salt's own ``yaml`` driver cannot set, and 3008 ships neither ``sqlite3`` nor ``consul``.

.. code-block:: yaml

    consul:
      driver: sandbox_sdb
      file: /path/to/sdb.json
"""

import contextlib
import fcntl
import json
import os

__func_alias__ = {"set_": "set"}


def get(key, profile=None):
    """
    Return the value of ``key``, or ``None``.
    """
    return _read(profile["file"]).get(key)


def set_(key, value, profile=None):
    """
    Set ``key``; the file is replaced whole. Returns the value.
    """
    with _locked(profile["file"]):
        _write(profile["file"], {**_read(profile["file"]), key: value})
    return value


def delete(key, profile=None):
    """
    Remove ``key``. Returns whether it was there.
    """
    with _locked(profile["file"]):
        data = _read(profile["file"])
        found = data.pop(key, None) is not None
        _write(profile["file"], data)
    return found


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def _write(path, data):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, sort_keys=True)
    os.replace(path + ".new", path)


@contextlib.contextmanager
def _locked(path):
    with open(path + ".lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
