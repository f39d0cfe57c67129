"""
The command line of the sandbox. What a command needs is imported by it: ``salt-run …`` should start
at once.
"""

import argparse
import pathlib
import shlex
import sys

from sandbox import config as settings
from sandbox.processes import DaemonFailed

TOOLS = ("salt", "salt-run", "salt-call", "salt-cloud", "salt-key")
POINTS = ("fresh", "prepared", "closed", "migrated", "attached", "done")


def main(argv=None):
    """Run one command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options, rest = parser().parse_known_args(argv)
    if rest and options.command not in TOOLS:
        parser().error(f"unknown arguments: {' '.join(rest)}")
    options.dir = pathlib.Path(options.dir).resolve()
    try:
        return options.run(options, rest) or 0
    except (settings.SandboxError, DaemonFailed) as err:
        print(f"sandbox: {err}", file=sys.stderr)
        return 1


def parser():
    """The arguments."""
    top = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__.partition(".")[0])
    top.add_argument(
        "--dir",
        default=str(settings.default_directory()),
        help="the sandbox's folder (%(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    up = _command(commands, "up", _up, "make sure that the sandbox stands; what runs is left alone")
    up.add_argument(
        "--at", choices=POINTS, default=None, help="then run the phases up to this point"
    )
    up.add_argument("--anew", action="store_true", help="from nothing, whatever stands")
    upgrade = _command(
        commands, "upgrade", _upgrade, "the whole upgrade, under the eyes of visitors"
    )
    rehearsal = _command(
        commands, "rehearsal", _rehearsal, "the same with a human at the gate, and the watch beside"
    )
    for command in (up, upgrade, rehearsal):
        command.add_argument(
            "--size",
            choices=sorted(settings.ENVIRONMENTS),
            help="qa unless a sandbox is there already",
        )
        command.add_argument(
            "--salt-ops", help="a checkout of salt-ops: its orchestrations in place of stand-ins"
        )
        command.add_argument(
            "--salt-extensions",
            help="a checkout of salt-extensions (the folder of that name beside salt-ops)",
        )
    breaking = _command(commands, "break", _break, "let something go wrong; without a name: what")
    breaking.add_argument("fault", nargs="?")
    _command(commands, "mend", _mend, "take every fault away")
    _command(commands, "down", _down, "stop every process of the sandbox")
    _command(commands, "status", _status, "what runs, and how far the upgrade is")
    _command(
        commands, "env", _env, "print the variables for a shell: eval $(python -m sandbox env)"
    )
    window = _command(commands, "window", _window, "show the announced window, or announce another")
    window.add_argument("--new", action="store_true", help="one that is open now")
    window.add_argument("--start", help="YYYY-MM-DD HH:MM in UTC")
    window.add_argument("--hours", type=float)
    for tool in TOOLS:
        commands.add_parser(tool, help=f"{tool} of the sandbox", add_help=False).set_defaults(
            run=_salt
        )
    return top


def _command(commands, name, run, text):
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _config(options):
    config = settings.read(options.dir)
    if config is None:
        raise settings.SandboxError(f"There is no sandbox in {options.dir}: python -m sandbox up")
    return config


def _given(options):
    from sandbox import salt_ops

    if not options.salt_ops and options.salt_extensions:
        raise settings.SandboxError("SALT_EXTENSIONS is said, and SALT_OPS is not: it needs both")
    if not options.salt_ops:
        return None
    beside = pathlib.Path(options.salt_ops).expanduser().resolve().parent / "salt-extensions"
    try:
        return salt_ops.read(options.salt_ops, options.salt_extensions or beside)
    except salt_ops.Unfit as err:
        raise settings.SandboxError(str(err)) from err


def _up(options, _):
    from sandbox import assembly, points

    config = assembly.up(options.dir, options.size, anew=options.anew, given=_given(options))
    if options.at:
        points.go(config, options.at)


def _upgrade(options, _):
    from sandbox import rehearsal

    return rehearsal.run(options.dir, options.size, given=_given(options))


def _rehearsal(options, _):
    from sandbox import rehearsal

    return rehearsal.run(options.dir, options.size, gate=True, given=_given(options))


def _break(options, _):
    from sandbox import breaking

    if options.fault is None:
        return print("\n".join(["python -m sandbox break <fault>:", *breaking.listed()]))
    if options.fault not in breaking.FAULTS:
        raise settings.SandboxError(
            f"There is no fault {options.fault}; expected one of {', '.join(breaking.FAULTS)}"
        )
    return breaking.put(_config(options), options.fault)


def _mend(options, _):
    from sandbox import breaking

    breaking.mend(_config(options))


def _down(options, _):
    from sandbox import assembly

    assembly.down(options.dir)


def _status(options, _):
    from sandbox import status

    return status.show(_config(options))


def _env(options, _):
    for name, value in settings.environment(_config(options)).items():
        print(f"export {name}={shlex.quote(value)}")


def _window(options, _):
    config = _config(options)
    if options.new or options.start or options.hours:
        from sandbox import pillar

        config["window"] = settings.new_window(config["window"], options.start, options.hours)
        settings.write(options.dir, config)
        pillar.write(config)
    print(
        f"{config['window']['start']} {config['window']['timezone']}, {config['window']['hours']}"
        " hours"
    )


def _salt(options, rest):
    from sandbox import master

    return master.run(_config(options), [options.command, *rest]).returncode
