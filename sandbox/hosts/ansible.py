"""
``ansible-playbook``, as far as a host of the sandbox needs it: Open edX's playbooks with Ansible's
own output.

With ``--tags install:configuration`` it writes the configuration (which processes read when they
start). Without, it also checks out the release branch, ``edx_platform_version`` (default
``mitx/<the host's codename>``) of ``edx_platform_repo`` (default the sandbox's origin). ``-e
migrate_db=yes`` migrates the purpose's databases, whatever the tags. Nothing is restarted. Exit
status as Ansible's: 2 for a failed task, 4 for an unreachable host.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from sandbox.hosts import faults, manage, process, record
from sandbox.hosts import release as releases

CONFIGURATION_TAG = "install:configuration"
WIDTH = 79
# Beside Open edX itself a web host has these; the sandbox runs nothing of theirs.
OTHERS = ("xqueue", "forum")


class Failed(Exception):
    """A task failed."""


class Done(Exception):
    """The playbook is at its end."""


class Play:
    """One run on one host, counting as Ansible does."""

    def __init__(self, folder, extra, tags, playbook="edxapp"):
        self.folder, self.extra, self.tags, self.playbook = folder, extra, tags, playbook
        self.host = record.read(folder / "host.json")
        self.checkout = folder / "root" / releases.CHECKOUT
        self.counts = dict.fromkeys(
            ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored"), 0
        )

    def run(self):
        """Play it all; returns Ansible's exit status."""
        print(_starred("PLAY [Configure instance(s)]"))
        with contextlib.suppress(Failed, Done):
            self.task("Gathering Facts", self.suffer)
            if self.playbook in OTHERS:
                self.task(f"{self.playbook} : create application configuration", lambda: False)
                raise Done
            if CONFIGURATION_TAG not in self.tags:
                self.task(
                    f"edxapp : checkout edx-platform repo into /{releases.CHECKOUT}", self.check_out
                )
            self.task("edxapp : create application configuration", self.configure)
            if str(self.extra.get("migrate_db", "no")).lower() in ("yes", "true", "1"):
                self.task("edxapp : migrate", self.migrate)
        print(_starred("PLAY RECAP"))
        print(
            f"{'localhost':<26} : "
            + " ".join(f"{key}={count:<4}" for key, count in self.counts.items())
        )
        return 4 if self.counts["unreachable"] else 2 if self.counts["failed"] else 0

    def task(self, title, do):
        """
        One task: ``do()`` returns whether it changed anything, and raises Failed with the reason
        when it fails.
        """
        print(_starred(f"TASK [{title}]"), flush=True)
        try:
            changed = do()
        except Failed as err:
            kind = "unreachable" if self.counts["unreachable"] else "failed"
            self.counts["failed"] += kind == "failed"
            print(
                f"fatal: [localhost]: {kind.upper()}! =>"
                f" {json.dumps({'changed': False, 'msg': str(err)})}\n"
            )
            raise
        self.counts["ok"] += 1
        self.counts["changed"] += changed
        print(f"{'changed' if changed else 'ok'}: [localhost]\n")

    def suffer(self):
        """The fault injected for this host, if any."""
        facts = {
            "host": self.host["id"],
            **{key: self.host[key] for key in ("name", "purpose", "codename")},
        }
        action = (faults.take(self.folder.parent.parent, "ansible", **facts) or {}).get("action")
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while action == "hang":
            time.sleep(60)
        self.counts["unreachable"] += action == "unreachable"
        if action:
            raise Failed("as the fault says")
        return False

    def check_out(self):
        """The branch as origin has it now; nothing of an earlier checkout stays."""
        origin = (
            self.extra.get("edx_platform_repo")
            or f"file://{self.folder.parent.parent}/git/origin.git"
        )
        version = self.extra.get("edx_platform_version") or f"mitx/{self.host['codename']}"
        before = releases.read(self.checkout)
        if not (self.checkout / ".git").exists():
            _git("clone", "--quiet", "--no-checkout", origin, str(self.checkout))
        for command in (
            ["remote", "set-url", "origin", origin],
            ["fetch", "--quiet", "--prune", "--tags", "--force", "origin"],
            ["checkout", "--quiet", "--force", "-B", version, f"refs/remotes/origin/{version}"],
        ):
            _git("-C", str(self.checkout), *command)
        return before != releases.read(self.checkout)

    def configure(self):
        """Write the configuration, with the time in it."""
        facts = {key: self.host[key] for key in ("environment", "purpose", "codename")}
        configuration = {**facts, "configured": record.now(), "variables": self.extra}
        record.write(self.folder / "root" / process.CONFIGURATION, configuration)
        return True

    def migrate(self):
        """Migrate both databases; Failed with what manage.py said when one fails."""
        said = io.StringIO()
        for database in releases.DATABASES:
            command = [
                "lms",
                "migrate",
                "--noinput",
                "--settings=production",
                "--database",
                database,
            ]
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = manage.main(command)
            if status:
                raise Failed(said.getvalue())
        return "Applying" in said.getvalue()


def main(argv=None):
    """
    The command line of ansible-playbook; options that the sandbox has no use for are accepted.
    """
    parser = argparse.ArgumentParser(prog="ansible-playbook")
    parser.add_argument("-e", "--extra-vars", action="append", default=[])
    parser.add_argument("-t", "--tags", action="append", default=[])
    options, others = parser.parse_known_args(argv)
    playbook = next((pathlib.Path(word).stem for word in others if word.endswith(".yml")), "edxapp")
    tags = [tag for group in options.tags for tag in group.split(",")]
    status = Play(process.here(), _variables(options.extra_vars), tags, playbook).run()
    sys.stdout.flush()
    return status


def _variables(options):
    """
    ``{name: value}`` of all ``-e``: ``key=value`` words, JSON, or ``@file`` (JSON; another kind of
    file says nothing).
    """
    variables = {}
    for option in options:
        text = pathlib.Path(option[1:]).read_text() if option.startswith("@") else option
        if text.lstrip().startswith("{"):
            variables.update(json.loads(text))
        elif not option.startswith("@"):
            variables.update(word.split("=", 1) for word in text.split() if "=" in word)
    return variables


def _git(*arguments):
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr.strip())


def _starred(title):
    return f"{title} ".ljust(WIDTH, "*")


if __name__ == "__main__":
    sys.exit(main())
