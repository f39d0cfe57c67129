"""
What the tests of the sandbox's public side stand on: a small MITx in the fake AWS, and web hosts as
small as can be.
"""

import contextlib
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import types

import dns.message
import dns.query
import pytest

import sandbox.config
from sandbox.public import common, tls

OLD, NEW = "juniper@" + "a" * 40, "koa@" + "b" * 40
LMS, CMS = "lms-next-qa.mitx.mit.edu", "studio-next-qa.mitx.mit.edu"
PAGE = b"<html><body data-mitx-maintenance>back at six</body></html>"
PATIENCE = 60


def until(check, what, seconds=PATIENCE):
    """Wait until ``check()`` is true and return it; fail saying what never came about."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            found = check()
            if found:
                return found
        time.sleep(0.05)
    return pytest.fail(f"not so after {seconds} s: {what}")


class Host(http.server.BaseHTTPRequestHandler):
    """A web host of MITx, as small as it can be."""

    def answer(self):
        time.sleep(self.server.delay)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = (
            f"<html>{self.command} {self.path} {self.headers['Host']} {self.server.release}"
            f" {body.decode()}</html>"
        )
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            return
        self.send_response(200)
        self.send_header("X-Open-edX-Release", self.server.release)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        """Say nothing."""


class World:
    """Two load balancers, a distribution, the names, and what is needed to move them."""

    def __init__(self, aws, directory):
        self.aws, self.directory = aws, directory
        self.config = sandbox.config.create(directory, "qa")
        self.config["ports"]["aws"] = int(aws.url.rpartition(":")[2])
        self.config["times"]["dns_ttl"] = 1
        sandbox.config.write(directory, self.config)
        tls.make(directory)
        self.trust = ssl.create_default_context(cafile=self.config["paths"]["ca"])
        self.processes, self.servers = [], []

    def seed(self):
        """Everything that the edge leads to: one old host behind both load balancers."""
        self.elbs = {
            name: self.elb(name)
            for name in ("edx-next-residential-live-mitx-q", "edx-next-residential-studio")
        }
        self._distribution()
        zone = self.aws.client("route53").create_hosted_zone(
            Name="mitx.mit.edu.", CallerReference="test"
        )
        self.zone_id = zone["HostedZone"]["Id"]
        self.homes = dict(zip((LMS, CMS), self.elbs.values(), strict=True))
        self.point(self.homes)
        self.old = self.host(OLD)
        self.register(self.old)
        return self

    def elb(self, name):
        """Make a load balancer; returns its DNS name."""
        elb = self.aws.client("elb")
        listener = {"Protocol": "TCP", "LoadBalancerPort": 443, "InstancePort": 443}
        made = elb.create_load_balancer(
            LoadBalancerName=name, Listeners=[listener], AvailabilityZones=["us-east-1a"]
        )
        check = {
            "Target": "HTTPS:443/heartbeat",
            "Interval": 5,
            "Timeout": 2,
            "UnhealthyThreshold": 2,
            "HealthyThreshold": 2,
        }
        elb.configure_health_check(LoadBalancerName=name, HealthCheck=check)
        return made["DNSName"]

    def _distribution(self):
        self.aws.client("s3").create_bucket(Bucket="upgrading.mitx.mit.edu")
        self.publish(PAGE)
        origin = {
            "Id": "s3",
            "DomainName": "upgrading.mitx.mit.edu.s3.us-east-1.amazonaws.com",
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        behaviour = {
            "TargetOriginId": "s3",
            "ViewerProtocolPolicy": "redirect-to-https",
            "MinTTL": 0,
        }
        behaviour["ForwardedValues"] = {"QueryString": False, "Cookies": {"Forward": "none"}}
        rule = {
            "ErrorCode": 403,
            "ResponsePagePath": "/index.html",
            "ResponseCode": "503",
            "ErrorCachingMinTTL": 300,
        }
        made = self.aws.client("cloudfront").create_distribution(
            DistributionConfig={
                "CallerReference": "test",
                "Comment": "",
                "Enabled": True,
                "Aliases": {"Quantity": 2, "Items": [LMS, CMS]},
                "Origins": {"Quantity": 1, "Items": [origin]},
                "DefaultCacheBehavior": behaviour,
                "CustomErrorResponses": {"Quantity": 1, "Items": [rule]},
            }
        )
        self.distribution = made["Distribution"]

    def publish(self, body):
        """Put the page into its bucket, and no more."""
        kind = {"ContentType": "text/html", "CacheControl": "no-cache, max-age=0"}
        self.aws.client("s3").put_object(
            Bucket="upgrading.mitx.mit.edu", Key="index.html", Body=body, **kind
        )

    def invalidate(self):
        """Tell CloudFront to forget everything."""
        batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": str(time.time())}
        self.aws.client("cloudfront").create_invalidation(
            DistributionId=self.distribution["Id"], InvalidationBatch=batch
        )

    def point(self, targets):
        """Point names at targets in one batch."""
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {
                    "Name": name,
                    "Type": "CNAME",
                    "TTL": 1,
                    "ResourceRecords": [{"Value": target}],
                },
            }
            for name, target in targets.items()
        ]
        self.aws.client("route53").change_resource_record_sets(
            HostedZoneId=self.zone_id, ChangeBatch={"Changes": changes}
        )

    def host(self, release):
        """Start a web host of a release; returns its instance id."""
        ec2 = self.aws.client("ec2")
        image = ec2.register_image(Name=f"edxapp-{len(self.servers)}")["ImageId"]
        instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0][
            "InstanceId"
        ]
        server = http.server.ThreadingHTTPServer((f"127.82.0.{len(self.servers) + 1}", 0), Host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            self.directory / "pki" / "server.crt", self.directory / "pki" / "server.key"
        )
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.release, server.delay = release, 0
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.servers.append(server)
        address, port = server.server_address[:2]
        facts = {"id": instance, "address": address, "port": port, "state": "running"}
        sandbox.config.write_json(self.directory / "hosts" / instance / "host.json", facts)
        return instance

    def register(self, *instances):
        """Put instances into both load balancers."""
        wanted = [{"InstanceId": instance} for instance in instances]
        for name in self.elbs:
            self.aws.client("elb").register_instances_with_load_balancer(
                LoadBalancerName=name, Instances=wanted
            )

    def deregister(self, *instances):
        """Take instances out of both load balancers."""
        wanted = [{"InstanceId": instance} for instance in instances]
        for name in self.elbs:
            self.aws.client("elb").deregister_instances_from_load_balancer(
                LoadBalancerName=name, Instances=wanted
            )

    def start(self, name, *arguments):
        """Start a daemon of the public side as the sandbox does."""
        command = [
            sys.executable,
            "-m",
            f"sandbox.public.{name}",
            "--dir",
            str(self.directory),
            *arguments,
        ]
        self.processes.append(subprocess.Popen(command, cwd=sandbox.config.REPOSITORY))
        return self.processes[-1]

    def ask(self, target, host=LMS, method="GET", path="/", body=None):
        """One request to the address behind a name of AWS's, for ``host``."""
        connection = http.client.HTTPSConnection(
            host, self.config["ports"]["edge"], timeout=10, context=self.trust
        )
        plain = socket.create_connection(
            (common.address_of(target), self.config["ports"]["edge"]), 10
        )
        connection.sock = self.trust.wrap_socket(plain, server_hostname=host)
        connection.request(method, path, body, {"Host": host})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return types.SimpleNamespace(status=answer.status, headers=answer.headers, text=text)

    def edge(self):
        """Start the edge and wait until every listener of it answers."""
        self.start("edge")
        for target in (self.distribution["DomainName"], *self.elbs.values()):
            until(
                lambda target=target: self.ask(target).status in (200, 503),
                f"the edge answers for {target}",
            )
        until(lambda: self.ask(self.homes[LMS]).status == 200, "the old host is in service")

    def query(self, name, kind="A", protocol=dns.query.udp):
        """Ask the name server one question."""
        where = {
            "where": self.config["addresses"]["dns"],
            "port": self.config["ports"]["dns"],
            "timeout": 10,
        }
        return protocol(dns.message.make_query(name, kind), **where)

    def summary(self):
        """What the visitor wrote, or None."""
        path = self.directory / "visitor-summary.json"
        return json.loads(path.read_text()) if path.exists() else None

    def stop(self):
        """End what this started."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(PATIENCE)
        for server in self.servers:
            server.shutdown()
            server.server_close()
