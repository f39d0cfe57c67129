"""What the fake AWS's Route 53 says now, as DNS answers."""

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from sandbox.public import aws, common

RECORDS_SECONDS = 0.2
NAMES_SECONDS = 1.0
# As the real ones: their addresses do not move here.
AWS_TTL = 60
LONGEST_CHAIN = 8


class Zone:
    """
    Answers questions about every hosted zone, and about the names of load balancers and
    distributions.
    """

    def __init__(self, config):
        services = ("route53", "elb", "cloudfront")
        self._route53, self._elb, self._cloudfront = (
            aws.client(config, name, "sandbox-dns") for name in services
        )
        self._negative_ttl = config["times"]["dns_ttl"]
        self._zones = aws.Recent(self._list_zones, NAMES_SECONDS)
        self._records = aws.Recent(self._list_records, RECORDS_SECONDS)
        self._aws_names = aws.Recent(self._list_aws_names, NAMES_SECONDS)

    def answer(self, query):
        """The answer to one question, as a ``dns.message.Message``."""
        response = dns.message.make_response(query)
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return response
        question = query.question[0]
        try:
            self._fill(response, question.name, question.rdtype)
        except aws.ERRORS:
            response.set_rcode(dns.rcode.SERVFAIL)
        return response

    def _fill(self, response, name, rdtype):
        for _ in range(LONGEST_CHAIN):
            zone = self._zone_of(name)
            if zone is None and not common.is_aws_name(name):
                # The end of a chain that leads elsewhere is for a resolver to follow; to be asked
                # it is a mistake.
                if not response.answer:
                    response.set_rcode(dns.rcode.REFUSED)
                return
            response.flags |= dns.flags.AA
            sets = self._sets(name)
            found = sets.get(rdtype)
            alias = sets.get(dns.rdatatype.CNAME)
            if found is not None:
                response.answer.append(found)
                return
            if alias is None:
                self._negative(response, zone or "amazonaws.com", known=bool(sets))
                return
            response.answer.append(alias)
            name = alias[0].target

    def _sets(self, name):
        """``{type: rrset}`` of a name, empty if it does not exist."""
        plain = common.normal(name)
        if common.is_aws_name(plain):
            exists = plain in self._aws_names.get()
            return (
                {
                    dns.rdatatype.A: dns.rrset.from_text(
                        name, AWS_TTL, "IN", "A", common.address_of(plain)
                    )
                }
                if exists
                else {}
            )
        sets = {}
        for kind, ttl, values in self._records.get().get(plain, ()):
            sets[dns.rdatatype.from_text(kind)] = dns.rrset.from_text(
                name, ttl, "IN", kind, *values
            )
        return sets

    def _negative(self, response, zone, known):
        if not known:
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.{zone}. hostmaster.{zone}. 1 7200 900 1209600 {self._negative_ttl}"
        response.authority.append(
            dns.rrset.from_text(f"{zone}.", self._negative_ttl, "IN", "SOA", soa)
        )

    def _zone_of(self, name):
        plain = common.normal(name)
        inside = [zone for zone in self._zones.get() if plain == zone or plain.endswith(f".{zone}")]
        return max(inside, key=len, default=None)

    def _list_zones(self):
        found = self._route53.get_paginator("list_hosted_zones").paginate().build_full_result()
        return {common.normal(zone["Name"]): zone["Id"] for zone in found["HostedZones"]}

    def _list_records(self):
        records = {}
        pages = self._route53.get_paginator("list_resource_record_sets")
        for zone_id in self._zones.get().values():
            for record in pages.paginate(HostedZoneId=zone_id).build_full_result()[
                "ResourceRecordSets"
            ]:
                # Moto's SOA is not one; _negative() makes its own.
                if record["Type"] != "SOA":
                    records.setdefault(common.normal(record["Name"]), []).append(_plain(record))
        return records

    def _list_aws_names(self):
        balancers = (
            self._elb.get_paginator("describe_load_balancers").paginate().build_full_result()
        )
        distributions = self._cloudfront.list_distributions()["DistributionList"].get("Items", [])
        names = [balancer["DNSName"] for balancer in balancers["LoadBalancerDescriptions"]]
        names += [
            distribution["DomainName"] for distribution in distributions if distribution["Enabled"]
        ]
        return set(map(common.normal, names))


def _plain(record):
    """
    A record set as ``(type, ttl, [values])``; an alias as the address that Route 53 would answer
    with.
    """
    if "AliasTarget" in record:
        return record["Type"], AWS_TTL, [common.address_of(record["AliasTarget"]["DNSName"])]
    values = [value["Value"] for value in record["ResourceRecords"]]
    if record["Type"] in ("CNAME", "NS"):
        # Without its dot a target would be read as relative, and Route 53 takes it either way.
        values = [value.rstrip(".") + "." for value in values]
    return record["Type"], record["TTL"], values
