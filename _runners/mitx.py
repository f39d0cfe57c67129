"""
What the engineer says out loud
===============================

``salt-run mitx.<…>``. Whatever changes anything starts its orchestration, so that it is journaled,
held against a second one and has its ``test=True``; the others read and tell. Each takes
``environment=…``; without it pillar ``mitx:environment`` decides, else the variable
``ENVIRONMENT``.

A failure exits non-zero, names the object, and says what is true now and which command to run next.
"""

import contextlib
import copy
import datetime
import functools
import json
import pathlib
import shlex
import shutil
import sys
import textwrap
import threading
import time

import salt.loader
import salt.pillar
import salt.utils.stringutils
from salt.exceptions import CommandExecutionError, SaltInvocationError

# Outputs that are read, not parsed.
_TERMINAL = (None, "", "nested", "highstate")

# A terminal's other screen, its beginning, and back to what was there before.
_SCREEN, _HOME, _LEFT = "\x1b[?1049h", "\x1b[H", "\x1b[?1049l"

# What is pasted stays on its line, however narrow the terminal is; so does a sentence in which a
# command stands. Words stay whole.
_PASTED = ("next", "look")
_AS_IT_IS = {"break_long_words": False, "break_on_hyphens": False}

# A column narrower than this reads worse wrapped.
_LEAST = 40

# Seconds between two looks at what visitors get.
_VISITORS = 5

# A failure that says what to type.
_ADVICE = "salt-run "

_ON, _OFF = ("on", "true", "yes"), ("off", "false", "no")


def __virtual__():
    return True


def _spoken(function):
    """
    Turn what Salt would let pass as success (a TypeError inside of a runner exits 0) or print as a
    traceback into one told error.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if not key.startswith("__")}
        try:
            return function(*args, **kwargs)
        except CommandExecutionError as err:
            return _failure(str(err))
        except (TypeError, ValueError, SaltInvocationError) as err:
            return _failure(f"{err}. Usage: salt-run -d mitx.{function.__name__}")
        except SystemExit:
            # Else Salt ends with a traceback.
            told = (
                "Interrupted: Ctrl-C, or a signal. What was begun may have come true. What is:"
                " salt-run mitx.status"
            )
            return _failure(told)

    # Salt looks through the wrapper, and answers a misspelt argument with the documentation and
    # exit status 0. Without the way through, the arguments come here and are refused.
    del wrapper.__wrapped__
    return wrapper


def _failure(text):
    """Exit status 1; for salt-api and the reactor, which ask something else, no success either."""
    __context__["retcode"] = 1
    return {"Error": text, "retcode": 1}


@_spoken
def prepare(environment=None, test=False, until=None):
    """
    Run the phases of the days before, without downtime: the same as the orchestration
    ``orchestrate.mitx.prepare``, its end told shortly.

    until
        The last phase to run, such as ``deploy``; the same command without it goes on.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.prepare
    """
    return _phases("prepare", environment, test, until=until)


@_spoken
def window(environment=None, test=False, until=None):
    """
    Run the phases of the night: the same as the orchestration ``orchestrate.mitx.window``, its end
    told shortly.

    until
        The last phase to run, such as ``stop``; the same command without it goes on.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.window
    """
    return _phases("window", environment, test, until=until)


@_spoken
def upgrade(environment=None, test=False, until=None):
    """
    Run all phases, or go on wherever it stopped: the same as the orchestration
    ``orchestrate.mitx.upgrade``, its end told shortly.

    until
        The last phase to run; the same command without it goes on.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.upgrade
    """
    return _phases("upgrade", environment, test, until=until)


@_spoken
def plan(environment=None, phase=None):
    """
    Tell what stands in the way of an upgrade, and the night as a table: when each phase begins, how
    long it usually takes, how it is taken back. Changes nothing.

    phase
        Tell instead, step by step, what this phase would do.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.plan
        salt-run mitx.plan phase=close
    """
    found = _functions(environment)["mitx_upgrade.get_timetable"]()
    known = [row["phase"] for row in found["phases"] if row["phase"] != "retire"]
    if phase == "retire":
        raise CommandExecutionError("retire comes days later: salt-run mitx.retire test=True")
    if phase is not None and phase not in known:
        raise CommandExecutionError(f"There is no phase {phase!r}: {', '.join(known)}")
    states = _in_order(_start("upgrade", environment, test=True))
    wrong = [state for state in states if state.get("result") is False and not _silent(state)]
    obstacles = [line for state in wrong for line in str(state.get("comment")).splitlines()]
    steps = [
        line
        for state in states
        for line in str(state.get("comment")).splitlines()
        if state.get("__id__") == (phase or state.get("__id__"))
    ]
    notes = _notes(states)
    night = {"notes": notes, "timetable": found.pop("lines"), "facts": found.pop("facts_lines")}
    shown = {"steps": steps} if phase else night
    terminal = __opts__.get("output") in _TERMINAL
    if not terminal:
        shown = {**found, "notes": notes, "steps": steps}
    if wrong:
        shown = {"stands in the way": obstacles or ["nothing"], **shown}
        return {**_failure(f"In the way of {', '.join(_ids(wrong))}"), **shown}
    if not terminal:
        return {"stands_in_the_way": "nothing", **shown}
    parts = ["Nothing stands in the way.", *map("\n".join, shown.values())]
    return "\n\n".join(filter(None, parts))


@_spoken
def preflight(environment=None):
    """
    Tell of everything that a run needs whether it is there, a line each, and what stands in the
    way. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.preflight
    """
    found = _functions(environment, test=True)["mitx_upgrade.get_checklist"]()
    subjects = found["subjects"].items()
    wrong = [subject for subject, one in subjects if one["result"] is False]
    failure = _failure(f"In the way: {', '.join(wrong)}") if wrong else {}
    if __opts__.get("output") not in _TERMINAL:
        return {**found, **failure}
    told = {subject: one["told"] or "good" for subject, one in subjects}
    shown = _screen({**told, "notes": found["notes"]})
    return {**failure, "checklist": shown} if wrong else shown


def _notes(states):
    """What ``preflight`` tells beside that nothing stands in the way: the lines below it."""
    lines = [
        line
        for state in states
        for line in str(state.get("comment")).splitlines()
        if state.get("__id__") == "preflight" and line.startswith("    ")
    ]
    return [line.strip() for line in lines]


def _ids(states):
    return [str(state.get("__id__")) for state in states]


@_spoken
def announce(environment=None, until=None, test=False):
    """
    Publish the maintenance page with the announced window and make the 3down request, mailed where
    that is configured.

    until
        In the middle of a window that takes longer: ``23:30``, ``2026-12-21 02:30``, ``+90m``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.announce
        salt-run mitx.announce until=02:30
    """
    return _orchestrate("announce", environment, test, announce_until=_text(until))


@_spoken
def page_preview(environment=None, until=None):
    """
    Write the maintenance page to a file here, and return ``{path, request}``: where it is, and the
    text for 3down.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.page_preview
    """
    return _functions(environment)["mitx_site.preview_page"](until=_text(until))


@_spoken
def maintenance(switch="status", environment=None, force=False, test=False):
    """
    Show visitors the maintenance page (``on``), the site (``off``), or tell what each host name
    does now (``status``).

    ``off`` refuses while a run holds the environment or a load balancer has no healthy instance;
    ``force=True`` overrides the first.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.maintenance on
    """
    # Salt hands over on and off as booleans: YAML.
    word = str(switch).lower()
    if word == "status":
        return _names_shown(_functions(environment)["mitx_site.get_maintenance"]())
    if word in _ON:
        return _orchestrate("maintenance", environment, test, maintenance_to="maintenance")
    if word not in _OFF:
        raise CommandExecutionError(f"mitx.maintenance takes on, off or status, not {switch!r}")
    held = _functions(environment)["mitx_run.locked_by"]()
    if held and not force:
        raise CommandExecutionError(
            f"A run holds the environment: {held['by']}, process {held['pid']}, since"
            f" {held['since']} ({held['why']}). It opens the site itself, when it has been"
            " verified. Nothing was changed. To open it anyway: salt-run mitx.maintenance"
            " off force=True"
        )
    return _orchestrate(
        "maintenance",
        environment,
        test,
        maintenance_to="site",
        maintenance_force=_switch("force", force),
    )


@_spoken
def status(environment=None):
    """
    Tell what is true now: the run and its phases, who holds the environment, DNS, load balancers,
    fleets, and the next command.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.status
    """
    found = _functions(environment)["mitx_upgrade.get_status"]()
    card = found.pop("card")
    return _screen(card) if __opts__.get("output") in _TERMINAL else found


@_spoken
def backstage(environment=None):
    """
    Print how to get to the site behind its load balancers while visitors see the page: lines to
    paste, for ``curl``, ``/etc/hosts`` and a browser.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.backstage
    """
    found = _functions(environment)["mitx_site.get_ways"]()
    return "\n".join(found) if __opts__.get("output") in _TERMINAL else found


@_spoken
def watch(environment=None, seconds=None):
    """
    Follow a run from a second terminal. There it is one screen, redrawn each second: phases, what
    is waited for, what visitors see, what is left of the window; begun before the run, it waits for
    it. Elsewhere it is a line for every change of a phase, until nobody holds the
    environment. Ends after so many ``seconds``, if given. Ctrl-C leaves it; the run goes on.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.watch
    """
    functions = _functions(environment)
    follow = functions["mitx_upgrade.follow"]
    terminal = sys.stdout.isatty() and __opts__.get("output") in _TERMINAL
    if terminal and functions["mitx_upgrade.draw"]()["text"] is not None:
        _redraw(functions, _functions(environment), seconds)
        return _watched(follow())
    began, seen = time.monotonic(), follow()
    # What Ctrl-C comes as. It is how one stops looking.
    with contextlib.suppress(SystemExit):
        while seen["run"]:
            for line in seen["news"]:
                salt.utils.stringutils.print_cli(line)
            if not seen["locked_by"] or (
                seconds is not None and time.monotonic() - began >= float(seconds)
            ):
                break
            time.sleep(1)
            seen = follow(seen["lines"])
    return _watched(seen)


def _look_on(functions, seen, left):
    while not left.is_set():
        # Whoever watches goes on watching.
        try:
            seen["visitors"] = functions["mitx_site.get_visitors"]()
        except CommandExecutionError as err:
            seen["visitors"] = f"cannot be looked at: {err}"
        left.wait(_VISITORS)


def _watched(seen):
    return _screen(
        {
            "run": seen["run"] or "not begun",
            "locked_by": seen["locked_by"] or "nobody",
            "next": seen["next"],
        }
    )


def _redraw(functions, others, seconds):
    """
    One screen, until the run is over or somebody leaves. What visitors see is looked at beside it,
    with functions of its own: a site that does not answer must not hold the screen.
    """
    began, seen, left = time.monotonic(), {"visitors": "…"}, threading.Event()
    threading.Thread(target=_look_on, args=(others, seen, left), daemon=True).start()
    sys.stdout.write(_SCREEN)
    try:
        # What Ctrl-C comes as.
        with contextlib.suppress(SystemExit):
            while seconds is None or time.monotonic() - began < float(seconds):
                size = shutil.get_terminal_size()
                drawn = functions["mitx_upgrade.draw"](seen["visitors"], size.columns)
                if drawn["over"]:
                    break
                lines = drawn["text"].splitlines()[: size.lines - 1]
                sys.stdout.write(_HOME + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
                sys.stdout.flush()
                time.sleep(1)
    finally:
        left.set()
        sys.stdout.write(_LEFT)
        sys.stdout.flush()


@_spoken
def approve(environment=None, gate="verify", note="", test=False):
    """
    Say: I have looked at the site, open it. The window waits for this at ``verify``. With
    ``gate=close``, days or hours before: I have looked at the plan, the window may begin as it is
    (``gate.before_window``).

    CLI Example:

    .. code-block:: bash

        salt-run mitx.approve note='logged in, opened a course, submitted a problem'
        salt-run mitx.approve gate=close note='looked at the plan with Ann'
    """
    give = _functions(environment)["mitx_upgrade.approve"]
    return give(gate, note, _switch("test", test))


@_spoken
def swap_elb(environment=None, test=False):
    """
    Register the new fleet with its load balancers, and when it is healthy in all of them take the
    old one out.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.swap_elb test=True
    """
    return _orchestrate("swap_elb", environment, test)


@_spoken
def rebase(
    environment=None,
    resume=False,
    abort=False,
    accept=None,
    drop=None,
    carry=None,
    forget=None,
    test=False,
):
    """
    Rebase MIT's patches onto the new release and push, the old tip kept. After a conflict that was
    solved by hand the same command, or ``resume=True``, goes on; ``abort=True`` throws the
    half-done rebase away, origin was never touched.

    accept, drop, carry
        What a refusal or a plan has named, several with commas between them: see
        ``docs/release.md``.
    forget
        Paths, or shas of patches: what was solved there the last time was wrong, and is asked anew.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rebase test=True
    """
    if not _switch("abort", abort):
        return _orchestrate(
            "rebase",
            environment,
            test,
            release_accept=accept,
            release_drop=drop,
            release_carry=carry,
            release_forget=forget,
            release_resume=_switch("resume", resume),
        )
    if _switch("test", test):
        return {"would remove": "the rebase that waits for a human, if there is one"}
    return _functions(environment)["mitx_release.abort_rebase"]()


@_spoken
def release_backups(environment=None):
    """
    List where the release branch was before each of its last changes, the latest first.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.release_backups
    """
    return {"backups": _functions(environment)["mitx_release.list_backups"]()}


@_spoken
def restore_release(backup=None, environment=None, test=False):
    """
    Put the release branch back to one of ``mitx.release_backups``, by its name or sha; where it is
    now becomes a backup itself.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.restore_release backup=0123456789abcdef0123456789abcdef01234567
    """
    return _orchestrate("restore_release", environment, test, release_backup=_text(backup))


@_spoken
def create_release(environment=None, test=False):
    """
    Create the release branch ``mitx/<codename>`` on origin from edX's first
    ``open-release/<codename>.master``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.create_release test=True
    """
    return _orchestrate("create_release", environment, test)


@_spoken
def copy_release(environment=None, names=None, test=False):
    """
    Copy edX's release branches of this codename into origin under the same names, never by force:
    for pull requests against them.

    names
        Which branches or tags instead, with commas between them.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.copy_release test=True
        salt-run mitx.copy_release names=open-release/koa.rc3
    """
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    return _orchestrate("copy_release", environment, test, release_names=names)


@_spoken
def retire(environment=None, force=False, test=False):
    """
    Destroy the old fleet, by exact name and recorded instance id, ``retire.after`` hours after the
    site was opened; with ``force=True`` without waiting for that.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.retire test=True
    """
    return _phases("retire", environment, test, retire_force=_switch("force", force))


@_spoken
def rollback(
    environment=None,
    database_restored=False,
    accept_new_schema=False,
    stop_only=False,
    restore=False,
    test=False,
):
    """
    Go back to the old fleet, from wherever the window stands. After ``migrate``, ``restore=True``
    has the orchestration ``rollback.restore`` restore the databases while nothing runs on them; or
    say which is true: ``database_restored=True`` or ``accept_new_schema=True``. To restore them by
    hand, say ``stop_only=True`` first: that ends with the page up and the new fleet stopped.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.rollback test=True
    """
    said = {
        "database_restored": database_restored,
        "accept_new_schema": accept_new_schema,
        "stop_only": stop_only,
        "restore": restore,
    }
    said = {key: _switch(key, value) for key, value in said.items()}
    return _phases("rollback", environment, test, rollback=said)


@_spoken
def configure(environment=None, test=False):
    """
    Update the configuration of the fleet that serves, and restart its processes.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.configure
    """
    return _orchestrate("configure", environment, test)


@_spoken
def redeploy(environment=None, test=False):
    """
    Bring the fleet that serves to the tip of origin's release branch, check every host's HEAD, and
    restart its processes.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.redeploy
    """
    return _orchestrate("redeploy", environment, test)


@_spoken
def resume_build(environment=None, test=False):
    """
    Configure the base instances of an interrupted ``build`` again, so that it can be run again.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.resume_build
    """
    return _orchestrate("resume_build", environment, test)


@_spoken
def fence(minion, started=None):
    """
    Cut a new worker off from the queues, if a run deploys it now: for the master's reactor, when
    the worker's minion starts. Any other minion is left alone.

    minion
        Its id, which tells the environment.
    started
        When its minion started (UTC, ISO 8601), as Salt's event says. The command that deploys has
        a process that fences sooner; as long as that lives it is given 20 seconds. Without this the
        worker is fenced at once.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.fence edx-worker-mitx-qa-next-residential-live-0-v1
    """
    known = list((_opts()["pillar"].get("mitx") or {}).get("environments") or ())
    mine = [name for name in known if str(minion).startswith(f"edx-worker-{name}-")]
    if not mine:
        return f"{minion} is left alone: it is no worker of {', '.join(known) or 'any environment'}"
    return _functions(max(mine, key=len))["mitx_hosts.fence_worker"](str(minion), started)


@_spoken
def tell(event, error="", command="", test=False):
    """
    Tell a chat, and the monitoring, what a run has come to (pillar ``notify``): for the master's
    reactor, at each event of a run.

    event
        The tag of the event: ``mitx/<environment>/<run>/<phase>/<status>``.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.tell mitx/mitx-qa/20261220T020000Z-koa-1a2b3c/close/started test=True
    """
    words = str(event).split("/")
    if len(words) != 5 or words[0] != "mitx":
        raise CommandExecutionError(
            f"{event!r} is no event of a run: mitx/<environment>/<run>/<phase>/<status>"
        )
    _, environment, _, phase, status = words
    told = _functions(environment)["mitx_site.tell"]
    return told(phase, status, error, command, _switch("test", test))


@_spoken
def discard_build(environment=None, test=False):
    """
    Throw away what is left of a build that broke off: the base instances, and the one AMI of two,
    so that ``build`` can be run again.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.discard_build test=True
    """
    return _orchestrate("discard_build", environment, test)


@_spoken
def iam_policy(environment=None):
    """
    Print the smallest IAM policy for the credentials of an environment, as JSON.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.iam_policy mitx-qa
    """
    found = _functions(environment)["mitx_upgrade.get_policy"]()
    return found if __opts__.get("output") not in _TERMINAL else json.dumps(found, indent=2)


@_spoken
def patches(environment=None):
    """
    List MIT's own patches on the release branch, and what would become of each.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.patches
    """
    found = _functions(environment)["mitx_release.list_patches"]()
    if __opts__.get("output") not in _TERMINAL:
        return found
    return "\n".join(map(_patch, found)) or "No patch of our own is on the branch"


@_spoken
def report(environment=None):
    """
    Tell the run from its journal: how long each phase took and what it waited for meanwhile, and
    how often which call was made.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.report
    """
    return _functions(environment)["mitx_upgrade.get_times"]()


def file_root():
    """
    Return the path for ``file_roots`` that holds ``orchestrate/mitx``: of the pip-installed
    package, or this tree.

    CLI Example:

    .. code-block:: bash

        salt-run mitx.file_root
    """
    here = pathlib.Path(__file__).resolve().parent.parent
    return str(here / "file_root" if (here / "file_root").is_dir() else here)


def _orchestrate(name, environment, test, **said):
    """
    Run ``orchestrate.mitx.<name>``; a dry run is told as lines.
    """
    answer = _start(name, environment, test, **said)
    if test:
        return _narrated(answer)
    failed = [state for state in _in_order(answer) if state.get("result") is False]
    if failed and not any(_ADVICE in str(state.get("comment")) for state in failed):
        # The last thing that is read.
        failed[-1]["comment"] = f"{failed[-1].get('comment')}\n{_again()}"
    return answer


def _start(name, environment, test, **said):
    """
    Run ``orchestrate.mitx.<name>`` here and now, with what was said as pillar.
    """
    _switch("test", test)
    # Looks at the settings first: a wrong one is then told in one line, not as an SLS that does not
    # render.
    _functions(environment)["mitx_run.get_settings"]()
    mine = {key: value for key, value in said.items() if value is not None}
    if environment:
        mine["environment"] = environment
    # Said in so many words: left out, the master's configuration decides (test, saltenv).
    environments = {key: __opts__[key] for key in ("saltenv", "pillarenv") if __opts__.get(key)}
    return __salt__["state.orchestrate"](
        f"orchestrate.mitx.{name}", pillar={"mitx": mine}, test=test, **environments
    )


def _phases(name, environment, test, **said):
    """Run an orchestration of phases; what became of each, and at the end what is next."""
    answer = _start(name, environment, test, **said)
    if test:
        return _narrated(answer)
    states = _in_order(answer)
    wrong = [state for state in states if state.get("result") is False]
    told = [state for state in wrong if not _silent(state)]
    if wrong or not states:
        lines = [str(state.get("comment")) for state in told or wrong] or [str(answer["data"])]
        text = "\n".join(lines)
        return _failure(text if _ADVICE in text else f"{text}\n{_again()}")
    done = [str(state.get("comment")) for state in states]
    now = _functions(environment)["mitx_upgrade.get_status"]()
    return _screen(
        {
            "done": done,
            **{key: now[key] for key in ("state", "why", "visitors", "true_now", "next")},
        }
    )


def _again():
    """What to type next where nothing else was advised: the same command."""
    typed = [__opts__.get("fun"), *(__opts__.get("arg") or ())]
    command = shlex.join(["salt-run", *map(str, typed)]) if typed[0] else "the same command"
    return f"Next, when that is put right: {command}"


def _patch(patch):
    """A line of at most 100 characters: a hundred of them fit on two screens."""
    seconds = patch["date"].partition(" ")[0]
    date = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    author = patch["author"].partition(" <")[0]
    line = f"{patch['sha'][:10]} {date:%Y-%m-%d} {author[:18]:<18} {patch['fate']:<8} "
    return f"{line}{patch['subject']}"[:100].rstrip()


def _names_shown(found):
    """A line for each host name; all that is known of it where ``--out`` asks for data."""
    if __opts__.get("output") not in _TERMINAL:
        return found
    names = {name: _name_shown(known) for name, known in found["host names"].items()}
    wrong = [
        f"{one['point']}: {one['found']}. {one['fix']}"
        for one in found["distribution"]
        if not one["ok"]
    ]
    return _screen({**names, "distribution": wrong or "as it must be"})


def _name_shown(known):
    """Each thing once, in as many words as it needs."""
    words = [f"record: {known['shows'] or known['record']}", f"visitors: {known['visitor']}"]
    return "; ".join([*words, *([f"PROBLEM: {known['problem']}"] if known["problem"] else [])])


def _in_order(answer):
    states = next(iter(answer["data"].values()), None)
    found = states.values() if isinstance(states, dict) else ()
    return sorted(found, key=lambda state: state.get("__run_num__", 0))


def _silent(state):
    """What is skipped because of a failure before it says nothing of its own."""
    return str(state.get("comment")).startswith(("One or more requisite failed", "Not planned: "))


def _screen(data):
    """Text for a terminal, in its order; the data itself where ``--out`` asks for another form."""
    if __opts__.get("output") not in _TERMINAL:
        return data
    shown = {key: value for key, value in data.items() if value not in (None, "", [])}
    width = max(map(len, shown)) + 2
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = []
    for key, value in shown.items():
        texts = [one for one in (value if isinstance(value, list) else [value]) if one != ""]
        room = None if key in _PASTED else columns - width
        told = [line for text in texts for line in _wrapped(str(text), room)]
        labels = [key.replace("_", " "), *[""] * len(told)]
        lines += [f"{label:<{width}}{line}" for label, line in zip(labels, told, strict=False)]
    return "\n".join(lines)


def _wrapped(text, room):
    """The lines of a text, no longer than there is room for; nowhere, where nobody looks."""
    lines = text.splitlines() or [""]
    if room is None or room < _LEAST or _ADVICE in text:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, room, **_AS_IT_IS) or [""]]


def _narrated(answer):
    """
    A dry run as lines in their order, whatever ``state_output`` the master shows states by; exit
    status 1 if it fails.
    """
    states = _in_order(answer)
    if not states:
        return answer
    told = [state for state in states if not _silent(state)]
    lines = [line for state in told for line in str(state.get("comment")).splitlines()]
    failed = [state for state in told if state.get("result") is False]
    if failed:
        problem = f"Something stands in the way of {', '.join(_ids(failed))}"
        return {**_failure(problem), "plan": lines}
    return "\n".join(lines) if __opts__.get("output") in _TERMINAL else {"plan": lines}


def _functions(environment=None, test=False):
    """The execution modules, for a choice of the environment."""
    return salt.loader.minion_mods(_opts(environment, test))


def _opts(environment=None, test=False):
    """
    The master's options with its own pillar, compiled once: what ``salt.cmd … with_pillar=True``
    does, and a choice of the environment.
    """
    opts = copy.deepcopy(__opts__)
    opts["grains"] = salt.loader.grains(opts)
    opts["file_client"] = "local"
    opts["test"] = bool(test)
    override = {"mitx": {"environment": environment}} if environment else {}
    # Fresh, whatever the master caches.
    opts["pillar"] = salt.pillar.get_pillar(
        {**opts, "pillar_cache": False},
        opts["grains"],
        opts["id"],
        opts.get("saltenv") or "base",
        pillar_override=override,
        pillarenv=opts.get("pillarenv"),
    ).compile_pillar()
    if opts["pillar"].get("_errors"):
        raise CommandExecutionError(
            "The pillar does not render: " + "; ".join(map(str, opts["pillar"]["_errors"]))
        )
    return opts


def _switch(name, value):
    """
    Safety switches are true or false: ``n`` and ``no`` come from a command line as texts that are
    true.
    """
    if not isinstance(value, bool):
        raise CommandExecutionError(f"{name}=True or {name}=False, not {value!r}")
    return value


def _text(value):
    return None if value is None else str(value)
