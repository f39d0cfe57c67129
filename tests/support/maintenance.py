"""
A public site in a fake AWS: zone, load balancers, distribution and bucket as MITx has them, for the
tests of the swap to the maintenance page: ``pytest_plugins = ["tests.support.maintenance"]``.
"""

import json
import types

import pytest

# Times of a test: as in the night, in hundredths of seconds. Nothing waits for longer than it must.
QUICK = {
    "aws": {"attempts": 2},
    "dns": {"timeout": 5, "public_timeout": 5, "interval": 0.02},
    "maintenance": {"invalidation_timeout": 5},
}
AGENT = "saltext-mitx"


class Site:
    """
    What the tests look at and turn: the records of the zone, the page, the distribution, the log of
    our calls.
    """

    def __init__(self, aws, names, elbs):
        self.aws, self.names = aws, names
        self._route53, self._s3, self._cloudfront, self._elb = map(
            aws.client, ("route53", "s3", "cloudfront", "elb")
        )
        self.elbs = {name: self._create_elb(name) for name in elbs}
        self.zone_id = self._create_zone()
        self.distribution_id, self.domain_name = self._create_distribution()
        for name, elb in names.items():
            self.put(name, self.elbs[elb])
        aws.clear_calls()

    def put(self, name, target, ttl=60, kind="CNAME", **more):
        """Write a record set over what is there."""
        record = {
            "Name": name,
            "Type": kind,
            "TTL": ttl,
            "ResourceRecords": [{"Value": target}],
            **more,
        }
        if "AliasTarget" in more:
            del record["TTL"], record["ResourceRecords"]
        changes = [{"Action": "DELETE", "ResourceRecordSet": found} for found in self.sets(name)]
        self._route53.change_resource_record_sets(
            HostedZoneId=self.zone_id,
            ChangeBatch={"Changes": [*changes, {"Action": "UPSERT", "ResourceRecordSet": record}]},
        )

    def drop(self, name):
        """Delete what is there of a name."""
        changes = [{"Action": "DELETE", "ResourceRecordSet": found} for found in self.sets(name)]
        self._route53.change_resource_record_sets(
            HostedZoneId=self.zone_id, ChangeBatch={"Changes": changes}
        )

    def sets(self, name=None):
        """The zone's record sets (of one name) as Route 53 tells them."""
        found = self._route53.list_resource_record_sets(HostedZoneId=self.zone_id)[
            "ResourceRecordSets"
        ]
        return [one for one in found if name in (None, one["Name"].rstrip("."))]

    def records(self):
        """``{name: (target, TTL)}`` of every CNAME in the zone."""
        return {
            one["Name"].rstrip("."): (one["ResourceRecords"][0]["Value"].rstrip("."), one["TTL"])
            for one in self.sets()
            if one["Type"] == "CNAME"
        }

    def targets(self):
        """What the public names point to, as a set."""
        return {target for name, (target, _) in self.records().items() if name in self.names}

    def calls(self, **wanted):
        """``service.operation`` of each call of ours, oldest first."""
        return [
            f"{call['service']}.{call['operation']}"
            for call in self.aws.calls(agent=AGENT, **wanted)
        ]

    def writes(self):
        """Those of them that change something."""
        return self.calls(writes=True)

    def page(self):
        """The published page and its headers, or None."""
        try:
            return self._s3.get_object(Bucket="upgrading.mitx.mit.edu", Key="index.html")
        except self._s3.exceptions.NoSuchKey:
            return None

    def edit_distribution(self, **changes):
        """Change what the distribution's owner described."""
        client = self._cloudfront
        found = client.get_distribution_config(Id=self.distribution_id)
        config = found["DistributionConfig"] | changes
        client.update_distribution(
            Id=self.distribution_id, IfMatch=found["ETag"], DistributionConfig=config
        )

    def overrides(self):
        """What the settings must say to mean this site."""
        return {
            "dns": {**QUICK["dns"], "zone_id": self.zone_id},
            "aws": QUICK["aws"],
            "maintenance": {
                **QUICK["maintenance"],
                "distribution": {"id": self.distribution_id, "domain_name": self.domain_name},
            },
        }

    def _create_elb(self, name):
        listener = {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstancePort": 443}
        return self._elb.create_load_balancer(
            LoadBalancerName=name, Listeners=[listener], AvailabilityZones=["us-east-1a"]
        )["DNSName"]

    def _create_zone(self):
        return self._route53.create_hosted_zone(Name="mitx.mit.edu.", CallerReference="test")[
            "HostedZone"
        ]["Id"].rpartition("/")[2]

    def _create_distribution(self):
        self._s3.create_bucket(Bucket="upgrading.mitx.mit.edu")
        rules = [
            {
                "ErrorCode": code,
                "ResponsePagePath": "/index.html",
                "ResponseCode": "503",
                "ErrorCachingMinTTL": 1,
            }
            for code in (403, 404, 405)
        ]
        origin = {
            "Id": "page",
            "DomainName": "upgrading.mitx.mit.edu.s3.us-east-1.amazonaws.com",
            "OriginAccessControlId": "E327GJI25M56DG",
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        config = {
            "CallerReference": "test",
            "Comment": "",
            "Enabled": True,
            "Aliases": {"Quantity": len(self.names), "Items": list(self.names)},
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {"TargetOriginId": "page", "ViewerProtocolPolicy": "allow-all"},
            "CustomErrorResponses": {"Quantity": len(rules), "Items": rules},
        }
        found = self._cloudfront.create_distribution(DistributionConfig=config)["Distribution"]
        return found["Id"], found["DomainName"]


class Public:
    """Stands in for ``mitx_site.checks.public``: what the public sees is another test's subject."""

    def __init__(self):
        self.asked = []
        self.problem = None

    def __call__(self, expect, not_before=0, **_):
        self.asked.append((expect, not_before))
        if self.problem:
            raise self.problem
        return {}


@pytest.fixture
def site(aws, mitx):
    """The public names of mitx-qa, on their load balancers."""
    settings = mitx().settings
    return Site(
        aws,
        {record["name"]: record["elb"] for record in settings["records"]},
        [elb["name"] for elb in settings["elbs"]],
    )


@pytest.fixture
def load(mitx, site):
    """
    ``load(test=False, **overrides)``: our modules and states for that site; ``public`` stands in
    for its visitors.
    """

    made = {}

    def build(test=False, **overrides):
        wanted = site.overrides()
        for key, value in overrides.items():
            wanted[key] = {**wanted.get(key, {}), **value}
        # Another command with the same settings is another loader in real life; here it would be
        # most of a test's time.
        key = json.dumps([test, wanted], sort_keys=True, default=str)
        if key not in made:
            made[key] = mitx(test=test, **wanted)
        loaded = made[key]
        loaded.public = loaded.modules["mitx_site.checks.public"] = Public()
        loaded.modules["mitx_site.checks.seen"] = lambda names: {
            name: {"resolvers": {"192.0.2.53": "…"}, "visitor": "200"} for name in names
        }
        return types.SimpleNamespace(
            **vars(loaded),
            pointed=lambda to, **k: loaded.states["mitx_site.dns_pointed"]("names", to, **k),
        )

    return build
