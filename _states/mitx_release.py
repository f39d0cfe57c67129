"""
The release branch
==================

.. code-block:: yaml

    release branch:
      mitx_release.rebased: []

What each does lies in ``_modules/mitx_release/``.
"""


def __virtual__():
    if "mitx_release.ensure" in __salt__:
        return True
    return False, "The mitx_release execution module is not loaded"


def rebased(name, onto_sha=None, drop=None, carry=None, accept=None, forget=None, resume=False):
    """
    Ensure that the release branch on origin stands on upstream's release ``release:onto`` with all
    our patches, and record its sha in the run (``release_sha``). A conflict stops the state; when
    it is solved, the same state goes on.

    onto_sha, drop, carry, accept, forget
        See ``release.sync``.
    resume
        True: only continue a rebase that waits for a human; an error where none does.

    .. code-block:: yaml

        release branch:
          mitx_release.rebased: []
    """
    return __salt__["mitx_release.ensure"](
        "rebased",
        name,
        onto_sha=onto_sha,
        drop=drop,
        carry=carry,
        accept=accept,
        forget=forget,
        resume=resume,
    )


def copied(name, branches=None):
    """
    Ensure that origin has upstream's release branches under the same names, never by force.

    branches
        Which branches or tags; by default every branch of this codename. (``names`` would be
        Salt's: a state for each.)

    .. code-block:: yaml

        upstream's branches:
          mitx_release.copied:
            - branches: [open-release/koa.rc3]
    """
    return __salt__["mitx_release.ensure"]("copied", name, names=branches)


def created(name):
    """
    Ensure that origin has the release branch ``mitx/<codename>``; where it has none, from
    upstream's first ``open-release/<codename>.master``. One that is there is left alone.

    .. code-block:: yaml

        release branch:
          mitx_release.created: []
    """
    return __salt__["mitx_release.ensure"]("created", name)


def restored(name, backup=None):
    """
    Ensure that the release branch on origin is where it was: at one of ``branches.backups``. Where
    it is now becomes a backup itself, in the same push.

    backup
        Name or sha of the backup.

    .. code-block:: yaml

        release branch:
          mitx_release.restored:
            - backup: 20201220T014502Z-0123456789abcdef0123456789abcdef01234567
    """
    return __salt__["mitx_release.ensure"]("restored", name, backup=backup)


def proven(name):
    """
    Ensure that the release of the environment ``release:from`` is there to be used: its recorded
    commit on origin, both its AMIs available. Records the commit in the run (``release_sha``).
    Pushes and changes nothing.

    .. code-block:: yaml

        QA's release:
          mitx_release.proven: []
    """
    return __salt__["mitx_release.ensure"]("proven", name)
