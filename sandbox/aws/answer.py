"""Answers of our own, in the form that each service's protocol wants."""

import re
import warnings

from moto.core.serialize import XFormedAttributePicker, get_serializer_class
from werkzeug.wrappers import Response

# Where botocore's model does not tell an error's HTTP status: what AWS answers.
STATUS = {
    "AccessDenied": 403,
    "UnauthorizedOperation": 403,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
XML_CODE = re.compile(r"<Code>([^<]*)</Code>")
JSON_CODE = re.compile(r'"__type":\s*"(?:[^"#]*#)?([^"]*)"')


class AwsError(Exception):
    """
    An answer that AWS gives instead of doing what it was asked; ``status`` only where the model has
    another.
    """

    def __init__(self, code, message, status=None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def result(call, data):
    """Return the Response for a call that went well; ``data`` as boto3 would show it."""
    return _serialized(call, data)


def error(call, code, message, status=None):
    """
    Return the Response for a refused call.

    code: the error code; may be empty, as in some refusals.
    status: the HTTP status, by default the one that the service's model has for this code.
    """
    if call.model is None:
        return Response(b"", status=status or 500)
    # moto warns of codes that botocore's models lack; AWS has many of those (Throttling is one).
    warnings.filterwarnings("ignore", message=r"Exception\(AwsError\)")
    response = _serialized(call, AwsError(code, message))
    response.status_code = status or STATUS.get(code, response.status_code)
    if not code:
        response.set_data(
            response.get_data(as_text=True).replace("<Code/>", "").replace("<Code></Code>", "")
        )
    return response


def code_of(response):
    """
    Return the error code of a Response, as boto3 tells it; None for an answer that is no error.
    """
    if response.status_code < 400:
        return None
    text = response.get_data(as_text=True)
    found = XML_CODE.search(text) or JSON_CODE.search(text)
    if found:
        return found[1]
    return "" if text else str(response.status_code)


def _serialized(call, content):
    serializer = get_serializer_class(call.model.service_model.service_name, call.protocol)
    parts = serializer(operation_model=call.model, value_picker=XFormedAttributePicker()).serialize(
        content
    )
    return Response(parts["body"], status=parts["status_code"], headers=parts["headers"])
