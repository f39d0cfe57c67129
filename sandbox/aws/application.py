"""The WSGI application: reads a call, lets faults at it, answers it or asks moto, and logs it."""

import os
import socket
import struct
import sys
import time
import traceback

import moto.settings
from moto.core.base_backend import BackendDict
from moto.core.exceptions import ServiceException
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request, Response

from sandbox.aws import answer, boto2, salt_cloud
from sandbox.aws import call as calls
from sandbox.aws.acm import Certificates
from sandbox.aws.cloudfront import Distributions
from sandbox.aws.control import Control
from sandbox.aws.ec2 import Compute
from sandbox.aws.elb import LoadBalancers
from sandbox.aws.faults import Faults
from sandbox.aws.health import Health, HostProbe
from sandbox.aws.iam import Permissions
from sandbox.aws.log import CallLog
from sandbox.aws.route53 import Dns

# moto's own images: hundreds, none of them ours, and slow to make.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
# A certificate asked for is issued as soon as somebody looks; in AWS that was weeks before the
# window.
moto.settings.ACM_VALIDATION_WAIT = -1

# Holds no state of its own, and its routes are slow to make.
MOTO = DomainDispatcherApplication(create_backend_app)


class Application:
    """
    The whole of the fake AWS.

    folder: the sandbox's folder (Path). settings: Settings. health: where health comes from instead
    of the hosts: a callable (instance id, target, timeout) or a dict of instance id (``*``: all
    others) to whether it is healthy.
    """

    def __init__(self, folder, settings, health=None):
        self.settings = settings
        self.log = CallLog(folder / "aws")
        self.faults = Faults()
        source = health if callable(health) else HostProbe(folder)
        self.health = Health(settings, source, None if callable(health) else health)
        self.services = {
            "acm": Certificates(folder, settings),
            "cloudfront": Distributions(folder, settings),
            "ec2": Compute(folder, settings),
            "iam": Permissions(self.faults),
            "elb": LoadBalancers(folder, settings, self.health),
            "route53": Dns(folder, settings),
        }
        self.control = Control(self)
        self.reset()

    def reset(self):
        """Start over: an empty AWS, no faults. Settings, health and the log stay."""
        self.faults.clear()
        self.health.forget()
        BackendDict.reset()
        reset_model_data()
        for service in self.services.values():
            service.reset()

    def __call__(self, environ, start_response):
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_sandbox"):
            response = self.control.answer(Request(environ))
        elif path.startswith("/moto-api"):
            return MOTO(environ, start_response)
        else:
            response = self._serve(environ)
        return response(environ, start_response)

    def _serve(self, environ):
        call = calls.read(environ)
        call.fault = fault = self.faults.take(call)
        response = self._perform(call) if fault is None or fault.applied else None
        if fault:
            response = fault.spoil(call, response)
        dropped = fault is not None and fault.drops
        if dropped:
            self.log.write(call, None, "ConnectionReset")
        else:
            self.log.write(call, response.status_code, answer.code_of(response))
        if fault and fault.delay:
            time.sleep(fault.delay)
        if dropped:
            _drop(environ)
        return response

    def _perform(self, call):
        service = self.services.get(call.service)
        refusal = self.services["iam"].refusal(call)
        if refusal:
            return answer.error(call, "AccessDenied", refusal, 403)

        def forward():
            response = Response.from_app(MOTO, call.environ, buffered=True)
            return salt_cloud.readable(call, boto2.readable(call, response))

        try:
            return service.handle(call, forward) if service else forward()
        except answer.AwsError as err:
            return answer.error(call, err.code, err.message, err.status)
        except ServiceException as err:
            return answer.error(call, err.code, err.message)
        except (
            Exception
        ) as err:  # what moto cannot do must look like AWS being down, not like a broken server
            traceback.print_exc(file=sys.stderr)
            return answer.error(call, "InternalFailure", f"{type(err).__name__}: {err}", 500)


def _drop(environ):
    """Reset the connection under the client's feet."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionResetError("fault of the sandbox")
