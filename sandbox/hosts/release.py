"""Which release a checkout of the code is.

``openedx/core/release.json`` in the checkout says it::

    {"codename": "koa",
     "migrations": {"default": ["courseware.0001_initial", "courseware.0002_juniper", …],
                    "student_module_history": ["coursewarehistoryextended.0001_initial", …]}}

Migrations are ``app.name``, oldest first, everything that the release knows: that is its schema.
"""

import pathlib
import subprocess

from sandbox.hosts import record

CHECKOUT = "edx/app/edxapp/edx-platform"
FILE = "openedx/core/release.json"
DATABASES = ("default", "student_module_history")


def read(checkout):
    """What code lies in a checkout, now.

    Returns ``{codename, commit (40 hex digits), label: "<codename>@<commit>", migrations:
    {database: [names]}}``, or None where there is no checkout, or none with a ``release.json``.
    """
    said = record.read(pathlib.Path(checkout) / FILE)
    if said is None:
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    codename = said["codename"]
    label = f"{codename}@{commit}"
    return {
        "codename": codename,
        "commit": commit,
        "label": label,
        "migrations": said["migrations"],
    }
