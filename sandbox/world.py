"""
Seeds the fake AWS with MITx as it stands before the upgrade, and says in ``world.json`` what it
made.

``world.json``: ``{zone_id, bucket, distribution: {id, domain_name}, certificate, images: {name: ami
id}, elbs: {name: {dns_name, purpose, environment, hostnames}}, instances: {name: instance id}}``.
"""

import contextlib
import json
import pathlib

import boto3
import botocore.config

from sandbox import config as settings
from sandbox import git_history
from sandbox.hosts import files
from sandbox.pillar import environments
from sandbox.pillar.mitx import PURPOSES
from sandbox.public import tls

BUCKET = "upgrading.mitx.mit.edu"
# A viewer-request function: every path ends in the error response, which is the maintenance page.
CLOSED = b"""function handler(event) {
    event.request.uri = '/closed';
    return event.request;
}
"""
OLD = {"codename": "juniper", "release": 3, "launch-date": "2020-08-15"}
ROLES = ("edx", "edx-worker")
# What of a VPC MITx's orchestrations name.
SUBNETS = (1, 2, 3, 4)
SECURITY_GROUPS = ("edx", "edx-worker", "master-ssh", "consul-agent")
KEY_PAIR = "salt-master-prod"
INSTANCE_PROFILE = "edx-instance-role"


class World:
    """What is being made. Every step adds to ``made``, the content of ``world.json``."""

    def __init__(self, config):
        self.config = config
        self.environment = config["environment"]
        self.settings = environments.settings_of(config, self.environment)
        self.made = {"images": {}, "elbs": {}, "instances": {}}
        self.session = boto3.Session("sandbox", "sandbox", region_name=config["region"])
        self.clients = {}

    def client(self, service):
        """
        A boto3 client whose calls are not in the log of calls; made once, which is what costs time.
        """
        if service not in self.clients:
            self.clients[service] = self.session.client(
                service,
                endpoint_url=settings.environment(self.config)["AWS_ENDPOINT_URL"],
                config=botocore.config.Config(user_agent="sandbox-internal"),
            )
        return self.clients[service]

    def purposes(self):
        """{purpose: settings} of the residential ones: those that have hosts here."""
        return {
            name: one for name, one in self.settings["purposes"].items() if "residential" in name
        }

    def seed(self):
        """Make everything and write ``world.json``."""
        self.network()
        self.images()
        self.instances()
        self.certificate()
        for purpose, one in self.purposes().items():
            for elb in elbs(self.environment, purpose, one["domains"]):
                self.elb(elb)
        self.page()
        self.zone()
        settings.write_json(pathlib.Path(self.config["directory"]) / "world.json", self.made)
        return self.made

    def network(self):
        """A VPC, its subnets and security groups; a key pair and a role for instances."""
        ec2 = self.client("ec2")
        prefix, name = self.settings["network_prefix"], self.settings["vpc_name"]
        vpc = ec2.create_vpc(CidrBlock=f"{prefix}.0.0/16")["Vpc"]["VpcId"]
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": name}])
        self.subnets = [self.subnet(vpc, f"{prefix}.{number}.0/24", number) for number in SUBNETS]
        for group in SECURITY_GROUPS:
            group = f"{group}-{self.environment}"
            ec2.create_security_group(GroupName=group, Description=group, VpcId=vpc)
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        ec2.create_key_pair(KeyName=KEY_PAIR)
        self.client("iam").create_instance_profile(InstanceProfileName=INSTANCE_PROFILE)

    def subnet(self, vpc, block, number):
        """Id of a new subnet, named as MITx names them."""
        ec2 = self.client("ec2")
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        name = {"Key": "Name", "Value": f"{self.environment}-subnet-{number}"}
        ec2.create_tags(Resources=[made], Tags=[name])
        return made

    def images(self):
        """
        The plain image that bases start from, and Juniper's AMIs; for production also QA's of Koa.
        """
        self.image("ubuntu-base", None)
        for name in ami_names(self.environment, OLD["codename"], OLD["release"]).values():
            self.image(name, "mitx/juniper")
        if self.environment == "mitx-production":
            for name in ami_names("mitx-qa", "koa", 1).values():
                self.image(name, "mitx/koa")

    def image(self, name, branch):
        """Register an AMI and fill its disk: empty, or with a checkout of ``branch``."""
        ec2 = self.client("ec2")
        answer = ec2.register_image(
            Name=name, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/sda1"
        )
        root = pathlib.Path(self.config["paths"]["images"]) / answer["ImageId"] / "root"
        (root / "edx").mkdir(parents=True)
        if branch:
            git_history.checkout(
                self.config["paths"]["git"], branch, root / "edx/app/edxapp/edx-platform"
            )
        self.made["images"][name] = answer["ImageId"]

    def instances(self):
        """The fleet of today: Juniper v3, in every residential purpose."""
        images = ami_names(self.environment, OLD["codename"], OLD["release"])
        for purpose, one in self.purposes().items():
            for role in ROLES:
                for number in range(one["instances"][role]["number"]):
                    name = f"{role}-{self.environment}-{purpose}-{number}-v{OLD['release']}"
                    self.instance(name, role, purpose, self.made["images"][images[role]], number)

    def instance(self, name, role, purpose, image, number):
        """Run one instance with MITx's tags."""
        tags = {
            "Name": name,
            "role": role,
            "environment": self.environment,
            "purpose": purpose,
            "edx_codename": OLD["codename"],
            "release-version": str(OLD["release"]),
            "launch-date": OLD["launch-date"],
            "business_unit": self.settings["business_unit"],
        }
        answer = self.client("ec2").run_instances(
            ImageId=image,
            InstanceType="r5.large",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[number % len(self.subnets)],
            TagSpecifications=[{"ResourceType": "instance", "Tags": aws_tags(tags)}],
        )
        made = answer["Instances"][0]["InstanceId"]
        self.made["instances"][name] = made
        if self.config.get("salt_ops"):
            grains = {"name": name, "grains": files.grains(tags)}
            settings.write_json(
                pathlib.Path(self.config["directory"]) / f"boot/{made}.json", grains
            )

    def certificate(self):
        """The sandbox's certificate, in ACM."""
        files = tls.make(self.config["directory"], self.config["zone"])
        given = self.config.get("salt_ops")
        named = {"CertificateArn": given["certificate"]} if given else {}
        answer = self.client("acm").import_certificate(
            **named,
            Certificate=pathlib.Path(files["certificate"]).read_bytes(),
            PrivateKey=pathlib.Path(files["key"]).read_bytes(),
            CertificateChain=pathlib.Path(files["ca"]).read_bytes(),
        )
        self.made["certificate"] = answer["CertificateArn"]

    def elb(self, elb):
        """A classic ELB as MITx's orchestration makes it, with the web hosts of its purpose."""
        client, times = self.client("elb"), self.config["times"]
        name, purpose = elb["name"], elb["purpose"]
        listener = {
            "Protocol": "HTTPS",
            "LoadBalancerPort": 443,
            "InstanceProtocol": "HTTPS",
            "InstancePort": 443,
        }
        answer = client.create_load_balancer(
            LoadBalancerName=name,
            Listeners=[{**listener, "SSLCertificateId": self.made["certificate"]}],
            Subnets=self.subnets,
            Tags=aws_tags(
                {
                    "Name": name,
                    "OU": self.settings["business_unit"],
                    "business_unit": self.settings["business_unit"],
                    "created_at": OLD["launch-date"],
                }
            ),
        )
        client.configure_health_check(LoadBalancerName=name, HealthCheck=health_check(times))
        draining = {"ConnectionDraining": {"Enabled": True, "Timeout": times["drain"]}}
        client.modify_load_balancer_attributes(
            LoadBalancerName=name, LoadBalancerAttributes=draining
        )
        web = [
            found
            for host, found in self.made["instances"].items()
            if host.startswith(f"edx-{self.environment}-{purpose}-")
        ]
        client.register_instances_with_load_balancer(
            LoadBalancerName=name, Instances=[{"InstanceId": one} for one in web]
        )
        self.made["elbs"][name] = {
            "dns_name": answer["DNSName"],
            "purpose": purpose,
            "environment": self.environment,
            "hostnames": elb["hostnames"],
        }

    def page(self):
        """
        The bucket, and the CloudFront distribution that serves it as the maintenance page with
        status 503.
        """
        self.client("s3").create_bucket(Bucket=BUCKET)
        cloudfront = self.client("cloudfront")
        access = cloudfront.create_origin_access_control(
            OriginAccessControlConfig={
                "Name": BUCKET,
                "SigningProtocol": "sigv4",
                "SigningBehavior": "always",
                "OriginAccessControlOriginType": "s3",
            }
        )["OriginAccessControl"]["Id"]
        function = self.function(cloudfront)
        answer = cloudfront.create_distribution(
            DistributionConfig=distribution(
                self.moving_names(), access, function, self.made["certificate"]
            )
        )["Distribution"]
        self.made["bucket"] = BUCKET
        self.made["distribution"] = {"id": answer["Id"], "domain_name": answer["DomainName"]}

    def function(self, cloudfront):
        """
        ARN of the viewer-request function; moto can create one, and neither publish nor run it.
        """
        made = cloudfront.create_function(
            Name="mitx-closed",
            FunctionConfig={"Comment": "MITx maintenance", "Runtime": "cloudfront-js-2.0"},
            FunctionCode=CLOSED,
        )
        return made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]

    def moving_names(self):
        """Host names of the run's purposes that go to the maintenance page: lms, cms, preview."""
        mine = [
            self.settings["purposes"][purpose]["domains"] for purpose in PURPOSES[self.environment]
        ]
        return sorted(domains[kind] for domains in mine for kind in ("lms", "cms", "preview"))

    def zone(self):
        """The hosted zone, every name on its load balancer."""
        client = self.client("route53")
        zone = client.create_hosted_zone(Name=self.config["zone"], CallerReference="sandbox")[
            "HostedZone"
        ]["Id"]
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": record(
                    hostname, elb["dns_name"], self.config["times"]["dns_ttl"]
                ),
            }
            for elb in self.made["elbs"].values()
            for hostname in elb["hostnames"]
        ]
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
        self.made["zone_id"] = zone.rpartition("/")[2]


def seed(config):
    """Seed AWS; returns the content of ``world.json`` (dict)."""
    return World(config).seed()


def read(config):
    """The content of ``world.json``, or None where nothing is seeded yet."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((pathlib.Path(config["directory"]) / "world.json").read_text())
    return None


def certificate(config):
    """ARN of the certificate, or None."""
    return (read(config) or {}).get("certificate")


def sdb(config, made):
    """
    What MITx's Consul holds before the upgrade: Juniper's release 3 and its AMIs, nothing of Koa
    (dict).
    """
    environment = config["environment"]
    data = {"edx_codename": OLD["codename"]} | _sdb(
        environment, OLD["codename"], OLD["release"], made["images"]
    )
    if environment == "mitx-production":
        data |= {"edx_codename": "koa"} | _sdb("mitx-qa", "koa", 1, made["images"])
    # What MITx's own orchestrations start from.
    plain = ("focal_ami_id", "xenial_ami_id", "edx_ami_id", "edx_worker_ami_id")
    return data | dict.fromkeys(plain, made["images"]["ubuntu-base"])


def _sdb(environment, codename, release, images):
    names = ami_names(environment, codename, release)
    return {
        f"edxapp-{environment}-{codename}-release-version": str(release),
        f"edx_{environment}_{codename}_ami_id": images[names["edx"]],
        f"edx_worker_{environment}_{codename}_ami_id": images[names["edx-worker"]],
    }


def ami_names(environment, codename, release):
    """Names of the two AMIs of a release by role."""
    return {
        "edx": f"edxapp_{environment}_{codename}_base_release_{release}",
        "edx-worker": f"edx_worker_{environment}_{codename}_base_release_{release}",
    }


def elbs(environment, purpose, domains):
    """
    Load balancers of a purpose, [{name, purpose, hostnames}]: a live one has a second one for
    Studio.
    """
    name = f"edx-{purpose}-{environment}"[:32].strip("-")
    if not purpose.endswith("-live"):
        return [{"name": name, "purpose": purpose, "hostnames": sorted(domains.values())}]
    studio = f"edx-{purpose.removesuffix('-live')}-studio-live-{environment}"[:32].strip("-")
    rest = sorted(domains[kind] for kind in domains if kind != "cms")
    return [
        {"name": name, "purpose": purpose, "hostnames": rest},
        {"name": studio, "purpose": purpose, "hostnames": [domains["cms"]]},
    ]


def health_check(times):
    """
    MITx's health check. AWS accepts no interval below 5 s; the fake AWS looks as often as ``times``
    says.
    """
    return {
        "Target": "HTTPS:443/heartbeat",
        "Interval": max(5, int(times["health_interval"])),
        "Timeout": 3,
        "UnhealthyThreshold": 2,
        "HealthyThreshold": times["health_healthy"],
    }


def distribution(aliases, access, function, certificate):
    """A distribution that answers every path with the bucket's index.html and status 503."""
    errors = [
        {
            "ErrorCode": code,
            "ResponsePagePath": "/index.html",
            "ResponseCode": "503",
            "ErrorCachingMinTTL": 1,
        }
        for code in (403, 404, 405)
    ]
    origin = {
        "Id": BUCKET,
        "DomainName": f"{BUCKET}.s3.us-east-1.amazonaws.com",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
        "OriginAccessControlId": access,
    }
    behaviour = {
        "TargetOriginId": BUCKET,
        "ViewerProtocolPolicy": "redirect-to-https",
        "AllowedMethods": {"Quantity": 2, "Items": ["GET", "HEAD"]},
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        "FunctionAssociations": {
            "Quantity": 1,
            "Items": [{"FunctionARN": function, "EventType": "viewer-request"}],
        },
        "MinTTL": 0,
        "DefaultTTL": 0,
        "MaxTTL": 0,
    }
    return {
        "CallerReference": "sandbox",
        "Comment": "MITx maintenance page",
        "Enabled": True,
        "Aliases": {"Quantity": len(aliases), "Items": aliases},
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": behaviour,
        "CustomErrorResponses": {"Quantity": len(errors), "Items": errors},
        "ViewerCertificate": {
            "ACMCertificateArn": certificate,
            "SSLSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2019",
        },
    }


def record(hostname, target, ttl):
    """A CNAME record set."""
    return {
        "Name": f"{hostname}.",
        "Type": "CNAME",
        "TTL": ttl,
        "ResourceRecords": [{"Value": target}],
    }


def aws_tags(tags):
    """A dict as AWS writes tags."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
