"""
Stands in for the package manager of a host, which in the sandbox is this machine's own: nothing is
installed or removed
"""


def list_pkgs(versions_as_list=False, **kwargs):
    """
    Return no packages.

    CLI Example:

    .. code-block:: bash

        salt '*' pkg.list_pkgs
    """
    return {}


def remove(name=None, pkgs=None, **kwargs):
    """
    Remove nothing: what changed is nothing.

    CLI Example:

    .. code-block:: bash

        salt '*' pkg.remove unattended-upgrades
    """
    return {}
