"""Classic load balancers: who is registered, who is healthy, who is draining."""

import functools

from moto.ec2.models import ec2_backends
from moto.elb.models import FakeHealthCheck, elb_backends

from sandbox.aws import answer
from sandbox.aws.answer import AwsError
from sandbox.aws.service import Pending, Service

LONGEST_NAME = 32
DRAIN_TIMEOUT = 300
UNNAMED = ("create_load_balancer", "delete_load_balancer")
IN_SERVICE = {"State": "InService", "ReasonCode": "N/A", "Description": "N/A"}
DRAINING = IN_SERVICE | {"Description": "Instance deregistration currently in progress."}
NOT_REGISTERED = {
    "State": "OutOfService",
    "ReasonCode": "Instance",
    "Description": "Instance is not currently registered with the LoadBalancer.",
}


class LoadBalancers(Service):
    """
    Where moto differs: it takes unknown and terminated instances, registers twice, answers nothing
    after (de)registering, knows neither draining nor health checks, and breaks on a load balancer
    that is not there.
    """

    def __init__(self, folder, settings, health):
        super().__init__(folder, settings)
        self.health = health
        self.draining = {}

    def reset(self):
        """Forget who is draining."""
        self.draining.clear()

    def handle(self, call, forward):
        """As every service; a load balancer that is not there is always the same error."""
        names = call.parameters.get("LoadBalancerNames") or [
            call.parameters.get("LoadBalancerName")
        ]
        known = call.backend(elb_backends).load_balancers
        missing = [name for name in names if name and name not in known]
        if missing and call.operation not in UNNAMED:
            raise AwsError(
                "LoadBalancerNotFound", f"There is no ACTIVE Load Balancer named '{missing[0]}'"
            )
        return super().handle(call, forward)

    def create_load_balancer(self, call, forward):
        """Create one with the health check that AWS gives it."""
        name = call.parameters["LoadBalancerName"]
        if len(name) > LONGEST_NAME:
            raise AwsError(
                "ValidationError",
                f"LoadBalancer name cannot be longer than {LONGEST_NAME} characters",
            )
        response = forward()
        if response.status_code == 200:
            balancer = self._balancer(call)
            port = balancer.listeners[0].instance_port
            balancer.health_check = FakeHealthCheck("5", "10", "2", "10", f"TCP:{port}")
        return response

    def delete_load_balancer(self, call, forward):
        """Delete one, and what was known of its instances."""
        name = call.parameters["LoadBalancerName"]
        self.health.forget(name)
        self.draining = {key: drain for key, drain in self.draining.items() if key[0] != name}
        return forward()

    def register_instances_with_load_balancer(self, call, forward):
        """Register all or nobody; answer everyone who is registered now."""
        balancer, wanted = self._balancer(call), self._asked(call)
        self._check(call, wanted)
        new = [instance for instance in wanted if instance not in balancer.instance_sparse_ids]
        balancer.instance_sparse_ids = balancer.instance_sparse_ids + new
        for instance in new:
            self.draining.pop((balancer.name, instance), None)
            self.health.register(balancer, instance, call.fault)
        return answer.result(call, {"Instances": balancer.instances})

    def deregister_instances_from_load_balancer(self, call, forward):
        """Deregister all or nobody; answer everyone who stays."""
        balancer, wanted = self._balancer(call), self._asked(call)
        self._check(call, wanted)
        for instance in set(wanted) & set(balancer.instance_sparse_ids):
            self.draining[(balancer.name, instance)] = Pending(
                functools.partial(self._drain_time, balancer), call.fault
            )
            self.health.forget(balancer.name, instance)
        balancer.instance_sparse_ids = [i for i in balancer.instance_sparse_ids if i not in wanted]
        return answer.result(call, {"Instances": balancer.instances})

    def describe_instance_health(self, call, forward):
        """
        Answer the state of those asked for, or of all registered; terminated ones are left out.
        """
        balancer = self._balancer(call)
        wanted = self._asked(call) or balancer.instance_ids
        instances = self._instances(call)
        unknown = [instance for instance in wanted if instance not in instances]
        if unknown:
            raise AwsError("InvalidInstance", f"Could not find EC2 instance {unknown[0]}.")
        states = [
            {"InstanceId": instance} | self._state(balancer, instance, instances[instance])
            for instance in wanted
            if instances[instance] != "terminated"
        ]
        return answer.result(call, {"InstanceStates": states})

    def _state(self, balancer, instance, ec2_state):
        if instance not in balancer.instance_ids:
            drain = self.draining.get((balancer.name, instance))
            return (
                DRAINING if drain and not drain.over and ec2_state == "running" else NOT_REGISTERED
            )
        if ec2_state != "running":
            return NOT_REGISTERED | {"Description": f"Instance is in {ec2_state} state."}
        return self.health.state(balancer.name, instance) or IN_SERVICE

    def _drain_time(self, balancer):
        """
        Seconds: what the sandbox scales draining to, never more than the load balancer itself
        allows.
        """
        draining = balancer.attributes["connection_draining"]
        if str(draining.get("Enabled")).lower() != "true":
            return 0
        own = float(draining.get("Timeout", DRAIN_TIMEOUT))
        return own if self.settings.drain is None else min(own, self.settings.drain)

    def _check(self, call, wanted):
        instances = self._instances(call)
        bad = [instance for instance in wanted if instances.get(instance) in (None, "terminated")]
        if bad:
            raise AwsError("InvalidInstance", f"Could not find EC2 instance {bad[0]}.")

    @staticmethod
    def _instances(call):
        """Return every EC2 instance's state by id."""
        reservations = call.backend(ec2_backends).all_reservations()
        return {instance.id: instance.state for held in reservations for instance in held.instances}

    @staticmethod
    def _asked(call):
        """Return the instance ids of a call, each once."""
        return list(
            dict.fromkeys(
                instance["InstanceId"] for instance in call.parameters.get("Instances") or []
            )
        )

    @staticmethod
    def _balancer(call):
        return call.backend(elb_backends).load_balancers[call.parameters["LoadBalancerName"]]
