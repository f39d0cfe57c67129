"""
How many calls to AWS move the public names to the maintenance page: ours, and Salt's own
``boto3_route53`` name by name.

Both in one run, on one fake AWS, whose log of calls is what is counted. ``python
benchmarks/dns_swap.py [--json FILE]``
"""

import argparse
import copy
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

from sandbox.aws import FakeAWS  # noqa: E402
from tests.support.rooms import Modules  # noqa: E402

SIZES = (6, 100)
ELB = "edx-next-residential-live-mitx-q"
POLL = "route53.get_change"
DOMAIN = "d111111abcdef8.cloudfront.net"


class Bench:
    """
    A zone with ``count`` names on one load balancer, and Salt's loader with our modules in it.
    """

    def __init__(self, aws, folder, count):
        self.aws = aws
        aws.reset()
        client = aws.client("route53")
        self.zone_id = client.create_hosted_zone(Name="mitx.mit.edu.", CallerReference="bench")[
            "HostedZone"
        ]["Id"].rpartition("/")[2]
        listener = {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstancePort": 443}
        made = aws.client("elb").create_load_balancer(
            LoadBalancerName=ELB, Listeners=[listener], AvailabilityZones=["us-east-1a"]
        )
        self.elb = made["DNSName"]
        self.names = [f"host{number}.mitx.mit.edu" for number in range(count)]
        changes = [upsert(name, self.elb) for name in self.names]
        client.change_resource_record_sets(
            HostedZoneId=self.zone_id, ChangeBatch={"Changes": changes}
        )
        self.modules = load(folder)
        self.settings = self._settings()

    def _settings(self):
        settings = copy.deepcopy(self.modules["mitx_run.settings.get"]())
        settings["dns"] |= {"zone_id": self.zone_id, "interval": 0.05}
        settings["maintenance"]["distribution"]["domain_name"] = DOMAIN
        settings["records"] = [
            {"name": name, "kind": "lms", "purpose": "bench", "elb": ELB} for name in self.names
        ]
        return settings

    def ours(self, to):
        """The swap as our state makes it."""
        planned = self.modules["mitx_site.dns.plan"](self.settings, to)
        if planned["calls"]:
            change = self.modules["mitx_site.dns.send"](self.settings, planned)
            self.modules["mitx_site.dns.wait_insync"](self.settings, change)

    def salts(self, to):
        """
        The same with the functions that Salt ships: look at a name's record, change it, wait for
        INSYNC; next name.
        """
        target = DOMAIN if to == "maintenance" else self.elb
        for name in self.names:
            found = self.modules["boto3_route53.get_resource_records"](
                HostedZoneId=self.zone_id,
                StartRecordName=f"{name}.",
                StartRecordType="CNAME",
                region="us-east-1",
            )
            if found[0]["ResourceRecords"][0]["Value"].rstrip(".") != target:
                self.modules["boto3_route53.change_resource_record_sets"](
                    HostedZoneId=self.zone_id,
                    ChangeBatch={"Changes": [upsert(name, target)]},
                    region="us-east-1",
                )

    def measure(self, way, to):
        """
        Return ``{calls, polls, seconds}`` of moving all names to ``to``; proves that they are
        there.
        """
        self.aws.clear_calls()
        started = time.monotonic()
        way(to)
        seconds = time.monotonic() - started
        calls = [f"{call['service']}.{call['operation']}" for call in self.aws.calls()]
        self._prove(to)
        return {
            "calls": len([c for c in calls if c != POLL]),
            "polls": calls.count(POLL),
            "seconds": round(seconds, 2),
        }

    def _prove(self, to):
        target = DOMAIN if to == "maintenance" else self.elb
        sets = self.aws.client("route53").list_resource_record_sets(HostedZoneId=self.zone_id)[
            "ResourceRecordSets"
        ]
        found = {
            one["ResourceRecords"][0]["Value"].rstrip(".") for one in sets if one["Type"] == "CNAME"
        }
        if found != {target}:
            raise SystemExit(f"the names lead to {found}, not to {target}: nothing was measured")


def upsert(name, target):
    """A change of a name's CNAME."""
    record = {
        "Name": f"{name}.",
        "Type": "CNAME",
        "TTL": 60,
        "ResourceRecords": [{"Value": target}],
    }
    return {"Action": "UPSERT", "ResourceRecordSet": record}


def load(folder):
    """Salt's loader over this package, with the pillar of the examples."""
    pillar = {}
    for name in ("environments.sls", "mitx.sls"):
        pillar |= salt.utils.yaml.safe_load((ROOT / "pillar_examples" / name).read_text())
    pillar["mitx"]["run_dir"] = str(folder)
    opts = salt.config.DEFAULT_MINION_OPTS.copy() | {
        "id": "bench_master",
        "root_dir": str(folder),
        "cachedir": str(folder / "cache"),
        "extension_modules": str(folder / "extmods"),
        "conf_file": str(folder / "master"),
        "file_client": "local",
        "file_roots": {"base": [str(ROOT)]},
        "module_dirs": [str(ROOT / "_modules")],
        "grains": {
            "kernel": "Linux",
            "os": "Debian",
            "os_family": "Debian",
            "osrelease_info": [12],
        },
        "pillar": pillar,
    }
    context = {}
    return Modules(
        salt.loader.minion_mods(
            opts, utils=salt.loader.utils(opts, context=context), context=context
        )
    )


def run(folder):
    """Measure everything; returns a list of rows."""
    rows = []
    # INSYNC at the first look, or Salt's own function sleeps 20 s for each name.
    with FakeAWS(folder / "aws", dns_sync=0) as aws:
        os.environ |= {
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
        }
        for count in SIZES:
            bench = Bench(aws, folder / str(count), count)
            shipped = "boto3_route53.change_resource_record_sets" in bench.modules
            for what, to in (
                ("on", "maintenance"),
                ("on, again", "maintenance"),
                ("off", "site"),
                ("off, again", "site"),
            ):
                rows.append(
                    {
                        "names": count,
                        "swap": what,
                        "ours": bench.measure(bench.ours, to),
                        "salt": None,
                    }
                )
            for row, to in zip(
                rows[-4:], ("maintenance", "maintenance", "site", "site"), strict=True
            ):
                row["salt"] = bench.measure(bench.salts, to) if shipped else None
    return rows


def show(rows):
    """Print a table, the ratio first."""
    print(
        f"{'fewer':>7}  {'names':>5}  {'swap':<10}  {'ours':>14}  {'boto3_route53':>14}   calls +"
        " polls"
    )
    for row in rows:
        ours, salts = row["ours"], row["salt"]
        row["ratio"] = (
            round((salts["calls"] + salts["polls"]) / (ours["calls"] + ours["polls"]), 1)
            if salts
            else None
        )
        ratio = f"{row['ratio']}x" if salts else "-"
        theirs = f"{salts['calls']} + {salts['polls']}" if salts else "not shipped"
        print(
            f"{ratio:>7}  {row['names']:>5}  {row['swap']:<10}  {ours['calls']} +"
            f" {ours['polls']:>10}  {theirs:>14}"
        )


def main():
    """Measure, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    salt._logging.shutdown_temp_handler()
    logging.disable(logging.ERROR)
    # Salt's module looks for a version of boto 2 and then never uses it; there is none for Python
    # 3.12 and later.
    sys.modules.setdefault("boto", types.SimpleNamespace(__version__="2.49.0"))
    with tempfile.TemporaryDirectory() as folder:
        rows = run(pathlib.Path(folder))
    show(rows)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"benchmark": "dns_swap", "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
