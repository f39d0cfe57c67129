"""
Migrations: per purpose, once, and only while nothing of the purpose runs
==========================================================================

Each purpose has databases of its own, so each is migrated by its own new instance, the first web host of it; all
purposes at once, command by command (``migrate.commands``). What is unapplied is listed by ``migrate.pending`` before
and after; nothing unapplied: nothing is run.

On the host a command holds a lock and writes to a file, so that a ``salt-run`` killed in the middle leaves a migration that
the next one finds: it waits for the end of it instead of running a second beside it. The file is mirrored into the run's folder
all the while.
"""

import shlex

from salt.exceptions import CommandExecutionError

# On the host, below the home of services.user: lock and output of a run's migrations.
_HOME = "~/.mitx-upgrade"
_BUSY = 75
_MARK = "@@ "
# Bytes of output that are mirrored into the run's folder: the last so many.
_MIRRORED = 1 << 20


def __virtual__():
    return True


def hosts(fleet):
    """
    Return the instance that migrates each purpose of a fleet: ``{purpose: minion}``, the first web host. The same on
    every rerun.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_migrations.hosts '[]' with_pillar=True
    """
    purposes = sorted({one["purpose"] for one in fleet})
    found = {}
    for purpose in purposes:
        web = sorted(one["name"] for one in fleet if one["purpose"] == purpose and one["role"] == "edx")
        if not web:
            raise CommandExecutionError(f"No new web instance of {purpose} is there to migrate its databases")
        found[purpose] = web[0]
    return found


def pending(fleet, settings=None):
    """
    Return what is unapplied: ``{purpose: {name: [migrations]}}`` with the names of ``migrate.pending``.

    Such a command prints one unapplied migration a line, or all with ``[X]`` or ``[ ]`` before each, as
    ``showmigrations --plan``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_migrations.pending '[]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    if not settings["migrate"]["pending"]:
        raise CommandExecutionError(
            "mitx:…:migrate:pending names no command, so nobody can tell what is unapplied. Nothing was run."
        )
    chosen = hosts(fleet)
    commands = settings["migrate"]["pending"]
    # One job for all lists; the first that fails ends it.
    lists = [f"echo {shlex.quote(_MARK + name)} && (\n{command}\n)" for name, command in commands.items()]
    script = " && ".join([_in_platform(settings), *lists])
    said = _ask(
        list(chosen.values()), script, settings, f"unapplied migrations ({', '.join(commands)})", settings["services"]["timeout"]
    )
    return {purpose: _lists(said[minion], commands) for purpose, minion in chosen.items()}


def migrate(old, new, settings=None):
    """
    Apply what is unapplied to the databases of each purpose of the fleet ``new`` (instances) and return it, as
    :py:func:`pending` does; empty lists: there was nothing to do.

    First every process of ``old`` and ``new`` is stopped, should one run again. Raises ``CommandExecutionError`` if one cannot be; if a
    command fails
    or its time runs out, with the path of its whole output; and if afterwards anything is still unapplied.

    CLI Example:

    .. code-block:: bash

        salt-run state.orchestrate orchestrate.mitx.window
    """
    settings = settings or __salt__["mitx_settings.get"]()
    chosen = hosts(new)
    await_earlier(new, settings)
    _stop([*old, *new], settings)
    before = pending(new, settings)
    keep(before)
    targets = {purpose: minion for purpose, minion in chosen.items() if any(before[purpose].values())}
    if targets:
        for step in _commands(settings):
            # A list by the same name tells that this command has nothing to do.
            todo = {purpose: minion for purpose, minion in targets.items() if before[purpose].get(step["name"], True)}
            if todo:
                _run(todo, step, settings)
        _require_applied(pending(new, settings))
    return before


def back_up(old, new, settings=None):
    """
    Do what must have been done before the first migration of a window, if anything is unapplied: record the id of the
    databases' snapshot, and run the orchestration ``migrate.before``, once, while every service of both fleets is
    stopped. After a rollback the site was written to again: then what was saved before it does not count.

    Raises ``CommandExecutionError`` if a snapshot is required and none was said, and if that orchestration fails.

    CLI Example:

    .. code-block:: bash

        salt-run state.orchestrate orchestrate.mitx.window
    """
    settings = settings or __salt__["mitx_settings.get"]()
    wanted = settings["migrate"]
    if not (wanted["snapshot_required"] or wanted["snapshot_id"] or wanted["before"]):
        return
    if not any(some for lists in pending(new, settings).values() for some in lists.values()):
        return
    if wanted["snapshot_required"] and not wanted["snapshot_id"]:
        raise CommandExecutionError(
            "A snapshot of the databases is required before they are migrated. Nothing was migrated. Take it, then run again "
            "with pillar='{mitx: {migrate: {snapshot_id: …}}}'"
        )
    since = __salt__["mitx_phase.taken_back"]()
    if wanted["snapshot_id"]:
        earlier = [line for line in __salt__["mitx_journal.entries"](event="snapshot") if line["id"] == wanted["snapshot_id"]]
        if any(line["time"] < since for line in earlier):
            raise CommandExecutionError(
                f"The snapshot {wanted['snapshot_id']} was taken before the window was rolled back at {since}, and the site was written to "
                "since. Nothing was migrated. Take another one, then run again with pillar='{mitx: {migrate: {snapshot_id: …}}}'"
            )
        __salt__["mitx_journal.write"]("snapshot", id=wanted["snapshot_id"])
    if wanted["before"] and not any(line["time"] > since for line in __salt__["mitx_journal.entries"](event="backed_up")):
        # A backup of databases that are still written to restores to nothing in particular.
        _stop([*old, *new], settings)
        environ = {"ENVIRONMENT": settings["environment"], "PURPOSES": ",".join(settings["purposes"])}
        pillar = __salt__["mitx_orchestrate.inherited"](__pillar__["mitx"].get("run"))
        failures = __salt__["mitx_orchestrate.run"](wanted["before"], environ=environ, pillar=pillar)["failures"]
        if failures:
            raise CommandExecutionError(f"Nothing was migrated, {wanted['before']} failed:\n  - " + "\n  - ".join(failures))
        __salt__["mitx_journal.write"]("backed_up", sls=wanted["before"])


def await_earlier(new, settings=None):
    """
    Wait for the end of a migration that an interrupted command has left running on a host of the fleet ``new``
    (instances), and fetch its output.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_migrations.await_earlier '[]' with_pillar=True
    """
    settings = settings or __salt__["mitx_settings.get"]()
    chosen = hosts(new)
    lock = f"{_folder()}/lock"
    ask = f"if [ ! -e {lock} ]; then echo none; elif flock -n {lock} true; then echo ended; else echo running; fi"

    def look():
        said = {minion: text.strip() for minion, text in _ask(list(chosen.values()), ask, settings, "earlier migration").items()}
        for step in _commands(settings) if set(said.values()) != {"none"} else ():
            _mirror(chosen, step, settings)
        busy = [minion for minion, state in said.items() if state == "running"]
        return not busy, f"it runs on {', '.join(busy)}"

    limit = settings["migrate"]["timeout"] + 60
    what = "End of the migration that an interrupted command has begun"
    __salt__["mitx_run.wait_until"](look, limit, 2, what, waits_for="migration")


def keep(unapplied):
    """
    Keep the lists of unapplied migrations in the run's folder and in its journal. Returns the path.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_migrations.keep '{}' with_pillar=True
    """
    lines = [f"{purpose} {name}: {one}" for purpose, lists in unapplied.items() for name, some in lists.items() for one in some]
    attempts = len(__salt__["mitx_journal.entries"](event="migrations"))
    path = __salt__["mitx_run.capture"](f"migrate/{attempts:02d}-unapplied.txt", "".join(f"{line}\n" for line in lines))
    counts = {purpose: {name: len(some) for name, some in lists.items()} for purpose, lists in unapplied.items()}
    __salt__["mitx_journal.write"]("migrations", unapplied=counts, output=path)
    return path


def command_line(step, settings):
    """
    Return the command line of one migration command on its host: under the host's lock, bounded, its output appended to
    a file. Exit status 75: another one is at work there.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_migrations.command_line '{name: lms, command: "true"}' with_pillar=True
    """
    folder, log = _folder(), _log(step["name"])
    work = __salt__["mitx_minions.bounded"](
        f"{_in_platform(settings)} && (\n{step['command']}\n)", settings["migrate"]["timeout"]
    )
    # The lock is inherited by everything the command starts: it is held as long as anything of it is alive.
    return (
        f"mkdir -p {folder} && exec 9>{folder}/lock || exit 1; "
        f"flock -n 9 || {{ echo 'another migration is at work here'; exit {_BUSY}; }}; "
        f'{{ date -u +"# %FT%TZ"; {work}; status=$?; echo "# exit status $status"; }} >>{log} 2>&1; '
        f"tail -c {_MIRRORED} {log}; exit $status"
    )


def _stop(fleet, settings):
    """Where all is stopped already, one look that proves it."""
    __salt__["mitx_services.stop"]([one["name"] for one in fleet], settings=settings)


def _in_platform(settings):
    return f"cd {__salt__['mitx_minions.quoted'](settings['services']['platform'])}"


def _run(todo, step, settings):
    """One command, on the host of each purpose at once."""
    # `timeout` on the host ends it before this.
    limit = settings["migrate"]["timeout"] + 60 + settings["timeouts"]["minions"]
    label = f"migration {step['name']} of {', '.join(todo)}"
    user = settings["services"]["user"]
    kwarg = {"python_shell": True, **({"runas": user} if user else {})}
    try:
        said = __salt__["mitx_minions.run"](
            list(todo.values()),
            "cmd.run_all",
            [command_line(step, settings)],
            kwarg,
            timeout=limit,
            label=label,
            meanwhile=lambda: _mirror(todo, step, settings),
        )
    except CommandExecutionError as err:
        kept = _mirror(todo, step, settings)
        raise CommandExecutionError(
            f"{err}\nThe whole output: {', '.join(kept) or 'could not be fetched'}. What was applied stays applied. The site stays on "
            "the maintenance page, both fleets stay stopped. Repair it, then run again, it goes on with what is unapplied: "
            f"{__salt__['mitx_phase.next_command']()}\n"
            "Or go back: salt-run mitx.rollback, with database_restored=True or accept_new_schema=True"
        ) from err
    for purpose, minion in todo.items():
        _keep(purpose, step, said[minion]["stdout"])


def _mirror(todo, step, settings):
    """
    Copy what the command has written so far into the run's folder; returns the paths. Best effort: what it cannot read
    now it reads next time.
    """
    log = _log(step["name"])
    try:
        said = _ask(
            list(todo.values()), f"[ ! -e {log} ] || tail -c {_MIRRORED} {log}", settings, f"output of migration {step['name']}"
        )
    except CommandExecutionError:
        return []
    return [_keep(purpose, step, said[minion]) for purpose, minion in todo.items() if said[minion]]


def _keep(purpose, step, text):
    return __salt__["mitx_run.capture"](f"migrate/{purpose}-{step['name']}.log", f"{text}\n")


def _ask(minions, command, settings, label, timeout=None):
    runas = settings["services"]["user"]
    return __salt__["mitx_minions.shell"](minions, command, timeout, runas=runas, change=False, label=label)


def _commands(settings):
    commands = settings["migrate"]["commands"]
    if not commands:
        raise CommandExecutionError("mitx:…:migrate:commands is empty, and migrations are unapplied. Nothing was run.")
    return commands


def _folder():
    run = __salt__["mitx_run.folder"]().rsplit("/", 1)[-1]
    return __salt__["mitx_minions.quoted"](f"{_HOME}/{run}")


def _log(name):
    return f"{_folder()}/{shlex.quote(name)}.log"


def _lists(text, names):
    """What each command of ``migrate.pending`` printed, after the line that names it."""
    printed = dict.fromkeys(names, "")
    name = None
    for line in text.splitlines():
        if line.removeprefix(_MARK) in names and line.startswith(_MARK):
            name = line.removeprefix(_MARK)
        elif name:
            printed[name] += f"{line}\n"
    return {one: _unapplied(lines) for one, lines in printed.items()}


def _unapplied(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("[X]", "[ ]"))]
    return [line.removeprefix("[ ]").strip() for line in marked if line.startswith("[ ]")] if marked else lines


def _require_applied(after):
    left = [f"{purpose}, {name}: {', '.join(some)}" for purpose, lists in after.items() for name, some in lists.items() if some]
    if left:
        raise CommandExecutionError(
            "Every migration command ended with exit status 0, and these are still unapplied:\n  - "
            + "\n  - ".join(left)
            + f"\nCompare mitx:…:migrate:commands with migrate:pending. Then run again: {__salt__['mitx_phase.next_command']()}"
        )
