"""The load balancers' health checks: asks every registered instance again and again, and counts."""

import http.client
import json
import re
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sandbox.aws.service import Pending

TARGET = re.compile(r"(?P<protocol>HTTPS?|TCP|SSL):(?P<port>\d+)(?P<path>/.*)?", re.IGNORECASE)
PROBES = 8
REGISTERING = {
    "State": "OutOfService",
    "ReasonCode": "ELB",
    "Description": "Instance registration is still in progress.",
}
FAILED = {
    "State": "OutOfService",
    "ReasonCode": "Instance",
    "Description": (
        "Instance has failed at least the UnhealthyThreshold number of health checks consecutively."
    ),
}
RECOVERING = FAILED | {
    "Description": (
        "Instance has not passed the configured HealthyThreshold number of health checks"
        " consecutively."
    )
}


class Record:
    """What one load balancer knows of one instance."""

    def __init__(self, balancer, fault=None):
        self.balancer = balancer
        self.held = Pending(lambda: 0, fault)
        self.healthy = None
        self.last = None
        self.streak = 0

    def observe(self, passed, healthy_after, unhealthy_after):
        """Count a check; the state changes after so many equal ones in a row."""
        self.streak = self.streak + 1 if passed == self.last else 1
        self.last = passed
        if self.streak >= (healthy_after if passed else unhealthy_after):
            self.healthy = passed

    def state(self):
        """Return State, ReasonCode and Description; None when there is nothing wrong."""
        if self.healthy is None or not self.held.over:
            return REGISTERING
        if self.healthy:
            return None
        return RECOVERING if self.last else FAILED


class Health:
    """
    Probes every instance of every classic load balancer, each at its load balancer's interval.

    source: called with an instance id, the health check's target and a timeout in seconds; returns
    whether the check passes. overrides: instance id (``*``: every one not named) to whether its
    checks pass, instead of asking.
    """

    def __init__(self, settings, source, overrides=None):
        self.settings = settings
        self.source = source
        self.overrides = dict(overrides or {})
        self.records = {}
        self.asked = {}
        self.busy = set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.pool = ThreadPoolExecutor(PROBES, thread_name_prefix="health-check")
        self.thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self):
        """Start probing."""
        self.thread.start()

    def stop(self):
        """Stop probing, and wait for the probes under way."""
        self.stopping.set()
        self.thread.join()
        self.pool.shutdown()

    def register(self, balancer, instance, fault=None):
        """Begin to check an instance, now."""
        with self.lock:
            self.records[(balancer.name, instance)] = Record(balancer, fault)
            self.asked.pop((instance, balancer.health_check.target), None)

    def forget(self, name=None, instance=None):
        """Forget one instance of a load balancer, all of them, or everything."""
        with self.lock:
            kept = [key for key in self.records if (name or key[0], instance or key[1]) != key]
            self.records = {key: self.records[key] for key in kept}

    def state(self, name, instance):
        """
        Return what keeps an instance out of service, as DescribeInstanceHealth tells it; None for
        nothing.
        """
        with self.lock:
            record = self.records.get((name, instance))
            return record.state() if record else REGISTERING

    def change(self, overrides):
        """Set what checks find from now on; None for an instance asks it again."""
        self.overrides.update(overrides)
        self.overrides = {
            name: passes for name, passes in self.overrides.items() if passes is not None
        }

    def _run(self):
        while not self.stopping.wait(self._tick()):
            for (instance, target), balancers in self._wanted().items():
                self._submit(instance, target, balancers)

    def _tick(self):
        return min(0.25, max(0.01, (self.settings.health_interval or 1) / 4))

    def _submit(self, instance, target, balancers):
        key = (instance, target)
        interval = min(self._interval(balancer) for balancer in balancers)
        if key in self.busy or time.monotonic() < self.asked.get(key, float("-inf")) + interval:
            return
        self.asked[key] = time.monotonic()
        self.busy.add(key)
        self.pool.submit(self._check, instance, target, balancers)

    def _check(self, instance, target, balancers):
        try:
            passed = self._ask(instance, target, self._timeout(balancers[0]))
        finally:
            self.busy.discard((instance, target))
        with self.lock:
            for balancer in balancers:
                record = self.records.get((balancer.name, instance))
                if record:
                    record.observe(passed, *self._thresholds(balancer.health_check))

    def _ask(self, instance, target, timeout):
        forced = self.overrides.get(instance, self.overrides.get("*"))
        return bool(self.source(instance, target, timeout) if forced is None else forced)

    def _wanted(self):
        """
        Return the load balancers that want to know, by instance id and target: each instance is
        asked once.
        """
        wanted = {}
        with self.lock:
            for (_, instance), record in self.records.items():
                wanted.setdefault((instance, record.balancer.health_check.target), []).append(
                    record.balancer
                )
        return wanted

    def _interval(self, balancer):
        own = self.settings.health_interval
        return float(balancer.health_check.interval) if own is None else own

    def _timeout(self, balancer):
        return self.settings.health_timeout or float(balancer.health_check.timeout)

    def _thresholds(self, check):
        healthy = self.settings.health_healthy or int(check.healthy_threshold)
        return healthy, self.settings.health_unhealthy or int(check.unhealthy_threshold)


class HostProbe:
    """
    Asks the sandbox's hosts, where their ``host.json`` says that they listen; no host: not healthy.
    """

    def __init__(self, folder):
        self.hosts = folder / "hosts"
        # The hosts' certificates are the sandbox's own; AWS's load balancers do not verify them
        # either.
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    def __call__(self, instance, target, timeout):
        """Return whether an instance passes a check such as ``HTTPS:443/heartbeat``."""
        parts = TARGET.fullmatch(target)
        try:
            host = json.loads((self.hosts / instance / "host.json").read_text(encoding="utf-8"))
            if host.get("state", "running") != "running" or not parts:
                return False
            return self._answers(host, parts["protocol"].upper(), parts["path"] or "/", timeout)
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False

    def _answers(self, host, protocol, path, timeout):
        if protocol in ("TCP", "SSL"):
            with socket.create_connection((host["address"], host["port"]), timeout):
                return True
        secure = protocol == "HTTPS"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        options = {"context": self.tls} if secure else {}
        connection = kind(host["address"], host["port"], timeout=timeout, **options)
        try:
            connection.request("GET", path, headers={"User-Agent": "ELB-HealthChecker/1.0"})
            return connection.getresponse().status == 200
        finally:
            connection.close()
