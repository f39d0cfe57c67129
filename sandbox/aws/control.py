"""``/_sandbox``: what tests and people change while the fake AWS runs. Everything is JSON."""

import json
import os

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Response

TRUTH = {"true": True, "false": False}


class Control:
    """
    GET / · reset: POST · settings: GET, POST {name: value} · health: GET, POST {instance id or *:
    true, false, null} · faults: GET, POST {…}, DELETE [?id=] · calls: GET
    [?agent=&service=&operation=&write=], DELETE · distributions/<id>: POST {status: InProgress,
    Deployed or null} · policy: POST {policy: an IAM policy that is enforced from now on, or null}
    """

    def __init__(self, application):
        self.application = application
        self.routes = Map(
            [
                Rule("/_sandbox", methods=["GET"], endpoint=self._about),
                Rule("/_sandbox/reset", methods=["POST"], endpoint=self._reset),
                Rule("/_sandbox/settings", methods=["GET", "POST"], endpoint=self._settings),
                Rule("/_sandbox/health", methods=["GET", "POST"], endpoint=self._health),
                Rule("/_sandbox/faults", methods=["GET", "POST", "DELETE"], endpoint=self._faults),
                Rule("/_sandbox/calls", methods=["GET", "DELETE"], endpoint=self._calls),
                Rule("/_sandbox/policy", methods=["POST"], endpoint=self._policy),
                Rule(
                    "/_sandbox/distributions/<name>", methods=["POST"], endpoint=self._distribution
                ),
            ],
            strict_slashes=False,
        )

    def answer(self, request):
        """Return the Response to a request; 400 with an ``error`` for one that makes no sense."""
        try:
            endpoint, values = self.routes.bind_to_environ(request.environ).match()
            content, status = endpoint(request, **values), 200
        except HTTPException as err:
            content, status = {"error": err.description}, err.code
        except (ValueError, TypeError) as err:
            content, status = {"error": str(err)}, 400
        except KeyError as err:
            content, status = {"error": f"there is no {err}"}, 404
        return Response(
            json.dumps(content, default=str) + "\n", status=status, content_type="application/json"
        )

    def _about(self, request):
        return {"sandbox": "aws", "pid": os.getpid()}

    def _reset(self, request):
        self.application.reset()
        return {}

    def _settings(self, request):
        if request.method == "POST":
            self.application.settings.change(_body(request))
        return self.application.settings.as_dict()

    def _health(self, request):
        if request.method == "POST":
            self.application.health.change(_body(request))
        return self.application.health.overrides

    def _faults(self, request):
        faults = self.application.faults
        if request.method == "POST":
            return faults.add(_body(request)).as_dict()
        if request.method == "DELETE":
            faults.clear(request.args.get("id", type=int))
        return [fault.as_dict() for fault in faults.standing]

    def _calls(self, request):
        if request.method == "DELETE":
            self.application.log.clear()
        return self.application.log.read(
            **{name: TRUTH.get(value, value) for name, value in request.args.items()}
        )

    def _policy(self, request):
        policy = _body(request)["policy"]
        self.application.services["iam"].policy = policy
        return {"enforced": policy is not None}

    def _distribution(self, request, name):
        status = _body(request).get("status")
        self.application.services["cloudfront"].set_status(name, status)
        return {"status": status}


def _body(request):
    content = json.loads(request.get_data() or b"{}")
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, not {type(content).__name__}")
    return content
