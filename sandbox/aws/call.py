"""A request, read: which service, which operation, which parameters, and whose."""

import contextlib
import dataclasses
import io
import os
import re

from botocore import xform_name
from botocore.exceptions import BotoCoreError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from werkzeug.exceptions import HTTPException

from sandbox.aws import boto2, salt_cloud

# The services that belong to the sandbox itself: never logged, and spared by faults that do not
# name them.
INTERNAL = ("sandbox-internal", "sandbox-dns")

# The account that moto answers as.
ACCOUNT = os.environ.get("MOTO_ACCOUNT_ID", DEFAULT_ACCOUNT_ID)

READS = ("describe_", "list_", "get_", "head_", "simulate_")
SCOPE = re.compile(r"Credential=[^/,\s]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
AGENT = re.compile(r"\b(saltext-mitx|sandbox-[a-z]+)\b")


@dataclasses.dataclass
class Call:
    """
    ``model`` and ``protocol`` are botocore's description of the operation, or None for one it does
    not know.
    """

    environ: dict
    service: str
    region: str
    agent: str
    operation: str = "unknown"
    parameters: dict = dataclasses.field(default_factory=dict)
    model: object = None
    protocol: str | None = None
    account: str = ACCOUNT
    fault: object = None

    @property
    def write(self):
        """Whether it changes something, told by its name."""
        return not self.operation.startswith(READS)

    @property
    def internal(self):
        """Whether a part of the sandbox itself asks."""
        return self.agent in INTERNAL

    def backend(self, backends, region=None):
        """Return moto's own state for this call; ``region`` where a service is global."""
        return backends[self.account][region or self.region]


def read(environ):
    """
    Read a WSGI request without using it up.

    environ: the WSGI environment; its body is buffered, so that moto can still read it.
    Returns a Call; operations that botocore does not know are called ``unknown``.
    """
    body = _buffered(environ)
    boto2.sign(environ)
    salt_cloud.number(environ)
    request = Request(environ)
    region, service = _scope(request)
    call = Call(environ, service, region, _agent(request.headers.get("User-Agent", "")))
    # What cannot be read here, moto answers as it will; the log shows "unknown".
    with contextlib.suppress(
        HTTPException, BotoCoreError, NotImplementedError, KeyError, ValueError
    ):
        _describe(call, request, body)
    environ["wsgi.input"] = io.BytesIO(body)
    return call


def _describe(call, request, body):
    service_model = get_service_model(call.service)
    call.model, uri_parameters = get_service_router(call.service).match(request)
    call.operation = xform_name(call.model.name)
    call.protocol = determine_request_protocol(service_model, request.content_type)
    call.parameters = PROTOCOL_PARSERS[call.protocol](call.model).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": body,
            "url_path": request.path,
            "url_params": uri_parameters,
        }
    )


def _buffered(environ):
    """Read the whole body, chunked or not, and leave it where moto looks for it."""
    stream = environ["wsgi.input"]
    body = (
        stream.read()
        if environ.pop("wsgi.input_terminated", False)
        else stream.read(_length(environ))
    )
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _length(environ):
    return int(environ.get("CONTENT_LENGTH") or 0)


def _scope(request):
    """Whom the signature is for. Unsigned requests are S3's, as moto takes them too."""
    found = SCOPE.search(request.headers.get("Authorization", ""))
    if not found:
        return "us-east-1", "s3"
    service = found["service"]
    if service == "elasticloadbalancing":
        service = "elbv2" if request.values.get("Version") == "2015-12-01" else "elb"
    return found["region"], service


def _agent(text):
    found = AGENT.search(text)
    return found[1] if found else text.split("/", 1)[0].lower()
