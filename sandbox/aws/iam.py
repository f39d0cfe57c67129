"""
IAM, as far as it is asked here: which actions these credentials may. What is denied is what a fault
denies.
"""

from botocore import xform_name

from sandbox.aws import answer

SERVICES = {"elasticloadbalancing": "elb"}
DENIALS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
# Actions that allow more than the operation of their name.
ALSO = {"s3:GetObject": ["head_object"], "s3:ListBucket": ["list_objects_v2"]}


class Permissions:
    """Answers SimulatePrincipalPolicy from the faults that stand."""

    def __init__(self, faults):
        self.faults = faults

    def reset(self):
        """It has no state of its own."""

    def handle(self, call, forward):
        """Answer a call."""
        if call.operation != "simulate_principal_policy":
            return forward()
        asked = call.parameters["ActionNames"]
        results = [
            {"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": self._judge(action)}
            for action in asked
        ]
        return answer.result(call, {"EvaluationResults": results, "IsTruncated": False})

    def _judge(self, action):
        prefix, _, name = action.partition(":")
        service = SERVICES.get(prefix, prefix)
        operations = [xform_name(name), *ALSO.get(action, ())]
        denied = any(
            fault.error in DENIALS
            and fault.service in (None, service)
            and fault.operation in operations
            for fault in self.faults.standing
        )
        return "implicitDeny" if denied else "allowed"
