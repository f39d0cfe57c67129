"""
How many calls to AWS swap one fleet for another behind two load balancers: ours, and Salt's own
``boto_ec2`` and ``boto_elb``.

Both in one run, on one fake AWS, whose log of calls is what is counted. The two do the same: new
instances in by name, InService three times in a row, old ones out, drained. ``python
benchmarks/elb_swap.py [--json FILE] [--sizes 1,18,500]``

It fails when the number of our own calls grows with that of the instances, or passes 12 and the
polls; 6 in all when nothing is to do.

Salt 3008 ships neither module, and the boto that they need stops at Python 3.11: then only ours is
measured.
"""

import argparse
import json
import logging
import os
import pathlib
import sys
import tempfile
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import salt._logging  # noqa: E402
import salt.config  # noqa: E402
import salt.loader  # noqa: E402
import salt.utils.yaml  # noqa: E402
from moto.ec2.models.core import TaggedEC2Resource  # noqa: E402
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix  # noqa: E402

from sandbox.aws import FakeAWS  # noqa: E402
from tests.support.fleets import QUICK, World  # noqa: E402
from tests.support.rooms import Modules  # noqa: E402

POLL = "describe_instance_health"
# Of a swap the polls do not count: how many there are, AWS's own time decides. With nothing to do
# it is looked once.
MOST, MOST_IDLE = 12, 6
REGION = {"region": "us-east-1"}
# What boto 2 needs to find a local AWS. It is read when boto is imported.
BOTO = (
    "[Boto]\nis_secure = False\nproxy = 127.0.0.1\nproxy_port = {port}\nnum_retries ="
    " 0\n[ec2]\nuse-sigv4 = True\n"
)


class Bench:
    """
    ``count`` old web instances behind two load balancers, as many new ones launched, both recorded
    as in the window (without workers: no load balancer holds them), and Salt's loader with our
    modules in it.
    """

    def __init__(self, aws, folder, count):
        self.aws = aws
        aws.reset()
        self.salt = load(folder, count)
        self.settings = self.salt.modules["mitx_run.settings.get"]()
        self.world = World(aws, self.settings)
        self.world.balancers()
        self.old, self.new = self._web("juniper", 3), self._web("koa", 1)
        self.world.register(self.old)
        # Making boto3's clients takes longer than the calls; it is done once a process, and not
        # what is compared.
        there = self.salt.modules["mitx_fleet.fleets.current"]()
        self.salt.modules["mitx_run.record.begin"]("bench")
        self.salt.modules["mitx_run.record.pin"]("old_fleet", there)
        self.salt.modules["mitx_run.record.pin"](
            "new_fleet", self.salt.modules["mitx_fleet.fleets.new"](release=1)["instances"]
        )

    def _web(self, codename, release):
        names = {
            one["name"].format(release=release): one["purpose"]
            for one in self.settings["instances"]
            if one["role"] == "edx"
        }
        return {
            name: self.world.launch(name, "edx", purpose, codename, release)
            for name, purpose in names.items()
        }

    def ours(self):
        """The swap as our state makes it."""
        ret = self.salt.states["mitx_fleet.swapped"]("swap")
        if not ret["result"]:
            raise SystemExit(ret["comment"])

    def salts(self):
        """
        The same with the functions that Salt ships: look up each name, register, look at health,
        deregister.
        """
        new = [self.salt.modules["boto_ec2.get_id"](name=name, **REGION) for name in self.new]
        for elb in self.settings["elbs"]:
            self._salts_swap(elb["name"], new)

    def _salts_swap(self, elb, new):
        modules = self.salt.modules
        self.salt.states["boto_elb.register_instances"](elb, new, **REGION)
        self._salts_wait(
            elb, new, lambda one: one["state"] == "InService", self.settings["elb"]["polls"]
        )
        members = [
            one["instance_id"] for one in modules["boto_elb.get_instance_health"](elb, **REGION)
        ]
        old = [id_ for id_ in members if id_ not in new]
        if old:
            modules["boto_elb.deregister_instances"](elb, old, **REGION)
            self._salts_wait(
                elb, old, lambda one: "not currently registered" in one["description"], 1
            )

    def _salts_wait(self, elb, ids, wanted, polls):
        streak = 0
        while streak < polls:
            found = self.salt.modules["boto_elb.get_instance_health"](elb, instances=ids, **REGION)
            streak = streak + 1 if len(found) == len(ids) and all(map(wanted, found)) else 0
            time.sleep(self.settings["elb"]["interval"])

    def measure(self, way):
        """Return ``{calls, polls, seconds}`` of a swap; proves that it took place."""
        self.aws.clear_calls()
        started = time.monotonic()
        way()
        seconds = time.monotonic() - started
        calls = [call["operation"] for call in self.aws.calls()]
        if self.world.members() != self.world.expected(self.new):
            raise SystemExit(
                "the load balancers do not hold exactly the new fleet: nothing was measured"
            )
        return {
            "calls": len([name for name in calls if name != POLL]),
            "polls": calls.count(POLL),
            "seconds": round(seconds, 2),
        }

    def undo(self):
        """The old fleet back in, the new one out."""
        for elb in self.settings["elbs"]:
            out = [{"InstanceId": id_} for id_ in self.world.web(self.new, elb)]
            self.world.elb.deregister_instances_from_load_balancer(
                LoadBalancerName=elb["name"], Instances=out
            )
        self.world.register(self.old)


def quick_tags(resource):
    """
    Tags of one resource. moto looks for them among those of all others, each time: hours for 1000
    instances.
    """
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource.id))
    tags = resource.ec2_backend.tags.get(resource.id, {})
    return [
        {"resource_id": resource.id, "key": key, "value": value, "resource_type": kind}
        for key, value in tags.items()
    ]


def load(folder, count):
    """
    Salt's loader over this package: mitx-production's live purpose, with ``count`` web instances
    and one worker.
    """
    pillar = {}
    for name in ("environments.sls", "mitx.sls"):
        pillar |= salt.utils.yaml.safe_load((ROOT / "pillar_examples" / name).read_text())
    pillar["mitx"] |= {
        "run_dir": str(folder / "runs"),
        "environment": "mitx-production",
        "run": "bench",
    }
    pillar["mitx"]["environments"]["mitx-production"] |= {
        "purposes": ["residential-live"],
        "elb": QUICK["elb"],
    }
    instances = pillar["environments"]["mitx-production"]["purposes"]["residential-live"][
        "instances"
    ]
    instances["edx"]["number"], instances["edx-worker"]["number"] = count, 1
    opts = salt.config.DEFAULT_MINION_OPTS.copy() | {
        "id": "bench_master",
        "root_dir": str(folder),
        "cachedir": str(folder / "cache"),
        "extension_modules": str(folder / "extmods"),
        "conf_file": str(folder / "master"),
        "file_client": "local",
        "file_roots": {"base": [str(ROOT)]},
        "module_dirs": [str(ROOT / "_modules")],
        "states_dirs": [str(ROOT / "_states")],
        "grains": {
            "kernel": "Linux",
            "os": "Debian",
            "os_family": "Debian",
            "osrelease_info": [12],
        },
        "pillar": pillar,
        "test": False,
    }
    utils = salt.loader.utils(opts)
    modules = salt.loader.minion_mods(opts, utils=utils)
    return types.SimpleNamespace(
        modules=Modules(modules),
        states=salt.loader.states(opts, modules, utils, salt.loader.serializers(opts)),
    )


def run(folder, sizes):
    """Measure everything; returns a list of rows."""
    rows = []
    TaggedEC2Resource.get_tags = quick_tags
    with FakeAWS(folder / "aws", health={"*": True}, drain=0.2) as aws:
        (folder / "boto.cfg").write_text(BOTO.format(port=aws.url.rpartition(":")[2]))
        os.environ |= {"AWS_ENDPOINT_URL": aws.url, "BOTO_CONFIG": str(folder / "boto.cfg")}
        os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        for count in sizes:
            bench = Bench(aws, folder / str(count), count)
            shipped = "boto_elb.register_instances" in bench.salt.modules
            for what in ("swap", "again"):
                rows.append(
                    {
                        "instances": count,
                        "what": what,
                        "ours": bench.measure(bench.ours),
                        "salt": None,
                    }
                )
            if shipped:
                bench.undo()
                for row in rows[-2:]:
                    row["salt"] = bench.measure(bench.salts)
    for row in rows:
        row["ratio"] = round(_total(row["salt"]) / _total(row["ours"]), 1) if row["salt"] else None
    return rows


def _total(counted):
    return counted["calls"] + counted["polls"]


def show(rows):
    """Print a table, the ratio first."""
    print(
        f"{'fewer':>7}  {'instances':>9}  {'what':<6}  {'ours':>9}  {'s':>6}  {'boto_elb':>12} "
        f" {'s':>6}   calls + polls"
    )
    for row in rows:
        ours, salts = row["ours"], row["salt"]
        theirs = (
            f"{salts['calls']:>6} + {salts['polls']:>3}  {salts['seconds']:>6}"
            if salts
            else f"{'not shipped':>11}"
        )
        ratio = f"{row['ratio']}x" if salts else "-"
        mine = f"{ours['calls']:>3} + {ours['polls']:>3}  {ours['seconds']:>6}"
        print(f"{ratio:>7}  {row['instances']:>9}  {row['what']:<6}  {mine}   {theirs}")


def missed(rows):
    """Return what is not as promised of our own calls, as sentences."""
    problems = []
    for what, most, counted in (
        ("swap", MOST, lambda ours: ours["calls"]),
        ("again", MOST_IDLE, _total),
    ):
        counts = {row["instances"]: counted(row["ours"]) for row in rows if row["what"] == what}
        told = ", ".join(f"{count} for {instances}" for instances, count in counts.items())
        if len(set(counts.values())) > 1:
            problems.append(f"Our calls of {what!r} depend on the number of instances: {told}.")
        if max(counts.values()) > most:
            problems.append(f"Our calls of {what!r} are too many: {told}; {most} are allowed.")
    return problems


def main():
    """Measure, print, write the JSON that was asked for, and fail where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--sizes", default="1,18,500", help="web instances, by comma")
    arguments = parser.parse_args()
    salt._logging.shutdown_temp_handler()
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(pathlib.Path(folder), [int(size) for size in arguments.sizes.split(",")])
    show(rows)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"benchmark": "elb_swap", "rows": rows}, indent=1) + "\n"
        )
    problems = missed(rows)
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
