"""What the tests of the sandbox look at: a standing sandbox, from the outside."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from sandbox import config as settings
from sandbox import master
from sandbox.aws import AWS

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = ("next-residential-draft", "next-residential-live")


class World:
    """
    A sandbox in a folder with a short path (sockets), its commands, and what its hosts have logged.
    """

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mitx", dir="/tmp"))

    def sandbox(self, *words, timeout=900):
        """Run ``python -m sandbox …``; returns ``(exit status, output)``."""
        command = [sys.executable, "-m", "sandbox", "--dir", str(self.folder), *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def salt_run(self, *words, timeout=600):
        return self.sandbox("salt-run", *words, timeout=timeout)

    def start(self, *words):
        """Start one of Salt's commands and leave it running, in a session of its own."""
        return subprocess.Popen(
            master.command(self.config, list(words)),
            env=master.environment(self.config),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def config(self):
        return settings.read(self.folder)

    @property
    def aws(self):
        return AWS(f"http://{self.config['addresses']['aws']}:{self.config['ports']['aws']}")

    def log(self, name):
        """Lines of a log that the hosts wrote: processes, migrations, jobs."""
        path = self.folder / "logs" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def journal(self):
        """The lines of the newest run's journal."""
        runs = sorted(
            (self.folder / "run").glob("*/*/journal.jsonl"), key=lambda path: path.stat().st_mtime
        )
        return (
            [json.loads(line) for line in runs[-1].read_text().splitlines() if line.endswith("}")]
            if runs
            else []
        )

    def phase(self, name, status):
        """When a phase last came to a status."""
        times = [
            line["time"]
            for line in self.journal()
            if line["event"] == "phase" and (line["phase"], line["status"]) == (name, status)
        ]
        return times[-1]

    def summary(self):
        return json.loads((self.folder / "visitor-summary.json").read_text())

    def instances(self, **tags):
        """
        ``{id: {name, state, tags}}`` of the instances that bear these tags, terminated ones too.
        """
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        found = {}
        for reservation in self.aws.client("ec2").describe_instances(Filters=filters)[
            "Reservations"
        ]:
            for one in reservation["Instances"]:
                labels = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
                found[one["InstanceId"]] = {
                    "name": labels.get("Name"),
                    "state": one["State"]["Name"],
                    "tags": labels,
                }
        return found

    def members(self):
        """``{load balancer: ids}``"""
        described = self.aws.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
        return {
            elb["LoadBalancerName"]: {one["InstanceId"] for one in elb["Instances"]}
            for elb in described
        }

    def records(self):
        """``{host name: where its CNAME leads}``"""
        zone = json.loads((self.folder / "world.json").read_text())["zone_id"]
        sets = self.aws.client("route53").list_resource_record_sets(HostedZoneId=zone)[
            "ResourceRecordSets"
        ]
        return {
            one["Name"].rstrip("."): one["ResourceRecords"][0]["Value"].rstrip(".")
            for one in sets
            if one["Type"] == "CNAME"
        }

    def moved(self):
        """The host names that are moved to the page: LMS, Studio and preview of our purposes."""
        pillar = subprocess.run(
            master.command(
                self.config,
                ["salt-run", "salt.cmd", "mitx_run.get_settings", "with_pillar=True", "--out=json"],
            ),
            env=master.environment(self.config),
            capture_output=True,
            text=True,
            check=True,
        )
        return {record["name"] for record in json.loads(pillar.stdout)["records"]}

    def fleet(self, codename):
        """Ids of the instances of our purposes that run this release."""
        found = self.instances(edx_codename=codename)
        return {
            id_
            for id_, one in found.items()
            if one["state"] == "running" and one["tags"].get("purpose") in OURS
        }

    def serving(self):
        """Ids that any of our load balancers holds."""
        return set().union(*(ids for name, ids in self.members().items() if "next" in name))

    def writes(self):
        """Calls to AWS that changed something, by whomever."""
        return self.aws.calls(writes=True)

    def alive(self):
        """
        ``{instance id: names of Open edX's processes that live there now}``, asked of the machine
        itself.
        """
        from sandbox.hosts import proc

        return {
            host: [row["process"] for row in rows]
            for host, rows in proc.of_hosts(self.folder / "hosts").items()
        }

    def down(self):
        self.sandbox("down", timeout=120)
        shutil.rmtree(self.folder, ignore_errors=True)
