"""How the tests of the sandbox's AWS ask it, as everyone does: boto3 over HTTP."""

import time

import botocore.exceptions
import pytest

OURS = "saltext-mitx"
ONCE = {"total_max_attempts": 1}
LISTENERS = [
    {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstanceProtocol": "HTTPS", "InstancePort": 443}
]
# A test that looks at something unfinished makes it last for ever, and then ends it: no race with a
# slow machine.
FOR_EVER = 3600
TIMES = dict.fromkeys(
    ("drain", "ami_pending", "dns_sync", "invalidation", "distribution", "instance_pending"), 0
)
TIMES |= {"health_interval": 0.02, "health_healthy": 2, "health_unhealthy": 2}


def cname(action, name, *values, ttl=60, kind="CNAME"):
    records = [{"Value": value} for value in values]
    return {
        "Action": action,
        "ResourceRecordSet": {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": records},
    }


def ids(answer):
    return [instance["InstanceId"] for instance in answer["Instances"]]


def until(check, wanted, timeout=8):
    """Wait until check() returns what is wanted."""
    deadline = time.monotonic() + timeout
    while (seen := check()) != wanted:
        assert time.monotonic() < deadline, f"still {seen!r}, not {wanted!r}"
        time.sleep(0.02)


def refused(code, status, function, *arguments, **keywords):
    """The message of the error with which a call must be refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        function(*arguments, **keywords)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    return answer["Error"]["Message"]
