"""
Run an orchestration inside of this one, and tell truthfully how it went
========================================================================

A nested ``salt.runner: state.orchestrate`` leaves environment variables behind for the next one,
calls a ``str`` answer a success, and after Ctrl-C goes on with the step after it (seen on Salt
3006, 3007 and 3008). :py:func:`orchestrate` does none of that.
"""

import contextlib
import logging
import os
import re
import socket

from mitx_run import journal
from mitx_run.dunders import __opts__, __pillar__, __salt__

# What the existing orchestrations read (salt-ops, December 2020). Whatever of it lies around in the
# shell is not ours.
VARIABLES = (
    "ENVIRONMENT",
    "PURPOSE",
    "PURPOSES",
    "RUN_MIGRATIONS",
    "ANSIBLE_FLAGS",
    "VPC_NAME",
    "BUSINESS_UNIT",
    "PURPOSE_PREFIX",
    "VPC_RESOURCE_SUFFIX",
    "RESTORE",
)


log = logging.getLogger(__name__)

_LOGS = ("salt.state", "salt.utils.templates")

# The existing orchestrations find minions by their grains, and these a master learns as it runs.
_NOBODY = "No minions responded"
_NO_GRAINS = (
    "A master that was replaced does not know the grains of its minions yet, and finds none by"
    " them. It learns them by: salt '*' saltutil.refresh_pillar"
)

# Where each of Salt Cloud's processes notes its host before it launches it, and reads the others'.
_INDEX = "in cachedir_index_"
_SALT_CLOUD = (
    "Salt Cloud read its own index while it was being written; what was not launched is launched"
    " when the same command runs again. If that fails with the same words, the index was cut off by"
    " a kill: remove index.p in Salt Cloud's cachedir (by default /var/cache/salt/cloud) first, it"
    " is made anew"
)

# The lines of a traceback but its last, which says what it was; newlines as they are, or as repr.
_WHERE = re.compile(r"Traceback \(most recent call last\):((\n|\\n)[ \t]((?!\\n)[^\n])*)+(\n|\\n)")

_IN_JINJA = "Problem running salt function in Jinja template"


def orchestrate(run, sls, environ=None, pillar=None):
    """
    Run ``sls`` as an orchestration, ``test`` passed down. With ``environ`` (dict) the process
    environment has exactly these of the variables that the existing orchestrations read. Returns
    ``{data: {id: {state: result}}, failures: [str]}``; ``failures`` is empty only when at least one
    state ran and all succeeded (or, under ``test=True``, would change something).

    Raises ``SystemExit`` where Ctrl-C or a signal has ended it.
    """
    # Said in so many words: left out, the master's configuration decides (test, saltenv).
    kwargs = {"mods": sls, "pillar": pillar or {}, "test": run.test, **_environments()}
    try:
        with _environment(environ), _told_once():
            answer = __salt__["saltutil.runner"]("state.orchestrate", full_return=True, **kwargs)
    except Exception as err:
        # Salt tells of every step on the master's event bus, and comes to an end of its own where
        # that is gone.
        said = (
            f"{sls} broke off: {type(err).__name__}: {err}. Does the Salt master run? It must not"
            " be restarted meanwhile"
        )
        return {"data": {}, "failures": [said]}
    _reraise_interrupt(answer)
    result = answer.get("return") if isinstance(answer, dict) else answer
    if not isinstance(result, dict) or not isinstance(result.get("data"), dict):
        return {"data": {}, "failures": [f"{sls}: {str(result)[:2000]}"]}
    return {"data": result["data"], "failures": _failures(sls, result, run.test)}


def _environments():
    """Salt's own, in which this orchestration was found."""
    return {key: __opts__[key] for key in ("saltenv", "pillarenv") if __opts__.get(key)}


def inherited(run):
    """
    Return the pillar to pass to a nested orchestration: what was said for this run, its id
    included. Nothing that may not be written down is passed on, since job events carry it: the
    nested one reads that from its own pillar.
    """
    mine = dict(__pillar__.get("mitx") or {})
    # Of the others nothing was said.
    mine["environments"] = {run.environment: mine["environments"][run.environment]}
    mine = _presentable(mine, journal.redact(mine))
    mine["environment"] = run.environment
    if run.id:
        mine["run"] = run.id
    return {"mitx": mine}


def tell_once():
    """
    From now on, let this process log no state that fails: Salt logs of one that had changed
    something the changes as a dict, of an SLS that does not render a traceback and a part of it.
    Whoever ran it tells what failed, what is true now, and what is next, at the end.
    """
    for name in _LOGS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def tell_without_master(comment):
    """
    Log why a state failed where :py:func:`tell_once` keeps Salt from it and the master's event bus
    is gone: then Salt ends with a traceback, and shows nothing of what a state returns.
    """
    if logging.getLogger("salt.state").level > logging.CRITICAL and not _has_master():
        log.error(comment)


def _has_master():
    path = os.path.join(str(__opts__.get("sock_dir")), "master_event_pull.ipc")
    with socket.socket(socket.AF_UNIX) as bus, contextlib.suppress(OSError):
        bus.settimeout(1)
        bus.connect(path)
        return True
    return False


@contextlib.contextmanager
def _told_once():
    levels = {name: logging.getLogger(name).level for name in _LOGS}
    tell_once()
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _environment(wanted):
    if wanted is None:
        yield
        return
    saved = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    os.environ.update({name: str(value) for name, value in wanted.items()})
    try:
        yield
    finally:
        for name in (*VARIABLES, *wanted):
            os.environ.pop(name, None)
        os.environ.update(saved)


def _reraise_interrupt(answer):
    # Ctrl-C reaches the nested runner as SystemExit, which Salt turns into a text. Without this
    # only that one step would end.
    for text in (answer, (answer or {}).get("return") if isinstance(answer, dict) else None):
        if isinstance(text, str) and "SystemExit" in text:
            raise SystemExit(130)


def _failures(sls, result, test):
    failures, ran = [], 0
    for states in result["data"].values():
        if not isinstance(states, dict):
            failures += [
                _cause(str(line)) for line in (states if isinstance(states, list) else [states])
            ]
            continue
        for key, state in states.items():
            ran += 1
            if not isinstance(state, dict) or state.get("result") is False:
                failures.append(_told(key, state))
            elif state.get("result") is None and not test:
                failures.append(
                    f"{_told(key, state)}: it was a dry run, which nobody asked for. Does the"
                    " configuration of the master, or of the minion, say test: true?"
                )
    if not ran and not failures:
        failures.append(f"{sls}: no state ran")
    if not failures and result.get("retcode"):
        failures.append(f"{sls}: exit status {result['retcode']}")
    # What was skipped because of another's failure says nothing of its own.
    causes = [line for line in failures if "One or more requisite failed" not in line] or failures
    # Where something else failed first, it may be why nobody was there, as where nothing was
    # launched; and an outer orchestration tells what an inner one has told.
    told = any(hint in line for line in causes for hint in (_NO_GRAINS, _SALT_CLOUD))
    return [*causes, _NO_GRAINS] if causes and _NOBODY in causes[0] and not told else causes


def _cause(text):
    """
    Of an SLS that does not render Salt tells the whole traceback, and a part of the SLS: the reason
    stands before them, or at the end of the traceback.
    """
    if _IN_JINJA in text:
        return text.partition("\n\n---\n")[0][:2000]
    what, _, trace = text.partition("Traceback (most recent call last)")
    ours = trace.rpartition("CommandExecutionError: ")
    if ours[1]:
        return f"{what}{ours[2][-2000:].strip()}"
    return what.strip()[:2000] or trace.strip().rpartition("\n")[2][:2000]


def _told(key, state):
    if not isinstance(state, dict):
        return f"{key}: {state}"
    if "_|-" not in key:
        return f"{key}: {state.get('comment')}"
    module, identifier, _, function = key.split("_|-", 3)
    comment = _WHERE.sub("", str(state.get("comment")))
    return f"{module}.{function} ({identifier}): {comment}{_raised(state)}"


def _raised(state):
    """
    What a runner function raised, here or on a minion: Salt's comment says only that it failed.
    """
    for said in _texts(state.get("changes")):
        if "Traceback (most recent call last)" in said:
            hint = f". {_SALT_CLOUD}" if _INDEX in said else ""
            return f" {said.strip().splitlines()[-1][:2000]}{hint}"
    return ""


def _texts(value):
    """Every text in an answer of Salt, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def _presentable(value, redacted):
    """
    ``value`` without what redaction has changed: secrets, passwords in URLs, texts that were cut.
    """
    if not isinstance(value, dict):
        return value
    same = {key: redacted[str(key)] for key in value}
    kept = {
        key: item
        for key, item in value.items()
        if isinstance(same[key], dict) or same[key] in (item, str(item))
    }
    return {key: _presentable(item, redacted[str(key)]) for key, item in kept.items()}
