"""Classic load balancers: members, health, draining."""

import datetime
import http.server
import json
import ssl
import threading

import pytest
from aws_asking import FOR_EVER, LISTENERS, OURS, refused, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

IN_SERVICE = ("InService", "N/A", "N/A")
REGISTERING = ("OutOfService", "ELB", "Instance registration is still in progress.")
NOT_REGISTERED = (
    "OutOfService",
    "Instance",
    "Instance is not currently registered with the LoadBalancer.",
)
RECOVERING = (
    "OutOfService",
    "Instance",
    (
        "Instance has not passed the configured HealthyThreshold number of health checks"
        " consecutively."
    ),
)
DRAINING = ("InService", "N/A", "Instance deregistration currently in progress.")
FAILED = (
    "OutOfService",
    "Instance",
    "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
)


def test_new_load_balancer_has_a_health_check(aws, balancer):
    found = aws.client("elb", OURS).describe_load_balancers()["LoadBalancerDescriptions"][0]
    assert found["HealthCheck"]["Target"] == "TCP:443"
    refused(
        "ValidationError",
        400,
        aws.client("elb", OURS).create_load_balancer,
        LoadBalancerName="edx-next-residential-studio-live-mitx-qa",
        Listeners=LISTENERS,
        AvailabilityZones=["us-east-1a"],
    )


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("describe_load_balancers", {"LoadBalancerNames": ["edx", "none"]}),
        ("describe_instance_health", {"LoadBalancerName": "none"}),
        ("describe_load_balancer_attributes", {"LoadBalancerName": "none"}),
        (
            "register_instances_with_load_balancer",
            {"LoadBalancerName": "none", "Instances": [{"InstanceId": "i-1"}]},
        ),
        (
            "deregister_instances_from_load_balancer",
            {"LoadBalancerName": "none", "Instances": [{"InstanceId": "i-1"}]},
        ),
    ],
)
def test_missing_load_balancer_is_always_the_same_error(aws, balancer, operation, parameters):
    call = getattr(aws.client("elb", OURS), operation)
    assert "'none'" in refused("LoadBalancerNotFound", 400, call, **parameters)


def test_register_and_deregister_answer_who_is_registered(aws, balancer, launched):
    a, b, c = launched(3)
    assert balancer.register(a, b) == [a, b]
    assert balancer.register(b, c, c) == [a, b, c]
    assert balancer.deregister(b) == [a, c]
    assert balancer.deregister(b) == [a, c]
    assert balancer.members() == [a, c]


def test_one_bad_instance_registers_and_deregisters_nobody(aws, balancer, launched):
    good, gone, member = launched(3)
    aws.client("ec2").terminate_instances(InstanceIds=[gone])
    balancer.register(member)
    for bad in (gone, "i-0123456789abcdef0"):
        assert bad in refused("InvalidInstance", 400, balancer.register, good, bad)
        assert bad in refused("InvalidInstance", 400, balancer.deregister, member, bad)
    assert balancer.members() == [member]


def test_instance_comes_into_service_after_enough_checks_and_leaves_after_enough_failures(
    aws, balancer, launched
):
    aws.settings(health_interval=FOR_EVER)
    instance = launched()[0]
    aws.health({instance: True})
    balancer.register(instance)
    assert balancer.states() == {instance: REGISTERING}
    aws.settings(health_interval=0.02)
    until(balancer.states, {instance: IN_SERVICE})
    aws.health({instance: False})
    until(balancer.states, {instance: FAILED})
    aws.settings(health_healthy=FOR_EVER)
    aws.health({instance: True})
    until(balancer.states, {instance: RECOVERING})
    aws.settings(health_healthy=2)
    until(balancer.states, {instance: IN_SERVICE})
    aws.client("ec2").stop_instances(InstanceIds=[instance])
    assert balancer.states() == {
        instance: ("OutOfService", "Instance", "Instance is in stopped state.")
    }


def test_health_answers_only_for_those_that_exist(aws, balancer, launched):
    member, stranger, gone = launched(3)
    balancer.register(member, gone)
    aws.client("ec2").terminate_instances(InstanceIds=[gone])
    assert list(balancer.states()) == [member]
    assert balancer.states(stranger, gone) == {stranger: NOT_REGISTERED}
    assert "i-0123456789abcdef0" in refused(
        "InvalidInstance", 400, balancer.states, member, "i-0123456789abcdef0"
    )


def test_draining_takes_its_time(aws, balancer, launched):
    stays, leaves = launched(2)
    aws.settings(drain=FOR_EVER)
    aws.health({"*": True})
    balancer.register(stays, leaves)
    until(balancer.states, {stays: IN_SERVICE, leaves: IN_SERVICE})
    balancer.deregister(leaves)
    assert balancer.members() == [stays]
    assert balancer.states() == {stays: IN_SERVICE}
    assert balancer.states(leaves) == {leaves: DRAINING}
    aws.settings(drain=0)
    assert balancer.states(leaves) == {leaves: NOT_REGISTERED}


def test_load_balancer_without_draining_lets_go_at_once(aws, balancer, launched):
    instance = launched()[0]
    aws.settings(drain=FOR_EVER)
    aws.client("elb").modify_load_balancer_attributes(
        LoadBalancerName="edx", LoadBalancerAttributes={"ConnectionDraining": {"Enabled": False}}
    )
    balancer.register(instance)
    balancer.deregister(instance)
    assert balancer.states(instance) == {instance: NOT_REGISTERED}


def test_draining_and_registration_can_be_held_by_a_fault(aws, balancer, launched):
    instance = launched()[0]
    aws.health({"*": True})
    aws.fault(operation="register_instances_with_load_balancer", outcome="pending")
    aws.fault(operation="deregister_instances_from_load_balancer", outcome="pending")
    balancer.register(instance)
    assert balancer.states() == {instance: REGISTERING}
    balancer.deregister(instance)
    assert balancer.states(instance) == {instance: DRAINING}
    aws.clear_faults()
    assert balancer.states(instance) == {instance: NOT_REGISTERED}


class Host(http.server.BaseHTTPRequestHandler):
    """An Open edX host as far as a health check can tell."""

    status = 200
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def host(tmp_path):
    """A web server with a certificate that nobody signed; returns it and its handler."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "host")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    )
    builder = (
        builder.serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = key.private_bytes(serialization.Encoding.PEM, *plain)
    pem += builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "host.pem").write_bytes(pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "host.pem")
    handler = type("ThisHost", (Host,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server, handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_health_is_what_the_host_answers(aws, balancer, launched, host):
    server, handler = host
    check = {
        "Target": "HTTPS:443/heartbeat",
        "Interval": 30,
        "Timeout": 5,
        "UnhealthyThreshold": 2,
        "HealthyThreshold": 3,
    }
    aws.client("elb").configure_health_check(LoadBalancerName="edx", HealthCheck=check)
    instance, silent = launched(2)
    folder = aws.folder / "hosts" / instance
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "host.json").write_text(
        json.dumps({"address": "127.0.0.1", "port": server.server_port, "state": "running"})
    )
    aws.settings(health_healthy=None)  # the load balancer's own
    balancer.register(instance, silent)
    until(balancer.states, {instance: IN_SERVICE, silent: FAILED})
    assert set(handler.asked) == {"/heartbeat"}
    assert len(handler.asked) >= check["HealthyThreshold"]
    handler.status = 503
    until(lambda: balancer.states(instance), {instance: FAILED})
    handler.status = 200
    until(lambda: balancer.states(instance), {instance: IN_SERVICE})
