"""What Salt Cloud's driver of EC2 and boto 2 say and understand, where it is not what moto does."""

import pathlib
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

from sandbox.aws import FakeAWS
from sandbox.public import tls

SIGNED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ec2/aws4_request, Signature=0"
TRUST = (
    '{"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",'
    ' "Principal": {"Service": "ec2.amazonaws.com"}}]}'
)
POLICY = '{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'


def ask(url, **parameters):
    """A call as ``salt.utils.aws.query`` makes it; its answer's elements without namespaces."""
    query = urllib.parse.urlencode({"Version": "2016-11-15", **parameters})
    headers = {"User-Agent": "python-requests/2.32", "Authorization": SIGNED}
    request = urllib.request.Request(f"{url}/?{query}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(ET.fromstring(answer.read()))


def name(element):
    return element.tag.rpartition("}")[2]


def test_salt_cloud_counts_from_zero_and_reads_the_second_element(tmp_path):
    with FakeAWS(tmp_path) as aws:
        ec2 = aws.client("ec2")
        image = ec2.register_image(Name="any", RootDeviceName="/dev/sda1")["ImageId"]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
        instance = made["InstanceId"]

        tagged = ask(
            aws.url,
            **{
                "Action": "CreateTags",
                "ResourceId.1": instance,
                "Tag.0.Key": "Name",
                "Tag.0.Value": "edx-0",
                "Tag.1.Key": "role",
                "Tag.1.Value": "edx",
            },
        )
        assert [name(one) for one in tagged][0] == "requestId"
        assert len(tagged) > 1, "Salt Cloud takes the second element of every answer"
        told = ec2.describe_instances()["Reservations"][0]["Instances"][0]["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in told} == {"Name": "edx-0", "role": "edx"}

        found = ask(
            aws.url,
            **{
                "Action": "DescribeInstances",
                "Filter.1.Name": "tag:Name",
                "Filter.1.Value": "nobody",
            },
        )
        assert name(found[0]) == "requestId"
        assert name(found[1]) == "reservationSet"
        assert len(found[1]) == 0, "the filter was read"


def test_a_policy_of_2008_or_without_a_version_is_taken(tmp_path):
    dated = TRUST.replace("{", '{"Version": "2008-10-17", ', 1)
    with FakeAWS(tmp_path) as aws:
        iam = aws.client("iam")
        iam.create_role(RoleName="edx", AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName="edx", PolicyName="logs", PolicyDocument=POLICY)
        iam.update_assume_role_policy(RoleName="edx", PolicyDocument=dated)
        assert iam.get_role_policy(RoleName="edx", PolicyName="logs")["PolicyName"] == "logs"


def test_a_certificate_may_have_the_arn_that_others_use(tmp_path):
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/263b0a3a-0000-0000-0000-034f874b8e17"
    files = tls.make(tmp_path)
    with FakeAWS(tmp_path) as aws:
        parts = {
            "Certificate": pathlib.Path(files["certificate"]).read_bytes(),
            "PrivateKey": pathlib.Path(files["key"]).read_bytes(),
            "CertificateChain": pathlib.Path(files["ca"]).read_bytes(),
        }
        acm = aws.client("acm")
        assert acm.import_certificate(CertificateArn=arn, **parts)["CertificateArn"] == arn
        assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["CertificateArn"] == arn
        # A second time it is the same one.
        assert acm.import_certificate(CertificateArn=arn, **parts)["CertificateArn"] == arn
        assert len(acm.list_certificates()["CertificateSummaryList"]) == 1
