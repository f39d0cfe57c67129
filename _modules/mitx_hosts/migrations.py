"""
Migrations: per purpose, once, and only while nothing of the purpose runs
==========================================================================

Each purpose has databases of its own, so each is migrated by its own new instance, the first web
host of it; all purposes at once, command by command (``migrate.commands``). What is unapplied is
listed by ``migrate.pending`` before and after; nothing unapplied: nothing is run.

On the host a command holds a lock and writes to a file, so that a ``salt-run`` killed in the middle
leaves a migration that the next one finds: it waits for the end of it instead of running a second
beside it. The file is mirrored into the run's folder all the while.
"""

import pathlib
import re
import shlex
import time

from salt.exceptions import CommandExecutionError

from mitx_hosts import ansible, jobs, services
from mitx_run import events, folders, phases, record, wait

# On the host, below the home of services.user: lock and output of a run's migrations.
_HOME = "~/.mitx-upgrade"

_BUSY = 75

_MARK = "@@ "

# A line of `showmigrations --plan`, or one migration alone.
_LISTED = re.compile(r"(?:\[(?P<mark>[ X])\]\s+)?(?P<migration>\w+\.\w+)(?:\s.*\(.*\))?\Z")

# What command_line writes before each attempt.
_BEGUN = re.compile(r"^# \d{4}-\d\d-\d\dT[\d:]+Z$", re.MULTILINE)

_APPLYING = re.compile(r"^\s*Applying (\w+)\.(\w+)\.\.\.", re.MULTILINE)

# What MySQL and MariaDB say of a change that was made already: theirs is not undone with the
# migration that was killed in the middle of it.
# source: https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
_HALF = re.compile(r"\((?:1050|1051|1060|1061|1091|1826), ['\"].*?['\"]\)")

# Bytes of output that are mirrored into the run's folder: the last so many.
_MIRRORED = 1 << 20


def hosts(fleet):
    """
    Return the instance that migrates each purpose of a fleet: ``{purpose: minion}``, the first web
    host. The same on every rerun.
    """
    purposes = sorted({one["purpose"] for one in fleet})
    found = {}
    for purpose in purposes:
        web = sorted(
            one["name"] for one in fleet if one["purpose"] == purpose and one["role"] == "edx"
        )
        if not web:
            raise CommandExecutionError(
                f"No new web instance of {purpose} is there to migrate its databases"
            )
        found[purpose] = web[0]
    return found


def pending(run, fleet):
    """
    Return what is unapplied: ``{purpose: {name: [migrations]}}`` with the names of
    ``migrate.pending``.

    Such a command prints one unapplied migration a line, or all with ``[X]`` or ``[ ]`` before
    each, as ``showmigrations --plan``. Any other line is an error.
    """
    if not run.settings["migrate"]["pending"]:
        raise CommandExecutionError(
            "mitx:…:migrate:pending names no command, so nobody can tell what is unapplied. Nothing"
            " was run."
        )
    chosen = hosts(fleet)
    commands = run.settings["migrate"]["pending"]
    # One job for all lists; the first that fails ends it.
    lists = [
        f"echo {shlex.quote(_MARK + name)} && (\n{command}\n)" for name, command in commands.items()
    ]
    script = " && ".join([_in_platform(run.settings), *lists])
    said = _ask(
        run,
        list(chosen.values()),
        script,
        f"unapplied migrations ({', '.join(commands)})",
        run.settings["services"]["timeout"],
    )
    found, strange = {}, []
    for purpose, minion in chosen.items():
        found[purpose], lines = _lists(said[minion], commands)
        strange += [f"{minion}, migrate:pending:{line}" for line in lines]
    if strange:
        raise CommandExecutionError(
            "What these lists of unapplied migrations say is not understood:\n  - "
            + "\n  - ".join(strange)
            + "\nNothing was run. Expected: one migration (app.0001_name) a line, or what"
            " `showmigrations --plan` prints; system check warnings belong to stderr"
        )
    return found


def migrate(run, old, new):
    """
    Apply what is unapplied to the databases of each purpose of the fleet ``new`` (instances) and
    return it, as :py:func:`pending` does; empty lists: there was nothing to do.

    First every process of ``old`` and ``new`` is stopped, should one run again. Raises
    ``CommandExecutionError`` if one cannot be; if a command fails or its time runs out, with the
    path of its whole output; and if afterwards anything is still unapplied.
    """
    chosen = hosts(new)
    await_earlier(run, new)
    _stop(run, [*old, *new])
    before = pending(run, new)
    keep(run, before)
    targets = {
        purpose: minion for purpose, minion in chosen.items() if any(before[purpose].values())
    }
    if targets:
        for step in _commands(run.settings):
            # A list by the same name tells that this command has nothing to do.
            todo = {
                purpose: minion
                for purpose, minion in targets.items()
                if before[purpose].get(step["name"], True)
            }
            if todo:
                _run(run, todo, step)
        _require_applied(run, pending(run, new))
    return before


def await_earlier(run, new):
    """
    Wait for the end of a migration that an interrupted command has left running on a host of the
    fleet ``new`` (instances), and fetch its output.
    """
    chosen = hosts(new)
    lock = f"{_folder(run)}/lock"
    ask = (
        f"if [ ! -e {lock} ]; then echo none; elif flock -n {lock} true; then echo ended; else echo"
        " running; fi"
    )

    def look():
        said = {
            minion: text.strip()
            for minion, text in _ask(run, list(chosen.values()), ask, "earlier migration").items()
        }
        for step in _commands(run.settings) if set(said.values()) != {"none"} else ():
            _mirror(run, chosen, step)
        busy = [minion for minion, state in said.items() if state == "running"]
        return not busy, f"it runs on {', '.join(busy)}"

    limit = run.settings["migrate"]["timeout"] + 60
    what = "End of the migration that an interrupted command has begun"
    wait.until(run, look, limit, 2, what, waits_for="migration")


def keep(run, unapplied):
    """
    Keep the lists of unapplied migrations in the run's folder and in its journal. Returns the path.
    """
    lines = [
        f"{purpose} {name}: {one}"
        for purpose, lists in unapplied.items()
        for name, some in lists.items()
        for one in some
    ]
    attempts = len(events.read(run, "migrations"))
    path = record.capture(
        run, f"migrate/{attempts:02d}-unapplied.txt", "".join(f"{line}\n" for line in lines)
    )
    events.write(run, "migrations", unapplied=count(unapplied), output=path)
    return path


def count(unapplied):
    """
    Return how many are unapplied: ``{purpose: {name: number}}``.
    """
    numbers = {}
    for purpose, lists in unapplied.items():
        numbers[purpose] = {name: len(some) for name, some in lists.items()}
    return numbers


def command_line(run, step):
    """
    Return the command line of one migration command on its host: under the host's lock, bounded,
    its output appended to a file. Exit status 75: another one is at work there.
    """
    folder, log = _folder(run), _log(run, step["name"])
    work = jobs.bounded(
        f"{_in_platform(run.settings)} && (\n{step['command']}\n)",
        run.settings["migrate"]["timeout"],
    )
    # The lock is inherited by everything the command starts: it is held as long as anything of it
    # is alive.
    return (
        f"mkdir -p {folder} && exec 9>{folder}/lock || exit 1; "
        f"flock -n 9 || {{ echo 'another migration is at work here'; exit {_BUSY}; }}; "
        f'{{ date -u +"# %FT%TZ"; {work}; status=$?; echo "# exit status $status"; }} >>{log}'
        " 2>&1; "
        f"tail -c {_MIRRORED} {log}; exit $status"
    )


def _stop(run, fleet):
    """Where all is stopped already, one look that proves it."""
    services.stop(run, [one["name"] for one in fleet])


def _in_platform(settings):
    return f"cd {jobs.quoted(settings['services']['platform'])}"


def _run(run, todo, step):
    """One command, on the host of each purpose at once."""
    # `timeout` on the host ends it before this.
    limit = run.settings["migrate"]["timeout"] + 60 + run.settings["timeouts"]["minions"]
    label = f"migrate {step['name']} of {', '.join(todo)}"
    user = run.settings["services"]["user"]
    kwarg = {"python_shell": True, **({"runas": user} if user else {})}
    began = time.monotonic()
    try:
        said = jobs.execute(
            run,
            list(todo.values()),
            "cmd.run_all",
            [command_line(run, step)],
            kwarg,
            timeout=limit,
            label=label,
            meanwhile=lambda: _mirror(run, todo, step),
        )
    except CommandExecutionError as err:
        kept = _mirror(run, todo, step)
        raise CommandExecutionError(
            f"{err}{_half_applied(kept)}"
            f"\nThe whole output: {', '.join(kept) or 'could not be fetched'}. What was"
            " applied stays applied. The site stays on the maintenance page, both fleets stay"
            " stopped. Repair it, then run again, it goes on with what is unapplied:"
            f" {phases.next_command(run)}\nOr go back: {_back(run)}"
        ) from err
    finally:
        seconds = round(time.monotonic() - began, 3)
        events.write(run, "wait", waits_for="migration", what=label, seconds=seconds)
    for purpose, minion in todo.items():
        _keep(run, purpose, step, said[minion]["stdout"])


def _mirror(run, todo, step):
    """
    Copy what the command has written so far into the run's folder; returns the paths. Best effort:
    what it cannot read now it reads next time.
    """
    log = _log(run, step["name"])
    try:
        said = _ask(
            run,
            list(todo.values()),
            f"[ ! -e {log} ] || tail -c {_MIRRORED} {log}",
            f"output of migration {step['name']}",
        )
    except CommandExecutionError:
        return []
    return [
        _keep(run, purpose, step, said[minion]) for purpose, minion in todo.items() if said[minion]
    ]


def _keep(run, purpose, step, text):
    return record.capture(run, f"migrate/{purpose}-{step['name']}.log", f"{text}\n")


def _ask(run, minions, command, label, timeout=None):
    runas = run.settings["services"]["user"]
    return jobs.shell(run, minions, command, timeout, runas=runas, change=False, label=label)


def _commands(settings):
    commands = settings["migrate"]["commands"]
    if not commands:
        raise CommandExecutionError(
            "mitx:…:migrate:commands is empty, and migrations are unapplied. Nothing was run."
        )
    return commands


def _folder(run):
    run_id = folders.folder(run).rsplit("/", 1)[-1]
    return jobs.quoted(f"{_HOME}/{run_id}")


def _log(run, name):
    return f"{_folder(run)}/{shlex.quote(name)}.log"


def _lists(text, names):
    """
    What each command of ``migrate.pending`` printed, after the line that names it: ``({name:
    [migrations]}, [lines that are not understood])``.
    """
    found, strange, name = {one: [] for one in names}, [], None
    for line in map(str.strip, ansible.COLOUR.sub("", text).splitlines()):
        if line.startswith(_MARK) and line.removeprefix(_MARK) in names:
            name = line.removeprefix(_MARK)
            continue
        listed = _LISTED.match(line)
        if listed and listed["mark"] != "X":
            found[name].append(listed["migration"])
        elif line and not listed:
            strange.append(f"{name}: {line[:200]!r}")
    return found, strange


def _back(run):
    sls = run.settings["rollback"]["restore"]
    by_itself = (
        f"salt-run mitx.rollback restore=True has {sls} restore the databases; or " if sls else ""
    )
    return (
        f"{by_itself}salt-run mitx.rollback, with database_restored=True or accept_new_schema=True"
    )


def _half_applied(kept):
    """
    What to say of a migration that met its own changes: one before it was ended in the middle.
    ``kept`` are the files of the outputs.
    """
    for path in kept:
        last = _BEGUN.split(pathlib.Path(path).read_text(encoding="utf-8"))[-1]
        known, applying = _HALF.search(last), _APPLYING.findall(last)
        if known and applying:
            app, name = applying[-1]
            return (
                f"\n{app}.{name} was begun before and ended in the middle: {known[0]}. MySQL keeps"
                " what it had changed by then. Either restore the databases (below), or finish by"
                f" hand what is missing of it, then mark it as applied: manage.py … migrate --fake"
                f" {app} {name}, and run again."
            )
    return ""


def _require_applied(run, after):
    left = [
        f"{purpose}, {name}: {', '.join(some)}"
        for purpose, lists in after.items()
        for name, some in lists.items()
        if some
    ]
    if left:
        raise CommandExecutionError(
            "Every migration command ended with exit status 0, and these are still unapplied:\n  - "
            + "\n  - ".join(left)
            + "\nCompare mitx:…:migrate:commands with migrate:pending. Then run again:"
            f" {phases.next_command(run)}"
        )
