"""
The gateway to git
===============

Every git command of this package is run by :py:func:`execute`. It sees to it that

  * a change (a push, a worktree for a human) is journaled before and after, and refused under
  ``test=True``;
  * nothing of anyone else's runs: no hook, alias, credential helper or configuration of the system,
  of the user or of a
  foreign repository; no transport but those in ``release:protocols``;
  * secrets travel in the environment or in key files, never in arguments, and no message or log
  shows them;
* names of branches and URLs are checked against a short list of shapes, since a branch called
  ``--upload-pack=…`` or a URL ``ext::…`` would run a program.

Here, ``release`` is the map ``release`` of :py:func:`settings.get`.

:depends: git >= 2.38
"""

import base64
import contextlib
import logging
import os
import pwd
import re
import shlex
import signal
import subprocess

from salt.exceptions import CommandExecutionError

from mitx_run import errors, journal
from mitx_run.dunders import __context__

log = logging.getLogger(__name__)


OLDEST = (2, 38)

COMMITTER = {"name": "MITx release", "email": "mitx-release@mit.edu"}


_NAME = re.compile(
    r"(?!.*(\.\.|@\{|\.lock(/|\Z)|\.(/|\Z)))[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z"
)

_SHA = re.compile(r"[0-9a-f]{40}\Z")

_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"

_PATH = r"/?[A-Za-z0-9_~][A-Za-z0-9._~+/-]*"

_USER = r"([A-Za-z0-9_][A-Za-z0-9._-]*@)?"

_URLS = {
    "https": re.compile(rf"https://{_HOST}{_PATH}\Z"),
    "http": re.compile(rf"http://{_HOST}{_PATH}\Z"),
    "ssh": re.compile(
        rf"(ssh://{_USER}{_HOST}{_PATH}|{_USER}[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:{_PATH})\Z"
    ),
    "file": re.compile(r"(file://)?/[^\x00-\x1f\x7f]+\Z"),
}

_CREDENTIALS = {"username", "password", "token", "ssh_key", "known_hosts"}

# What git may see of the caller's environment: how to find programs and how to reach the network.
_KEPT = (
    "PATH",
    "LD_LIBRARY_PATH",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "SSH_AUTH_SOCK",
    "GNUPGHOME",
)

_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_SSH_VARIANT": "ssh",
}

_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.helper": "",
    "commit.gpgSign": "false",
    "fetch.recurseSubmodules": "false",
    "advice.detachedHead": "false",
    "rerere.enabled": "true",
    "rerere.autoUpdate": "true",
    # A patch must apply in the same way whatever git's defaults are tomorrow.
    "merge.conflictStyle": "merge",
    "merge.directoryRenames": "conflict",
}


def execute(
    run,
    release,
    *arguments,
    repo=None,
    change=False,
    ok=(0,),
    stdin=None,
    variables=None,
    raw=False,
):
    """
    Run ``git <arguments>`` and return ``{code: int, out: str, err: str}``; ``out`` is ``bytes`` if
    ``raw``.

    repo
        Path of a bare repository, or of a worktree, to work in.
    change
        Whether it changes anything outside of the mirror and temporary folders.
    ok
        Exit codes that are no failure; any other raises :py:class:`errors.GitFailed`.
    stdin, variables
        ``bytes`` for its standard input; more variables of its environment.
    """
    version()
    shown = redact(release, shlex.join(("git", *arguments)))
    with journal.gateway(run, "git", change=change, command=shown, repo=repo or ""):
        log.debug("%s in %s", shown, repo)
        answer = _execute(release, arguments, repo, stdin, variables, shown)
        if not raw:
            answer["out"] = answer["out"].decode(errors="replace")
        if answer["code"] not in ok:
            message = answer["err"].strip()[-2000:] or "no message"
            raise errors.GitFailed(f"{shown}: exit {answer['code']}: {message}", answer)
    return answer


def version():
    """
    Return git's version as a list of numbers. An older git than this package can work with is an
    error.
    """
    key = f"mitx_release.git.{os.environ.get('PATH')}"
    if key not in __context__:
        # LC_ALL and nothing else: the answer depends on no repository.
        text = subprocess.run(
            ["git", "version"],
            capture_output=True,
            text=True,
            env={**_base(), "LC_ALL": "C"},
            check=False,
        ).stdout
        found = re.match(r"git version (\d+)\.(\d+)(?:\.(\d+))?", text)
        numbers = [int(n or 0) for n in found.groups()] if found else []
        if tuple(numbers) < OLDEST:
            raise CommandExecutionError(
                f"git on this master is {text.strip() or 'not to be asked for its version'}; the"
                f" release branch needs {'.'.join(map(str, OLDEST))} or later (Debian 12 has 2.39)."
                " Nothing was done."
            )
        __context__[key] = numbers
    return __context__[key]


def check_name(name, what="branch"):
    """
    Return ``name`` if it is a plain name of a branch or tag, such as ``open-release/koa.rc3``; else
    an error.
    """
    if not isinstance(name, str) or len(name) > 200 or not _NAME.match(name):
        raise CommandExecutionError(
            f"{what}: {name!r} is no plain name such as open-release/koa.rc3 or release/teak; git"
            " was not called"
            " with it"
        )
    return name


def check_sha(sha, what="commit"):
    """
    Return ``sha`` if it is a full sha of a commit (40 hexadecimal digits); else an error.
    """
    if not isinstance(sha, str) or not _SHA.match(sha):
        raise CommandExecutionError(
            f"{what}: {sha!r} is no full sha (40 hexadecimal digits); git was not called with it"
        )
    return sha


def check_url(url, protocols, what="url"):
    """
    Return ``url`` if its protocol is one of ``protocols`` (``https``, ``ssh``, ``http``, ``file``)
    and it holds no user name or password for http(s), no other transport's helper and no option;
    else an error.
    """
    shapes = {name: _URLS[name] for name in protocols if name in _URLS}
    if isinstance(url, str) and any(shape.match(url) for shape in shapes.values()):
        return url
    shown = journal.redact(str(url))
    hint = (
        " Credentials belong in release:credentials."
        if re.match(r"https?://[^/]*@", str(url))
        else ""
    )
    raise CommandExecutionError(
        f"release:{what}: {shown!r} is no plain URL of a protocol in release:protocols"
        f" ({', '.join(protocols)}).{hint} git was not called with it"
    )


def url(release, remote):
    """
    Return the checked URL of ``remote``: ``upstream`` or ``origin``.
    """
    return check_url(release[remote], release["protocols"], remote)


def redact(release, text):
    """
    Return ``text`` without any secret of ``release:credentials``, and without user names and
    passwords in URLs.
    """
    for secret in _secrets(release):
        text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)


def owner(release):
    """
    Return who runs git: ``{name, uid, gid}`` of ``release:runas``, else of the user of this
    process.
    """
    user = _user(release)
    return {"name": user.pw_name, "uid": user.pw_uid, "gid": user.pw_gid}


def _execute(release, arguments, repo, stdin, variables, shown):
    user, me = _user(release), os.geteuid()
    process_options = {}
    if user.pw_uid != me:
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        process_options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
    lock = release.get("lock")
    process = subprocess.Popen(
        ["git", *arguments],
        cwd=repo or "/",
        env={**_variables(release, user, repo), **(variables or {})},
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=() if lock is None else (lock,),
        umask=0o022,
        start_new_session=True,
        **process_options,
    )
    try:
        out, err = process.communicate(stdin, timeout=float(release["timeout"]))
    except subprocess.TimeoutExpired as late:
        raise CommandExecutionError(
            f"{shown}: not done after {release['timeout']} s (release:timeout); it was stopped"
        ) from late
    finally:
        _stop(process)
    return {
        "code": process.returncode,
        "out": out,
        "err": redact(release, err.decode(errors="replace")),
    }


def _stop(process):
    """
    End git, and all that it started, if an exception (a timeout, Ctrl-C) left it running. SIGTERM
    first: git then removes its lock files.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _base():
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _variables(release, user, repo):
    """
    The whole environment of a git process: built from nothing, so that the caller's says nothing.
    """
    committer = release.get("committer") or COMMITTER
    found = {
        **_base(),
        **_ENVIRONMENT,
        # The user may have no home. The mirror's folder is his, and holds no .gitconfig, .netrc or
        # .ssh.
        "HOME": release["mirror"],
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "GIT_ALLOW_PROTOCOL": ":".join(release["protocols"]),
        "GIT_SSH_COMMAND": _ssh(_credentials(release)),
        "GIT_COMMITTER_NAME": committer["name"],
        "GIT_COMMITTER_EMAIL": committer["email"],
        "GIT_AUTHOR_NAME": committer["name"],
        "GIT_AUTHOR_EMAIL": committer["email"],
    }
    if repo and os.path.isdir(os.path.join(repo, ".git")):
        found |= {"GIT_DIR": os.path.join(repo, ".git"), "GIT_WORK_TREE": repo}
    elif repo:
        found["GIT_DIR"] = repo
    if release["signing_key"] and not os.path.isabs(release["signing_key"]):
        found.setdefault("GNUPGHOME", os.path.join(user.pw_dir, ".gnupg"))
    return found | _configuration(release)


def _configuration(release):
    settings = dict(_CONFIG)
    credentials = _credentials(release)
    if credentials.get("password"):
        settings[f"http.{release['origin']}.extraHeader"] = (
            f"Authorization: Basic {_basic(credentials)}"
        )
    if release["signing_key"]:
        settings["gpg.format"] = "ssh" if os.path.isabs(release["signing_key"]) else "openpgp"
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def _ssh(credentials):
    # Salt's user may have no home: without UserKnownHostsFile ssh would look there, whatever HOME
    # says.
    words = ["ssh", "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "ConnectTimeout=20"]
    if credentials.get("known_hosts"):
        words += [
            "-o",
            f"UserKnownHostsFile={credentials['known_hosts']}",
            "-o",
            "StrictHostKeyChecking=yes",
        ]
    if credentials.get("ssh_key"):
        words += [
            "-i",
            credentials["ssh_key"],
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
        ]
    return shlex.join(words)


def _credentials(release):
    found = release.get("credentials") or {}
    unknown = set(found) - _CREDENTIALS
    if unknown:
        raise CommandExecutionError(
            f"release:credentials: unknown {', '.join(sorted(unknown))}; there are"
            f" {', '.join(sorted(_CREDENTIALS))}"
        )
    return {**found, "password": found.get("password") or found.get("token")}


def _basic(credentials):
    pair = f"{credentials.get('username') or 'x-access-token'}:{credentials['password']}"
    return base64.b64encode(pair.encode()).decode()


def _secrets(release):
    credentials = _credentials(release)
    if not credentials["password"]:
        return ()
    return (_basic(credentials), str(credentials["password"]))


def _user(release):
    name = release.get("runas")
    if not name:
        return pwd.getpwuid(os.geteuid())
    try:
        user = pwd.getpwnam(name)
    except KeyError as err:
        raise CommandExecutionError(
            f"release:runas: there is no user {name!r} on this master"
        ) from err
    if os.geteuid() not in (0, user.pw_uid):
        raise CommandExecutionError(
            f"release:runas: only root can run git as {name}; this is"
            f" {pwd.getpwuid(os.geteuid()).pw_name}"
        )
    return user
