"""
The journal: what was done to the world, and what a dry run would do
====================================================================

One line of JSON for each event, in ``journal.jsonl`` of the run's folder, or of the environment's
outside of any run. Times are UTC, ISO 8601. Appended and synced, so that a kill at any byte leaves
a readable journal: a torn last line is skipped.

The gateways to AWS, to the minions and to git share their duties from here: a change is refused
under ``test=True`` and journaled before and after it; what is written is redacted.
"""

import contextlib
import datetime
import errno
import hashlib
import json
import os
import pathlib
import re
import time

from salt.exceptions import CommandExecutionError

from mitx_run import folders

# `key` is what Salt calls a secret access key; `Key` is the name of an object in S3.
_SECRET_NAME = re.compile(
    r"(?i:passw|passphrase|^pass$|pwd$|secret|token|credential|private.?key|api.?key|application.?key|webhook|authorization)|^key$|^keyid$"
)

_URL_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")

_LONGEST_TEXT = 8000

# What `redact` leaves of a value.
_CUT = re.compile(r"\A\*\*\*\Z|://\*\*\*@|… <\d+ characters>\Z|\A<\d+ bytes, sha256 ")
# What is true of a change whose line could not be written.
_UNWRITTEN = {
    "before": "What was about to be done was not begun. ",
    "after": "What was being done has been done, and is not recorded: the same command finds out. ",
}


def write(run, event, **fields):
    """
    Append one line to the journal and fsync it. ``fields`` are redacted. Returns the line as a
    dict. Under ``test=True`` nothing is written.
    """
    line = {
        "time": _now(),
        "event": event,
        **redact({k: v for k, v in fields.items() if not k.startswith("__")}),
    }
    if not run.test:
        _append(_folder(run), line)
    return line


def entries(run, run_id=None):
    """
    Return the lines of the journal as a list of dicts, oldest first. What is no line of a journal,
    one torn by a kill say, is left out.
    """
    path = _folder(run, run_id) / "journal.jsonl"
    try:
        with folders.allowed(path):
            text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    # Not splitlines: a note may hold other separators of lines, U+2028 say.
    for raw in text.split("\n"):
        with contextlib.suppress(ValueError):
            line = json.loads(raw)
            if isinstance(line, dict) and {"time", "event"} <= set(line):
                lines.append(line)
    return lines


def gateway(run, name, change=True, **fields):
    """
    The duty of every gateway to the outside, as a context manager. A change is refused under
    ``test=True``, journaled before (``stage: before``) and after it (``stage: after``, or
    ``failed`` with the error). A reading call is journaled only when it fails.

    .. code-block:: python

        with journal.gateway(run, "aws", change=True, operation="create_invalidation"):
            …
    """
    if change:
        refuse_under_test(run, f"{name}: {' '.join(str(v) for v in list(fields.values())[:3])}")
    where = None if run.test else _folder(run)
    return _journaled(where, {"event": name, **redact(fields)}, change)


def summary(line):
    """
    Return the call of a gateway's line of the journal as one sentence, the same for a call that was
    made and one that would be.
    """
    if line["event"] == "aws":
        return (
            f"aws {line['service']}.{line['operation']}"
            f" {json.dumps(_without_tokens(line['parameters']), sort_keys=True)}"
        )
    if line["event"] == "minions":
        return f"minions {line['label']}: {', '.join(line['minions'])}"
    return f"{line['event']} {line.get('command') or line.get('sls') or ''}".strip()


def _without_tokens(value):
    """What makes a request unique is not part of what it asks for."""
    if isinstance(value, dict):
        return {
            key: _without_tokens(item) for key, item in value.items() if key != "CallerReference"
        }
    return value


@contextlib.contextmanager
def _journaled(where, line, change):
    # Salt's dunders are only set while a loaded function runs: what is needed was taken before the
    # first yield.
    def write(**more):
        if where is not None:
            _append(where, {"time": _now(), **line, **more})

    if change:
        write(stage="before")
    started = time.monotonic()
    try:
        yield
    except BaseException as err:
        write(
            stage="failed",
            error=redact(f"{err}" or type(err).__name__),
            seconds=round(time.monotonic() - started, 3),
        )
        raise
    if change:
        write(stage="after", seconds=round(time.monotonic() - started, 3))


def redact(value, whole=False):
    """
    Return a copy of ``value`` that may be written down: what a secret's name stands for is masked,
    user names and passwords are cut from URLs, and long or binary bodies become their size and
    digest; with ``whole`` long texts stay.
    """
    if isinstance(value, dict):
        return {
            str(key): (
                "***" if item is not None and _SECRET_NAME.search(str(key)) else redact(item, whole)
            )
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [redact(item, whole) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:12]}>"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = without_passwords(str(value))
    if len(text) > _LONGEST_TEXT and not whole:
        return f"{text[:_LONGEST_TEXT]}… <{len(text)} characters>"
    return text


def is_cut(value):
    """
    Return whether :py:func:`redact` has left out a part of ``value``, or of what is in it.
    """
    if isinstance(value, dict):
        return any(map(is_cut, value.values()))
    if isinstance(value, list):
        return any(map(is_cut, value))
    return isinstance(value, str) and bool(_CUT.search(value))


def without_passwords(text):
    """
    Return a text, of whatever length, with user names and passwords cut from the URLs in it.
    """
    return _URL_USERINFO.sub("***@", text)


def refuse_under_test(run, what):
    """
    Raise ``CommandExecutionError`` in a dry run: ``what`` would be written.
    """
    if run.test:
        raise CommandExecutionError(f"Refused under test=True: {what}")


def _append(where, line):
    path = where / "journal.jsonl"
    folders.make(path.parent)
    data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode()
    try:
        _write(path, data)
    except OSError as err:
        done = _UNWRITTEN.get(line.get("stage"), "")
        raise CommandExecutionError(
            f"The record of the run cannot be written: {folders.problem(path, err)}. {done}Put that"
            " right, then run the same command again"
        ) from err


def _write(path, data):
    descriptor = folders.open_file(path, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        # A disk that is full takes less than it is given, without an error.
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(run, run_id=None):
    return pathlib.Path(folders.folder(run, run_id))


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
