"""``python -m sandbox.hosts --dir $SANDBOX [--stop]``."""

import argparse
import os
import pathlib
import sys

from sandbox.hosts import record, watcher


def main(argv=None):
    """
    Watch until SIGTERM, which ends the hosts too; ``--stop`` ends watcher and hosts from outside,
    also after a kill.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.hosts", description="The sandbox's hosts."
    )
    parser.add_argument(
        "--dir", default=os.environ.get("SANDBOX", ".sandbox"), help="the sandbox's folder"
    )
    parser.add_argument("--stop", action="store_true", help="end the watcher and every host")
    parser.add_argument("--instances", help="take the instances from this JSON file, not from AWS")
    options = parser.parse_args(argv)
    sandbox = pathlib.Path(options.dir).resolve()
    config = record.read(sandbox / "config.json")
    if config is None:
        sys.exit(f"no sandbox in {sandbox}: it has no config.json")
    try:
        if options.stop:
            return watcher.stop(sandbox, config)
        watcher.watch(sandbox, config, _source(options.instances, config))
    except (watcher.Busy, TimeoutError) as err:
        sys.exit(str(err))


def _source(file, config):
    if file:
        return lambda: record.read(file) or []
    from sandbox.hosts import aws  # boto3 is large: only who asks AWS loads it

    ec2 = aws.client(config)
    boot = pathlib.Path(config["directory"]) / "boot" if config.get("salt_ops") else None
    return lambda: aws.instances(ec2, boot)


if __name__ == "__main__":
    sys.exit(main())
