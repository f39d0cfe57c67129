"""
Commands under ``$SANDBOX/bin`` that find their host by ``SANDBOX_HOST``, else by HOME, and links to
them on its disk.

``~/edx/bin/supervisorctl``
    ``bin/supervisorctl``: the real one (:mod:`sandbox.hosts.supervisorctl`), of this host's
    supervisord.
``~/edx/bin/ansible-playbook``
    ``bin/ansible-playbook``: :mod:`sandbox.hosts.ansible`.
``~/edx/bin/edxapp-update-assets``
    nothing: there are no assets.
``~/edx/app/edxapp/venvs/edxapp/bin/python``
    ``bin/edxapp-python``: given ``manage.py``, :mod:`sandbox.hosts.manage`.

``bin/manage.py`` is the last one's second half by itself; ``bin/queue-depth`` prints the depth of
the queue of its host's purpose.
"""

import os
import pathlib
import shlex

LINKS = {
    "edx/bin/supervisorctl": "supervisorctl",
    "edx/bin/ansible-playbook": "ansible-playbook",
    "edx/bin/edxapp-update-assets": "edxapp-update-assets",
    "edx/app/edxapp/venvs/edxapp/bin/python": "edxapp-python",
}
SUPERVISORCTL = """#!/bin/sh
host="${{SANDBOX_HOST:-${{HOME%/root}}}}"
exec {python} -I -S {here}/supervisorctl.py {socket} -c "$host/supervisord.conf" "$@"
"""
MODULE = """#!/bin/sh
PYTHONPATH={repository}
export PYTHONPATH
exec {python} -s -S -m sandbox.hosts.{module} "$@"
"""
EDXAPP_PYTHON = """#!/bin/sh
case "$1" in
  manage.py|*/manage.py) shift; exec {manage} "$@" ;;
  *) exec {python} "$@" ;;
esac
"""


def install(sandbox, config):
    """Write the commands into ``$SANDBOX/bin``."""
    bin_dir = pathlib.Path(sandbox) / "bin"
    bin_dir.mkdir(parents=True, exist_ok=True)
    words = {
        "python": shlex.quote(config["python"]),
        "repository": shlex.quote(config["repository"]),
    }
    here = shlex.quote(str(pathlib.Path(config["repository"]) / "sandbox" / "hosts"))
    _script(
        bin_dir / "supervisorctl",
        SUPERVISORCTL.format(here=here, socket=shlex.quote(ctl_socket(config)), **words),
    )
    _script(bin_dir / "edxapp-update-assets", "#!/bin/sh\nexit 0\n")
    _script(bin_dir / "ansible-playbook", MODULE.format(module="ansible", **words))
    _script(bin_dir / "manage.py", MODULE.format(module="manage", **words))
    _script(
        bin_dir / "queue-depth", MODULE.format(module="queue", **words).replace('"$@"', "depth")
    )
    _script(
        bin_dir / "edxapp-python",
        EDXAPP_PYTHON.format(manage=shlex.quote(str(bin_dir / "manage.py")), **words),
    )


def ctl_socket(config):
    """Where :mod:`sandbox.hosts.supervisorctl` answers."""
    return str(pathlib.Path(config["paths"]["short"]) / "ctl")


def link(sandbox, root):
    """Put the links on a host's disk, in place of whatever an image brought along."""
    for place, command in LINKS.items():
        path = pathlib.Path(root) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(pathlib.Path(sandbox) / "bin" / command)


def _script(path, text):
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.chmod(0o755)
    scratch.replace(path)
