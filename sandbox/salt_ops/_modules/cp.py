"""
Salt's own ``cp``, except that MITx's settings come from the checkout, not from GitHub
"""

import pathlib

import salt.modules

from sandbox.salt_ops import SETTINGS_URL

_STOCK = pathlib.Path(salt.modules.__path__[0]) / "cp.py"
# Its functions read what the loader puts into the module that they are in: so they must be in this
# one.
exec(compile(_STOCK.read_text(), _STOCK, "exec"), globals())
_stock_get_url = get_url  # noqa: F821


def get_url(path, dest="", *args, **kwargs):
    """
    As Salt's own, for every URL but that of ``environment_settings.yml``.

    CLI Example:

    .. code-block:: bash

        salt '*' cp.get_url https://example.com/file /tmp/file
    """
    if path == SETTINGS_URL:
        path = "file://" + __opts__["sandbox"]["environment_settings"]  # noqa: F821
    return _stock_get_url(path, dest, *args, **kwargs)
