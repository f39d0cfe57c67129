"""
The gateway to AWS
===============

Every call of this package to AWS goes through :py:func:`call`: it is journaled, a change is refused
under ``test=True``, and errors come translated. Credentials and region are taken as Salt's boto
modules take them: ``mitx:…:aws: {region, keyid, key}`` or ``{profile: <name in the configuration or
pillar, or a dict>}``, else botocore's own chain. The endpoint is ``aws.endpoint_url``, else
``AWS_ENDPOINT_URL[_<SERVICE>]``.

:depends: boto3
"""

import json

from salt.exceptions import CommandExecutionError

from mitx_run import calls, errors, journal
from mitx_run.dunders import __context__

try:
    import boto3
    import botocore.config
    import botocore.exceptions
    import botocore.parsers

    HAS_BOTO3 = True
except ImportError:
    HAS_BOTO3 = False

# What IAM must allow (mitx_upgrade.permissions).
ACTIONS = ("sts:GetCallerIdentity",)


_READS = ("describe_", "list_", "get_", "head_", "simulate_")

# Retried by botocore already; after its last try a poller with a deadline may still go on.
_TRANSIENT_CODES = {
    "InternalError",
    "InternalFailure",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "Unavailable",
}

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_CLOCK = {"RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException"}
_TRANSIENT_STATUS = {429, 500, 502, 503, 504}

# What names the object of a call, in the order in which it is looked for.
_OBJECT_KEYS = (
    "LoadBalancerName",
    "LoadBalancerNames",
    "HostedZoneId",
    "DistributionId",
    "Id",
    "Bucket",
    "InstanceIds",
    "ImageIds",
)


def call(run, service, operation, absent=(), **parameters):
    """
    Call one operation of AWS and return its answer without ``ResponseMetadata``; all pages of it if
    it has pages, the content of an object (``Body``) as ``bytes``.

    service
        As boto3 names it: ``route53``, ``elb``, ``ec2``, ``cloudfront``, ``s3``, ``acm``, ``sts``.
    operation
        As a method of boto3's client: ``change_resource_record_sets``. What does not begin with
        ``describe_``, ``list_``, ``get_``, ``head_`` or ``simulate_`` is a change.
    absent
        Error codes, or HTTP status numbers, for which ``None`` is returned.

    Raises :py:class:`errors.AWSError`, and where AWS throttled it, failed by itself or did not
    answer, :py:class:`errors.AWSTransient`.
    """
    parameters = {key: value for key, value in parameters.items() if not key.startswith("__")}
    what = f"{service}.{operation}"
    client = _client(run, service)
    change = not operation.startswith(_READS)
    with journal.gateway(
        run, "aws", change=change, service=service, operation=operation, parameters=parameters
    ):
        try:
            return _send(client, operation, parameters)
        except botocore.exceptions.ClientError as err:
            failure = _translate_answer(what, parameters, err)
            if {failure.code, failure.status} & set(absent):
                return None
            raise failure from err
        except (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError) as err:
            raise _translate_silence(what, parameters, err) from err
        except (TypeError, ValueError) as err:
            # Found on this side, before anything was sent.
            message = f"{what}{_object(parameters)}: {err}. Nothing was sent to AWS"
            raise errors.AWSError(journal.without_passwords(message)) from err


def planned(service, operation, **parameters):
    """
    Return the :py:class:`calls.Call` of a change, for a plan.
    """
    line = {"event": "aws", "service": service, "operation": operation, "parameters": parameters}
    return calls.Call(line, call, service, operation, **parameters)


def account(run):
    """
    Return ``{account, arn, endpoint}``: whose credentials these are and where the calls go.
    """
    identity = call(run, "sts", "get_caller_identity")
    return {
        "account": identity["Account"],
        "arn": identity["Arn"],
        "endpoint": _client(run, "elb").meta.endpoint_url,
    }


def _send(client, operation, parameters):
    if client.can_paginate(operation):
        return client.get_paginator(operation).paginate(**parameters).build_full_result()
    try:
        method = getattr(client, operation)
    except AttributeError as err:
        raise CommandExecutionError(
            f"{client.meta.service_model.service_name} has no operation {operation}"
        ) from err
    answer = method(**parameters)
    answer.pop("ResponseMetadata", None)
    if hasattr(answer.get("Body"), "read"):
        # Read here, where what goes wrong with it is told as AWS's.
        answer["Body"] = answer["Body"].read()
    return answer


def _client(run, service):
    """
    Return boto3's client, kept for the life of the loader. boto3's default session has the
    descriptions of the services read already, which otherwise cost 50 ms a client; every nested
    orchestration has a loader, and so clients, of its own.
    """
    aws = run.aws
    key = f"mitx_run.aws.client.{service}.{json.dumps(aws, sort_keys=True, default=str)}"
    if key not in __context__:
        try:
            __context__[key] = boto3.client(
                service,
                aws_access_key_id=aws.get("keyid"),
                aws_secret_access_key=aws.get("key"),
                aws_session_token=aws.get("token"),
                region_name=aws.get("region"),
                endpoint_url=aws.get("endpoint_url"),
                config=_config(aws),
            )
        except (botocore.exceptions.BotoCoreError, ValueError) as err:
            given = "region, keyid and key, profile, endpoint_url"
            message = f"mitx:…:aws ({given}; AWS_PROFILE): no client for {service}: {err}"
            raise errors.AWSError(journal.without_passwords(message)) from err
    return __context__[key]


def _config(aws):
    return botocore.config.Config(
        # total_max_attempts counts the first try, max_attempts (in code) does not: only this one
        # means one thing.
        retries={"mode": "standard", "total_max_attempts": int(aws.get("attempts", 8))},
        connect_timeout=10,
        read_timeout=float(aws.get("read_timeout", 60)),
        user_agent_extra="saltext-mitx",
    )


def _translate_answer(what, parameters, err):
    code = str(err.response.get("Error", {}).get("Code") or "")
    status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = err.response.get("Error", {}).get("Message") or "no message"
    shown = code or f"HTTP {status}"
    if code in _EXPIRED:
        message += "; the credentials have expired: renew them, then run the same command again"
    elif code in _CLOCK:
        message += "; the clock of this master is wrong: set it, then run the same command again"
    elif status == 403:
        message += "; the credentials do not allow it"
    transient = code in _TRANSIENT_CODES or status in _TRANSIENT_STATUS
    kind = errors.AWSTransient if transient else errors.AWSError
    text = f"{what}{_object(parameters)}: {shown}: {message}"
    return kind(journal.without_passwords(text), code, status)


def _translate_silence(what, parameters, err):
    transient = isinstance(
        err,
        (
            botocore.exceptions.ConnectionError,
            botocore.exceptions.HTTPClientError,
            # What moto and proxies send for a server error is no XML.
            botocore.parsers.ResponseParserError,
            botocore.exceptions.FlexibleChecksumError,
            botocore.exceptions.IncompleteReadError,
        ),
    )
    # What cannot be read is quoted whole on the lines after the first.
    text = f"{what}{_object(parameters)}: {str(err).partition(chr(10))[0].rstrip('.:')}."
    if not transient:
        return errors.AWSError(journal.without_passwords(text))
    if not what.partition(".")[2].startswith(_READS):
        text += " It is not known whether the change was made; the same command finds out and goes"
        text += " on."
    return errors.AWSTransient(journal.without_passwords(text))


def _object(parameters):
    for key in _OBJECT_KEYS:
        if parameters.get(key):
            value = parameters[key]
            return " of " + (
                ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            )
    return ""
