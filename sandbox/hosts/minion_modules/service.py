"""
The ``service`` functions of a sandbox host
===========================================

Stands in for systemd (minion configuration: ``module_dirs``, which go before Salt's own): asks the
host's ``init`` over its socket, which the host's ``host.json`` beside the minion's configuration
names. Every function raises ``CommandExecutionError`` when init does not answer.
"""

import json
import pathlib
import socket

from salt.exceptions import CommandExecutionError

TIMEOUT = 30


def start(name):
    """
    Start a unit and return ``True``; ``CommandExecutionError`` when there is no such unit.

    CLI Example:

    .. code-block:: bash

        salt '*' service.start gitreload
    """
    return _ask("start", name)[name]["running"]


def stop(name):
    """
    Stop a unit and return ``True`` once its processes are gone.

    CLI Example:

    .. code-block:: bash

        salt '*' service.stop gitreload
    """
    return not _ask("stop", name)[name]["running"]


def restart(name):
    """
    Stop a unit, wait until it is gone, and start it.

    CLI Example:

    .. code-block:: bash

        salt '*' service.restart gitreload
    """
    return _ask("restart", name)[name]["running"]


def status(name, sig=None):
    """
    Return whether a unit runs; ``False`` also for one that does not exist, as systemd's module
    does.

    CLI Example:

    .. code-block:: bash

        salt '*' service.status gitreload
    """
    return _units().get(name, {"running": False})["running"]


def enable(name, **kwargs):
    """
    Let a unit start when the host boots.

    CLI Example:

    .. code-block:: bash

        salt '*' service.enable gitreload
    """
    return _ask("enable", name)[name]["enabled"]


def disable(name, **kwargs):
    """
    Let a unit no longer start when the host boots; one that runs goes on.

    CLI Example:

    .. code-block:: bash

        salt '*' service.disable gitreload
    """
    return not _ask("disable", name)[name]["enabled"]


def enabled(name, **kwargs):
    """
    Return whether a unit starts when the host boots.

    CLI Example:

    .. code-block:: bash

        salt '*' service.enabled gitreload
    """
    return _units().get(name, {"enabled": False})["enabled"]


def disabled(name):
    """
    Return the opposite of :py:func:`enabled`.

    CLI Example:

    .. code-block:: bash

        salt '*' service.disabled gitreload
    """
    return not enabled(name)


def available(name):
    """
    Return whether there is such a unit.

    CLI Example:

    .. code-block:: bash

        salt '*' service.available gitreload
    """
    return name in _units()


def missing(name):
    """
    Return the opposite of :py:func:`available`.

    CLI Example:

    .. code-block:: bash

        salt '*' service.missing gitreload
    """
    return not available(name)


def get_all():
    """
    Return the names of all units.

    CLI Example:

    .. code-block:: bash

        salt '*' service.get_all
    """
    return sorted(_units())


def get_running():
    """
    Return the names of the units that run.

    CLI Example:

    .. code-block:: bash

        salt '*' service.get_running
    """
    return sorted(name for name, unit in _units().items() if unit["running"])


def get_enabled():
    """
    Return the names of the units that start when the host boots.

    CLI Example:

    .. code-block:: bash

        salt '*' service.get_enabled
    """
    return sorted(name for name, unit in _units().items() if unit["enabled"])


def get_disabled():
    """
    Return the names of the units that do not start when the host boots.

    CLI Example:

    .. code-block:: bash

        salt '*' service.get_disabled
    """
    return sorted(name for name, unit in _units().items() if not unit["enabled"])


def _units():
    return _ask("list")


def _ask(what, unit=None):
    """All units as init answers, ``{name: {running, enabled, pid}}``."""
    path = _socket()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            connection.sendall(json.dumps({"do": what, "unit": unit}).encode() + b"\n")
            said = json.loads(connection.makefile().readline())
    except (OSError, ValueError) as err:
        raise CommandExecutionError(
            f"{what} {unit or 'units'}: init does not answer on {path}: {err}"
        ) from err
    if "error" in said:
        raise CommandExecutionError(f"{what} {unit}: {said['error']}")
    return said["units"]


def _socket():
    host = pathlib.Path(__opts__["conf_file"]).parent.parent / "host.json"
    return str(pathlib.Path(json.loads(host.read_text())["run"]) / "init.sock")
