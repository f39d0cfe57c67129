"""Route 53: whole batches or nothing, and changes that take time."""

import pytest
from aws_asking import FOR_EVER, OURS, cname, refused


def records(aws, zone_id, agent=OURS):
    answer = aws.client("route53", agent).list_resource_record_sets(HostedZoneId=zone_id)[
        "ResourceRecordSets"
    ]
    return {
        (r["Name"], r["Type"]): [v["Value"] for v in r["ResourceRecords"]]
        for r in answer
        if r["Type"] not in ("NS", "SOA")
    }


LMS = ("lms.mitx.mit.edu.", "CNAME")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            cname("DELETE", "lms.mitx.mit.edu", "other.amazonaws.com"),
            "values provided do not match the current values",
        ),
        (
            cname("DELETE", "lms.mitx.mit.edu", "elb.amazonaws.com", ttl=61),
            "do not match the current values",
        ),
        (cname("DELETE", "none.mitx.mit.edu", "elb.amazonaws.com"), "but it was not found"),
        (cname("CREATE", "lms.mitx.mit.edu", "x.cloudfront.net"), "but it already exists"),
        (
            cname("UPSERT", "lms.example.com", "x.cloudfront.net"),
            "is not permitted in zone mitx.mit.edu.",
        ),
        (
            cname("UPSERT", "notmitx.mit.edu", "x.cloudfront.net"),
            "is not permitted in zone mitx.mit.edu.",
        ),
        (cname("UPSERT", "mitx.mit.edu", "x.cloudfront.net"), "not permitted at apex"),
        (cname("UPSERT", "a b.mitx.mit.edu", "x.cloudfront.net"), "UnsupportedCharacter"),
        (
            cname("UPSERT", "lms.mitx.mit.edu", "10.0.0.1", kind="A"),
            "conflicting RRSet of type CNAME",
        ),
        (cname("UPSERT", "studio.mitx.mit.edu", "y.cloudfront.net"), "invalid set of changes"),
        (
            cname("UPSERT", "preview.mitx.mit.edu", "a.example.com", "b.example.com"),
            "more than one value",
        ),
    ],
)
def test_one_bad_change_refuses_the_whole_batch(aws, zone, bad, said):
    zone_id, change = zone
    good = cname("UPSERT", "studio.mitx.mit.edu.", "x.cloudfront.net")
    assert said in refused("InvalidChangeBatch", 400, change, good, bad)
    assert records(aws, zone_id) == {LMS: ["elb.amazonaws.com"]}


def test_batch_changes_a_type_when_the_old_record_goes_first(aws, zone):
    zone_id, change = zone
    change(
        cname("DELETE", "lms.mitx.mit.edu.", "elb.amazonaws.com"),
        cname("CREATE", "LMS.mitx.mit.edu", "10.0.0.1", kind="A"),
    )
    assert records(aws, zone_id) == {("lms.mitx.mit.edu.", "A"): ["10.0.0.1"]}


def test_unknown_zone_and_change(aws, zone):
    route53 = aws.client("route53", OURS)
    batch = {"Changes": [cname("UPSERT", "lms.mitx.mit.edu", "x.cloudfront.net")]}
    refused(
        "NoSuchHostedZone",
        404,
        route53.change_resource_record_sets,
        HostedZoneId="ZNONE",
        ChangeBatch=batch,
    )
    refused("NoSuchHostedZone", 404, route53.list_resource_record_sets, HostedZoneId="ZNONE")
    refused("NoSuchChange", 404, route53.get_change, Id="CNONE")


def test_change_is_pending_until_the_name_servers_know_it(aws, zone):
    zone_id, change = zone
    aws.settings(dns_sync=0)
    assert records(aws, zone_id, "sandbox-dns") == {LMS: ["elb.amazonaws.com"]}
    aws.settings(dns_sync=FOR_EVER)
    info = change(cname("UPSERT", "lms.mitx.mit.edu", "x.cloudfront.net"))["ChangeInfo"]
    assert info["Status"] == "PENDING"
    assert records(aws, zone_id) == {LMS: ["x.cloudfront.net"]}
    assert records(aws, zone_id, "sandbox-dns") == {LMS: ["elb.amazonaws.com"]}
    aws.settings(dns_sync=0)
    assert aws.client("route53", OURS).get_change(Id=info["Id"])["ChangeInfo"]["Status"] == "INSYNC"
    assert records(aws, zone_id, "sandbox-dns") == {LMS: ["x.cloudfront.net"]}


def test_change_held_pending_until_the_fault_is_gone(aws, zone):
    zone_id, change = zone
    aws.fault(operation="change_resource_record_sets", outcome="pending")
    held = change(cname("UPSERT", "lms.mitx.mit.edu", "x.cloudfront.net"))["ChangeInfo"]
    assert (
        change(cname("UPSERT", "preview.mitx.mit.edu", "x.cloudfront.net"))["ChangeInfo"]["Status"]
        == "INSYNC"
    )
    route53 = aws.client("route53", OURS)
    assert route53.get_change(Id=held["Id"])["ChangeInfo"]["Status"] == "PENDING"
    aws.clear_faults()
    assert route53.get_change(Id=held["Id"])["ChangeInfo"]["Status"] == "INSYNC"
