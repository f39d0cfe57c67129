"""
What AWS answers, in an operator's words, and whether asking again may help: a poller goes on for
the one kind, and must not for the other.
"""

import botocore.client
import pytest

from mitx_run import errors


@pytest.fixture
def ask(mitx, aws):
    """``ask(operation, **parameters)``: a call with one try."""
    call = mitx(aws={"attempts": 1}).modules["mitx_run.aws.call"]
    return lambda operation, **parameters: call("elb", operation, **parameters)


READ = ("describe_load_balancers", {"LoadBalancerNames": ["edx-live"]})
CHANGE = (
    "register_instances_with_load_balancer",
    {"LoadBalancerName": "edx-live", "Instances": [{"InstanceId": "i-1"}]},
)


@pytest.mark.parametrize(
    ("error", "status", "transient", "told"),
    [
        ("ExpiredToken", 403, False, "the credentials have expired: renew them"),
        ("RequestExpired", 403, False, "the clock of this master is wrong: set it"),
        ("InvalidSignatureException", 403, False, "the clock of this master is wrong: set it"),
        ("AccessDenied", 403, False, "the credentials do not allow it"),
        ("Throttling", 400, True, "Throttling"),
        ("RequestLimitExceeded", 503, True, "RequestLimitExceeded"),
        ("InternalFailure", 500, True, "InternalFailure"),
        ("SomethingNew", 502, True, "SomethingNew"),
        ("ValidationError", 400, False, "ValidationError"),
    ],
)
def test_an_error_names_its_object_and_what_to_do(ask, aws, error, status, transient, told):
    for operation, parameters in (READ, CHANGE):
        aws.fault(operation=operation, error=error, status=status, times=1)
        with pytest.raises(errors.AWSError) as failure:
            ask(operation, **parameters)
        assert told in str(failure.value)
        assert f"elb.{operation} of edx-live: " in str(failure.value)
        assert isinstance(failure.value, errors.Transient) is transient
        assert (failure.value.code, failure.value.status) == (error, status)


@pytest.mark.parametrize(("said", "change"), [(READ, False), (CHANGE, True)])
@pytest.mark.parametrize(
    "fault", [{"reset": "before"}, {"reset": "after"}, {"rewrite": {"</": "<"}}]
)
def test_after_silence_of_a_change_nobody_claims_to_know(ask, aws, fault, said, change):
    operation, parameters = said
    aws.fault(operation=operation, times=1, **fault)
    with pytest.raises(errors.AWSTransient) as failure:
        ask(operation, **parameters)
    assert ("It is not known whether the change was made" in str(failure.value)) is change
    assert len(str(failure.value).splitlines()) == 1


def test_what_is_wrong_on_this_side_was_not_sent_and_is_not_asked_again(ask, aws, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("Invalid header value b'x\\n'")

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refuse)
    with pytest.raises(errors.AWSError) as failure:
        ask(*CHANGE[:1], **CHANGE[1])
    assert not isinstance(failure.value, errors.Transient)
    assert "Invalid header value" in str(failure.value)
    assert "Nothing was sent to AWS" in str(failure.value)
    assert aws.calls(writes=True) == []


def test_what_may_be_absent_is_none(ask):
    assert ask(*READ[:1], absent=("LoadBalancerNotFound",), **READ[1]) is None
