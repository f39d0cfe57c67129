"""What the maintenance page needs: CloudFront, S3, ACM."""

import datetime

from aws_asking import FOR_EVER, OURS, refused


def test_distribution_reads_back_as_it_was_created(aws, distribution):
    client, config, own = distribution
    answer = client.get_distribution(Id=own)
    found = answer["Distribution"]["DistributionConfig"]
    assert {name: found[name] for name in config} == config
    assert found["DefaultRootObject"] == ""
    assert client.get_distribution_config(Id=own)["ETag"] == answer["ETag"]
    listed = client.list_distributions()["DistributionList"]["Items"]
    assert [(d["Id"], d["Aliases"]["Items"]) for d in listed] == [(own, ["lms.mitx.mit.edu"])]


def test_distribution_is_deployed_after_a_while_or_as_told(aws, distribution):
    client, config, own = distribution

    def status():
        return client.get_distribution(Id=own)["Distribution"]["Status"]

    assert status() == "Deployed"
    aws.distribution(own, "InProgress")
    assert status() == "InProgress"
    aws.distribution(own, None)
    assert status() == "Deployed"
    aws.settings(distribution=FOR_EVER)
    etag = client.get_distribution_config(Id=own)["ETag"]
    client.update_distribution(Id=own, IfMatch=etag, DistributionConfig=config | {"Comment": "new"})
    assert status() == "InProgress"


def test_alias_lives_on_one_distribution_and_updates_need_the_latest(aws, distribution):
    client, config, own = distribution
    other = config | {"CallerReference": "2"}
    refused("CNAMEAlreadyExists", 409, client.create_distribution, DistributionConfig=other)
    etag = client.get_distribution_config(Id=own)["ETag"]
    client.update_distribution(Id=own, IfMatch=etag, DistributionConfig=config | {"Comment": "new"})
    assert client.get_distribution(Id=own)["Distribution"]["DistributionConfig"]["Comment"] == "new"
    refused(
        "PreconditionFailed",
        412,
        client.update_distribution,
        Id=own,
        IfMatch=etag,
        DistributionConfig=config,
    )
    refused("NoSuchDistribution", 404, client.get_distribution, Id="ENONE")


def test_invalidation_completes_after_a_while_and_can_be_stuck(aws, distribution):
    client, _, own = distribution
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": "1"}
    aws.settings(invalidation=FOR_EVER)
    first = client.create_invalidation(DistributionId=own, InvalidationBatch=batch)["Invalidation"]
    assert first["Status"] == "InProgress"
    assert (
        client.create_invalidation(DistributionId=own, InvalidationBatch=batch)["Invalidation"][
            "Id"
        ]
        == first["Id"]
    )
    aws.fault(operation="create_invalidation", outcome="pending")
    stuck = client.create_invalidation(
        DistributionId=own, InvalidationBatch=batch | {"CallerReference": "2"}
    )["Invalidation"]

    def status(invalidation):
        return client.get_invalidation(DistributionId=own, Id=invalidation["Id"])["Invalidation"][
            "Status"
        ]

    aws.settings(invalidation=0)
    assert status(first) == "Completed"
    assert status(stuck) == "InProgress"
    assert client.get_distribution(Id=own)["Distribution"]["InProgressInvalidationBatches"] == 1
    aws.clear_faults()
    assert status(stuck) == "Completed"


def test_object_has_an_etag_and_versions(aws):
    s3 = aws.client("s3", OURS)
    s3.create_bucket(Bucket="upgrading")
    s3.put_bucket_versioning(Bucket="upgrading", VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(
        Bucket="upgrading", Key="index.html", Body=b"old", CacheControl="no-cache, max-age=0"
    )
    new = s3.put_object(
        Bucket="upgrading", Key="index.html", Body=b"new", CacheControl="no-cache, max-age=0"
    )
    head = s3.head_object(Bucket="upgrading", Key="index.html")
    assert (head["ETag"], head["VersionId"]) == (new["ETag"], new["VersionId"])
    assert (head["CacheControl"], head["ContentLength"]) == ("no-cache, max-age=0", 3)
    assert (
        s3.get_object(Bucket="upgrading", Key="index.html", VersionId=old["VersionId"])[
            "Body"
        ].read()
        == b"old"
    )
    aws.fault(operation="head_object", error="", status=403)
    refused("403", 403, s3.head_object, Bucket="upgrading", Key="index.html")


def test_certificate_tells_its_names_and_its_end(aws):
    acm = aws.client("acm", OURS)
    names = ["lms.mitx.mit.edu", "studio.mitx.mit.edu", "*.mitx.mit.edu"]
    arn = acm.request_certificate(DomainName=names[0], SubjectAlternativeNames=names)[
        "CertificateArn"
    ]
    found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert sorted(found["SubjectAlternativeNames"]) == sorted(names)
    assert found["NotAfter"] > datetime.datetime.now(datetime.timezone.utc)
    assert found["Status"] == "ISSUED"
