"""
One night in which everything goes wrong, one thing after the other, through the commands that an
engineer types: a fault is put into the sandbox, the command stops at the phase that meets it, the
fault is taken away, and the same command goes on to the next one. The tests build on each other in
the order of the file; visitors look on from before the first command until after the last.
"""

import contextlib
import json
import os
import re
import signal
import socket

import pytest
import yaml

from sandbox import assembly, processes
from sandbox.hosts import faults, queue
from sandbox.points import ORDER
from tests.support.upgrade_world import OURS, World

pytestmark = pytest.mark.timeout(900)
OPENEDX = {"lms", "cms", "lms_worker", "cms_worker", "gitreload"}
WINDOW = "salt-run state.orchestrate orchestrate.mitx.window"
PHASES = [*ORDER, "retire"]
DRAFT, LIVE = OURS
# Names of load balancers are cut to 32 characters.
DRAFT_ELB, LIVE_ELB, STUDIO_ELB = (
    "edx-next-residential-draft-mitx",
    "edx-next-residential-live-mitx-q",
    "edx-next-residential-studio-live",
)
NEW_WEB = f"edx-mitx-qa-{LIVE}-1-v1"
OLD_WEB = [f"edx-mitx-qa-{LIVE}-0-v3", f"edx-mitx-qa-{LIVE}-1-v3"]
OLD_WORKER = f"edx-worker-mitx-qa-{LIVE}-0-v3"
# A bound for a hang, not a measurement.
SECONDS = 60


@pytest.fixture(scope="module")
def world():
    world = World()
    try:
        status, output = world.sandbox("up", "--at", "prepared")
        assert status == 0, output[-4000:]
        # No earlier release may come back, not for one answer: nothing is rolled back here.
        assembly.daemon(
            world.config, "visitor", "sandbox.public.visitor", "--dir", str(world.folder)
        )
        looks = (world.folder / "visitor-summary.json").exists
        processes.wait_until(
            lambda: looks() and world.summary()["asked"], SECONDS, "a first visitor has an answer"
        )
        yield world
    finally:
        world.down()


@pytest.fixture(scope="module")
def fleets(world):
    """``{old: {name: id}, new: {name: id}}``"""
    found = {}
    for side, codename in (("old", "juniper"), ("new", "koa")):
        here = world.fleet(codename)
        found[side] = {
            one["name"]: id_
            for id_, one in world.instances(edx_codename=codename).items()
            if id_ in here
        }
    assert [len(fleet) for fleet in found.values()] == [5, 5]
    return found


@pytest.fixture(scope="module")
def printed():
    """What an earlier message has told to type."""
    return {}


@pytest.fixture
def refused(world, fleets):
    """
    ``refused(phase, names, …)``: a command ends in this phase, and says and records what it has to.
    Returns its message.
    """

    def run(phase, *names, command=WINDOW, **pillar):
        before = len(world.journal())
        status, output = typed(world, command, **pillar)
        lines = [line for line in world.journal()[before:] if line["event"] == "phase"]
        assert status != 0, output[-6000:]
        assert (lines[-1]["phase"], lines[-1]["status"]) == (phase, "failed"), output[-6000:]
        assert not [line for line in lines if PHASES.index(line["phase"]) > PHASES.index(phase)]
        # The message itself, not the log around it.
        told = re.search(
            # An orchestration's, or a runner command's.
            rf"(?:Comment: |Error:\n +){phase} failed:\n(.*)"
            r"Now true:\n(.*)Next, when that is put right: (.*?)\n",
            output,
            re.DOTALL,
        )
        assert told, output[-6000:]
        for name in names:
            assert name in told[1], name
            assert name in lines[-1]["error"], name
        assert_truth(world, fleets, told[2])
        closed = PHASES.index("close") < PHASES.index(phase) <= PHASES.index("open")
        assert ("lead to the maintenance page" in told[2]) is closed
        assert told[3] == command
        return told[1]

    return run


def typed(world, command, **pillar):
    """
    Run a command as the engineer types it, with a pillar straight below ``mitx``; returns ``(exit
    status, output)``.
    """
    tool, *words = command.split()
    return world.sandbox(
        tool, *words, *([f"pillar={json.dumps({'mitx': pillar})}"] if pillar else []), timeout=300
    )


def assert_truth(world, fleets, told):
    """What a message says of load balancers and DNS is what AWS says."""
    sides = {id_: side for side, fleet in fleets.items() for id_ in fleet.values()}
    for elb, ids in world.members().items():
        if "next" in elb:
            counts = {
                side: [sides.get(id_, "other") for id_ in ids].count(side)
                for side in ("new", "old", "other")
            }
            assert (
                f"{elb} holds {', '.join(f'{n} {side}' for side, n in counts.items() if n)}\n"
                in told
            )
    for name in (name for name in world.records() if "next" in name and not name.startswith("gr-")):
        line = next(
            line
            for line in told.splitlines()
            if "DNS: " in line and (name in line or "DNS: all 6 names" in line)
        )
        assert ("lead to the maintenance page" in line) is world.records()[name].endswith(
            "cloudfront.net"
        )


@contextlib.contextmanager
def faulty(world, kind, **fault):
    """The hosts have a fault, until the end of the block."""
    faults.put(world.folder, kind, fault)
    try:
        yield
    finally:
        faults.put(world.folder, kind)


@contextlib.contextmanager
def faulty_aws(world, *described):
    """AWS has these faults, for this package only, until the end of the block; yields their ids."""
    try:
        yield [world.aws.fault(agent="saltext-mitx", **fault)["id"] for fault in described]
    finally:
        world.aws.clear_faults()


def units(world, host, do="list", unit=None):
    """
    Ask the host's init, as systemctl would on a real one: ``{unit: {running, enabled, pid}}``.
    """
    facts = json.loads((world.folder / "hosts" / host / "host.json").read_text())
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as init:
        init.settimeout(SECONDS)
        init.connect(f"{facts['run']}/init.sock")
        init.sendall(json.dumps({"do": do, "unit": unit}).encode() + b"\n")
        return json.loads(init.makefile().readline())["units"]


def changes_of_dns(world):
    return [call for call in world.writes() if call["operation"] == "change_resource_record_sets"]


def since(world, phase, event):
    """The journal's lines of an event since the phase last started."""
    return [
        line
        for line in world.journal()
        if line["event"] == event and line["time"] > world.phase(phase, "started")
    ]


def in_service(world, host):
    """Whether both load balancers of the live purpose say so."""
    asked = [{"InstanceId": host}]
    states = [
        world.aws.client("elb").describe_instance_health(LoadBalancerName=elb, Instances=asked)[
            "InstanceStates"
        ][0]["State"]
        for elb in (LIVE_ELB, STUDIO_ELB)
    ]
    return set(states) == {"InService"}


def test_close_refuses_a_worker_that_was_launched_since(world, fleets, refused):
    """It works on the same databases, and nobody would stop it."""
    ec2 = world.aws.client("ec2")
    like = ec2.describe_instances(InstanceIds=[fleets["old"][OLD_WORKER]])["Reservations"][0][
        "Instances"
    ][0]
    name = OLD_WORKER.replace("-0-v3", "-1-v3")
    tags = [
        {"Key": tag["Key"], "Value": name if tag["Key"] == "Name" else tag["Value"]}
        for tag in like["Tags"]
    ]
    wanted = {
        "ImageId": like["ImageId"],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    extra = ec2.run_instances(MinCount=1, MaxCount=1, **wanted)["Instances"][0]["InstanceId"]
    before = len(changes_of_dns(world))
    try:
        told = refused("close", f"{name} ({extra})")
    finally:
        ec2.terminate_instances(InstanceIds=[extra])
    assert "pillar='{mitx: {adopt: True}}'" in told
    assert len(changes_of_dns(world)) == before


def test_close_refuses_while_a_host_that_must_be_stopped_does_not_answer(world, fleets, refused):
    minion = units(world, fleets["old"][OLD_WEB[1]])["salt-minion"]["pid"]
    before = len(changes_of_dns(world))
    os.kill(minion, signal.SIGSTOP)
    try:
        told = refused("close", f"{OLD_WEB[1]}: no answer", timeouts={"minions": 8})
    finally:
        os.kill(minion, signal.SIGCONT)
    assert f"salt -L {OLD_WEB[1]} test.ping" in told
    assert len(changes_of_dns(world)) == before


def test_stop_waits_for_a_queue_that_never_empties_and_says_how_deep_it_is(
    world, fleets, refused, printed
):
    # Until these jobs are given up, two commands later.
    faults.put(world.folder, "worker", {"match": {"purpose": LIVE}, "action": "idle"})
    queue.push(world.folder, LIVE, by="a visitor")
    told = refused("stop", f"jobs in the queue of {LIVE}", drain={"timeout": 2})
    assert re.search(rf"[1-9]\d* jobs in the queue of {LIVE}", told)
    # Whoever might empty it yet was left at work.
    alive = world.alive()
    assert OPENEDX & set(alive[fleets["old"][OLD_WORKER]])
    assert not OPENEDX & set(alive[fleets["old"][OLD_WEB[0]]])
    printed["waiver"] = re.search(r"pillar='(.*waive.*)'", told)[1]


def test_stop_believes_nothing_of_a_host_without_supervisord(world, fleets, refused):
    host = fleets["old"][OLD_WEB[0]]
    # One that was only killed, init would start again.
    assert not units(world, host, "stop", "supervisor")["supervisor"]["running"]
    told = refused("stop", OLD_WEB[0], "supervisord does not answer", drain={"timeout": 2})
    # As the message says; its programs are started with it, and stopped again by the next command.
    status, said = typed(world, re.search(r"\((salt -L \S+ service\.start supervisor)", told)[1])
    assert status == 0, said
    assert units(world, host)["supervisor"]["running"]


def test_jobs_are_given_up_as_the_message_says_and_a_migration_that_fails_stops_all_the_rest(
    world, refused, printed
):
    waived = yaml.safe_load(printed["waiver"])["mitx"]
    waived["drain"]["timeout"] = 2
    with faulty(world, "migrate", match={"purpose": DRAFT}, action="fail"):
        told = refused(
            "migrate", f"edx-mitx-qa-{DRAFT}-0-v1: exit status 1: ", "as the fault says", **waived
        )
    assert "salt-run mitx.rollback, with database_restored=True or accept_new_schema=True" in told
    given_up = since(world, "stop", "drain_waived")
    assert [line["depths"] for line in given_up] == [
        {DRAFT: 0, LIVE: queue.depth(world.folder, LIVE)}
    ]
    assert given_up[0]["depths"][LIVE] > 0
    faults.put(world.folder, "worker")
    kept = re.search(r"The whole output: (\S+?),? ", told)[1]
    with open(kept) as file:
        assert "as the fault says" in file.read()


def test_a_migration_that_hangs_is_ended_when_its_time_runs_out(world, refused):
    with faulty(world, "migrate", match={"purpose": DRAFT}, action="hang"):
        refused(
            "migrate",
            f"edx-mitx-qa-{DRAFT}-0-v1: exit status 124 (its time ran out)",
            migrate={"timeout": 4},
        )


def test_a_master_that_is_killed_ends_the_command_which_says_what_is_true(world):
    """
    Salt itself would wait for the master without end, and the page be up as long; the migration
    goes on on its host.
    """
    with faulty(world, "migrate", match={"purpose": DRAFT}, action="hang"):
        begun = len(world.journal())
        process = world.start(*WINDOW.split(), "pillar={mitx: {migrate: {timeout: 20}}}")

        def asked():
            return [
                line
                for line in world.journal()[begun:]
                if str(line.get("label")).startswith("migrate lms of")
            ]

        processes.wait_until(asked, SECONDS, "the migration has begun")
        os.killpg(processes.read(world.folder, "salt-master")["pid"], signal.SIGKILL)
        try:
            output = process.communicate(timeout=SECONDS)[0]
        finally:
            process.kill()
    assert process.returncode != 0
    told = re.search(
        r"migrate failed:\n(.*)Now true:\n(.*)Next, when that is put right: (.*?)\n",
        output,
        re.DOTALL,
    )
    assert told, output[-6000:]
    assert "Does the Salt master run?" in told[1]
    assert "lead to the maintenance page" in told[2]
    assert told[3] == WINDOW
    status, output = world.sandbox("up")
    assert status == 0, output


def test_a_migration_that_is_killed_is_a_failure(world, refused):
    with faulty(
        world,
        "migrate",
        match={"purpose": LIVE, "database": "student_module_history"},
        action="kill",
    ):
        refused("migrate", f"edx-mitx-qa-{LIVE}-0-v1: exit status 137 (it was killed)")


def test_start_is_not_done_with_one_program_that_is_fatal(world, fleets, refused):
    with faulty(world, "process", match={"name": NEW_WEB, "process": "cms"}, action="exit"):
        refused("start", f"{NEW_WEB}: cms is FATAL")
    # Nothing else was ended for it.
    assert {"lms", "nginx", "gitreload"} <= set(world.alive()[fleets["new"][NEW_WEB]])


def test_attach_does_nothing_when_the_settings_of_the_existing_mitx_elb_cannot_be_fetched(
    world, refused
):
    before = world.members()
    # Until the next command is through, which does without it.
    (world.folder / "environment_settings.yml").rename(world.folder / "environment_settings.away")
    told = refused("attach", "orchestrate.aws.mitx_elb failed")
    assert "cannot be rendered" in told
    assert "pillar='{mitx: {attach: {without_existing: True}}}'" in told
    assert "Traceback" not in told
    assert world.members() == before


def test_a_registration_that_the_second_load_balancer_refuses_is_undone_on_the_first(
    world, refused
):
    before = world.members()
    refusal = {
        "operation": "register_instances_with_load_balancer",
        "parameters": {"LoadBalancerName": LIVE_ELB},
    }
    with faulty_aws(world, {"service": "elb", **refusal, "error": "AccessDenied", "times": None}):
        refused(
            "attach",
            LIVE_ELB,
            "AccessDenied",
            "do not allow it",
            "taken out again",
            attach={"without_existing": True},
        )
    (world.folder / "environment_settings.away").rename(world.folder / "environment_settings.yml")
    assert world.members() == before
    made = [line for line in since(world, "attach", "aws") if line["stage"] == "after"]
    assert [line["parameters"]["LoadBalancerName"] for line in made] == [DRAFT_ELB, DRAFT_ELB]


def test_a_new_instance_that_answers_500_is_named_with_what_its_load_balancer_says(
    world, fleets, refused
):
    host = fleets["new"][NEW_WEB]
    with faulty(world, "web", match={"host": host, "path": "/heartbeat"}, status=500):
        refused(
            "attach",
            *(f"{NEW_WEB} ({host}) in {elb}: OutOfService" for elb in (LIVE_ELB, STUDIO_ELB)),
            elb={"timeout": 8},
        )
    # The existing mitx_elb has registered it, so it stays, behind the page; and nothing of the old
    # fleet has left.
    assert all(
        {host, *(fleets["old"][name] for name in OLD_WEB)} <= world.members()[elb]
        for elb in (LIVE_ELB, STUDIO_ELB)
    )
    processes.wait_until(lambda: in_service(world, host), SECONDS, f"{NEW_WEB} is in service again")


def test_no_answer_is_not_health_and_detach_refuses_an_instance_that_nobody_knows(
    world, fleets, refused
):
    foreign, one = next(
        (id_, one)
        for id_, one in world.instances(purpose="current-residential-live").items()
        if one["tags"]["role"] == "edx"
    )
    elb, asked = (
        world.aws.client("elb"),
        {
            "LoadBalancerName": STUDIO_ELB,
            "Instances": [{"InstanceId": foreign}],
        },
    )
    elb.register_instances_with_load_balancer(**asked)
    health = {
        "service": "elb",
        "operation": "describe_instance_health",
        "parameters": {"LoadBalancerName": LIVE_ELB},
    }
    answers = [
        {**health, "error": "InternalFailure", "status": 500},
        {**health, "rewrite": {"InstanceStates>": "Nothing>"}},
        {**health, "rewrite": {fleets["new"][NEW_WEB]: "i-00000000000000000"}},
        # Two good answers later it flaps once.
        {
            **health,
            "rewrite": {"<State>InService</State>": "<State>OutOfService</State>"},
            "after": 5,
        },
    ]
    with faulty_aws(world, *answers) as put:
        # One attempt each, so that not botocore's retries answer for us.
        told = refused(
            "detach", f"{STUDIO_ELB} holds {one['name']} ({foreign})", aws={"attempts": 1}
        )
        hit = {fault["id"]: (fault["hit"], fault["seen"]) for fault in world.aws.faults()}
    elb.deregister_instances_from_load_balancer(**asked)
    # Empty, partial and failed answers, two good ones, the flap; and only then three in a row.
    assert all(hit[id_][0] == 1 and hit[id_][1] >= 9 for id_ in put), hit
    assert "take it out by hand" in told
    assert world.phase("attach", "finished") < world.phase("detach", "failed")
    assert all(
        set(fleets["old"].values()) & ids for name, ids in world.members().items() if "next" in name
    )


def test_the_last_command_takes_out_what_is_stopped_or_does_not_drain_and_opens_the_site(
    world, fleets
):
    halted = fleets["old"][OLD_WEB[1]]
    world.aws.client("ec2").stop_instances(InstanceIds=[halted])
    drain = {
        "service": "elb",
        "operation": "deregister_instances_from_load_balancer",
        "outcome": "pending",
        "times": None,
    }
    with faulty_aws(world, drain):
        status, output = typed(world, WINDOW, elb={"drain_timeout": 1})
    assert status == 0, output[-6000:]
    cut = {line["elb"]: line["instances"] for line in since(world, "detach", "drain_cut")}
    assert cut[LIVE_ELB] == cut[STUDIO_ELB] == [fleets["old"][OLD_WEB[0]]]
    assert world.journal()[-1]["phase"] == "open"
    assert world.journal()[-1]["status"] == "finished"


def test_the_new_fleet_serves_and_each_thing_was_done_once(world, fleets):
    web = {id_ for name, id_ in fleets["new"].items() if "worker" not in name}
    assert world.serving() == web
    assert not [
        name for name, target in world.records().items() if target.endswith("cloudfront.net")
    ]
    alive = world.alive()
    assert all(OPENEDX & set(alive[host]) for host in fleets["new"].values())
    assert not [host for host in fleets["old"].values() if OPENEDX & set(alive.get(host, ()))]
    ours = [call for call in changes_of_dns(world) if "sandbox" not in call["agent"]]
    assert len(ours) == 2
    done = world.log("migrations")
    assert (
        len(done)
        == len({(line["purpose"], line["database"], line["migration"]) for line in done})
        == 4
    )
    assert not [line for line in done if OPENEDX & {one["process"] for one in line["alive"]}]


def test_the_jobs_that_were_given_up_are_worked_by_the_new_workers(world, fleets):
    processes.wait_until(
        lambda: not queue.depth(world.folder, LIVE), SECONDS, f"the queue of {LIVE} is empty"
    )
    worked = [line for line in world.log("jobs") if line["host"] in fleets["new"].values()]
    assert worked
    assert not [line for line in world.log("jobs") if line["evidence"]]


def test_retiring_is_refused_as_a_whole_for_one_instance_that_is_protected(world, fleets, refused):
    host = fleets["old"][OLD_WEB[0]]
    world.aws.client("ec2").modify_instance_attribute(
        InstanceId=host, DisableApiTermination={"Value": True}
    )
    before = len(world.writes())
    told = refused(
        "retire",
        f"{OLD_WEB[0]} ({host}) is protected from termination",
        command="salt-run mitx.retire",
    )
    assert f"--instance-id {host} --no-disable-api-termination" in told
    assert len(world.writes()) == before
    states = {id_: one["state"] for id_, one in world.instances(edx_codename="juniper").items()}
    assert {states[id_] for id_ in fleets["old"].values()} == {"running", "stopped"}


def test_configuring_restarts_nothing_when_ansible_fails_on_one_host(world, fleets):
    """Its output is piped into tee there, so that only the recap tells."""
    began = world.log("processes")[-1]["time"]
    with faulty(world, "ansible", match={"name": NEW_WEB}, action="fail"):
        status, output = typed(world, "salt-run mitx.configure")
    assert status != 0
    assert re.search(rf"{NEW_WEB}: .*failed=1", output)
    assert not [
        line
        for line in world.log("processes")
        if line["time"] > began and line["host"] in fleets["new"].values()
    ]


def test_all_night_visitors_saw_nothing_else_than_site_or_page(world, fleets):
    processes.stop(world.folder, "visitor")
    summary = world.summary()
    assert summary["finished"]
    assert summary["asked"] > 1000
    assert summary["page"] > 100
    assert summary["violations"] == 0, summary["first_violations"]
