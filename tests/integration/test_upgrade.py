"""
A whole upgrade, as ``make upgrade`` runs it, seen from the outside: AWS, the hosts' own logs, the
visitors. The tests build on each other in the order of the file: upgraded once, looked at, run
again, then the commands of the days after.
"""

import datetime
import json
import re
import subprocess
import time

import pytest

from sandbox import pillar
from tests.support.public_world import until
from tests.support.upgrade_world import OURS, World

pytestmark = pytest.mark.timeout(900)
OPENEDX = {"lms", "cms", "lms_worker", "cms_worker", "gitreload"}


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.down()


@pytest.fixture(scope="module")
def planned(world):
    """
    ``mitx.plan`` weeks before the window: exit status, what was printed, and what it has written.
    """
    assert world.sandbox("up")[0] == 0
    ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    assert world.sandbox("window", "--new", "--start", ahead.strftime("%Y-%m-%d %H:%M"))[0] == 0
    before = len(world.writes())
    status, output = world.salt_run("mitx.plan")
    output += world.salt_run("mitx.plan", "phase=close")[1]
    written = [*world.writes()[before:], *(world.folder / "run").glob("*/*/run.json")]
    assert world.sandbox("window", "--new")[0] == 0
    return status, output, written


@pytest.fixture(scope="module")
def upgraded(world, planned):
    """The upgrade itself: exit status and what was printed."""
    return world.sandbox("upgrade")


@pytest.fixture(scope="module")
def fleets(world, upgraded):
    return {
        "old": {
            id_: one
            for id_, one in world.instances(edx_codename="juniper").items()
            if one["tags"]["purpose"] in OURS
        },
        "new": {
            id_: one
            for id_, one in world.instances(edx_codename="koa").items()
            if "-base" not in one["name"]
        },
    }


def test_a_plan_days_ahead_tells_every_phase_and_writes_nothing(world, planned):
    status, output, written = planned
    assert status == 0, output[-6000:]
    assert written == []
    for phase in ("preflight", "build", "deploy", "close", "migrate", "attach", "open"):
        assert re.search(rf"^\s*(timetable\s+)?{phase} ", output, re.MULTILINE), phase
    assert "point of no return: migrate" in output
    assert "latest time to turn back" in output
    # The steps of one phase.
    assert "close would run" in output
    assert "records would be changed, in one batch" in output


def test_it_ends_well_and_no_visitor_saw_anything_else_than_site_or_page(world, upgraded):
    status, output = upgraded
    assert status == 0, output[-6000:]
    assert re.search(r"^violations: 0$", output, re.MULTILINE)
    summary = world.summary()
    assert summary["asked"] > 1000
    assert summary["per_second"] >= 20
    # The purposes beside it were watched too.
    assert len(summary["hostnames"]) == 12
    # From the load balancers to the page and back, without a gap in between.
    targets = {
        name: [target.partition(":")[0] for target in host["targets"]]
        for name, host in summary["hostnames"].items()
    }
    assert [
        name for name, seen in targets.items() if seen == ["elb", "cloudfront", "elb"]
    ] == sorted(world.moved())
    assert {tuple(seen) for name, seen in targets.items() if name not in world.moved()} == {
        ("elb",)
    }
    assert "window as visitors saw it" in output


def test_the_new_fleet_serves_and_the_old_one_is_out_and_kept(world, fleets):
    assert len(fleets["old"]) == len(fleets["new"]) == 5
    ours = {name: ids for name, ids in world.members().items() if "next" in name}
    assert len(ours) == 3
    for name, ids in ours.items():
        assert ids, name
        assert ids <= set(fleets["new"]), name
    assert {one["state"] for one in fleets["old"].values()} == {"running"}
    assert all("elb.amazonaws.com" in target for target in world.records().values())


def test_no_scheduled_backup_began_between_close_and_open_and_they_go_on_after(world, upgraded):
    """Every 15 seconds one is due: pillar ``window:pause_schedule`` holds them."""

    def began():
        return [int(line) for line in pillar.backups(world.config).read_text().split()]

    def second(phase, status):
        return datetime.datetime.fromisoformat(world.phase(phase, status)).timestamp()

    close, opened = second("close", "finished"), second("open", "started")
    assert [one for one in began() if close < one < opened] == []
    assert any(one < close for one in began())
    over = second("open", "finished")
    until(lambda: began()[-1] > over, "the scheduled backups go on")


def test_nothing_of_open_edx_lives_on_the_old_fleet(world, fleets):
    alive = world.alive()
    for host in fleets["old"]:
        assert not OPENEDX & set(alive.get(host, ())), fleets["old"][host]["name"]
    for host in fleets["new"]:
        assert OPENEDX & set(alive[host]), fleets["new"][host]["name"]


def test_the_purposes_beside_it_were_not_touched(world, upgraded):
    current = {
        id_
        for id_, one in world.instances(environment="mitx-qa").items()
        if one["tags"].get("purpose", "").startswith("current")
    }
    assert len(current) == 4
    began = world.phase("preflight", "started")
    stopped = [
        line
        for line in world.log("processes")
        if line["host"] in current and line["event"] == "stopped" and line["time"] > began
    ]
    assert stopped == []
    assert all(ids <= current for name, ids in world.members().items() if "current" in name)


def test_amis_and_release_number_are_recorded_and_the_bases_are_gone(world, upgraded):
    sdb = json.loads((world.folder / "sdb.json").read_text())
    assert sdb["edxapp-mitx-qa-koa-release-version"] == "1"
    images = {
        image["Name"]: image["ImageId"]
        for image in world.aws.client("ec2").describe_images(Owners=["self"])["Images"]
    }
    assert sdb["edx_mitx-qa_koa_ami_id"] == images["edxapp_mitx-qa_koa_base_release_1"]
    assert sdb["edx_worker_mitx-qa_koa_ami_id"] == images["edx_worker_mitx-qa_koa_base_release_1"]
    bases = [
        one
        for one in world.instances(environment="mitx-qa").values()
        if (one["name"] or "").endswith("-base")
    ]
    assert {one["state"] for one in bases} == {"terminated"}


def test_the_release_branch_is_rebased_and_its_old_tip_kept(world, upgraded):
    def git(*words):
        command = ["git", "--git-dir", str(world.folder / "git" / "origin.git"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run = json.loads(next((world.folder / "run").glob("*/*/run.json")).read_text())
    tip = git("rev-parse", "refs/heads/mitx/koa").strip()
    assert run["facts"]["release_sha"] == tip
    backups = git("for-each-ref", "--format=%(objectname)", "refs/mitx/backup").split()
    assert len(backups) == 1
    assert backups != [tip]
    deployed = {
        line["release"]
        for line in world.log("processes")
        if line["purpose"] in OURS and line["event"] == "started" and "koa" in line["release"]
    }
    assert deployed == {f"koa@{tip}"}


def test_each_migration_ran_once_while_nothing_of_its_purpose_lived(world, upgraded):
    done = world.log("migrations")
    once = {(line["purpose"], line["database"], line["migration"]) for line in done}
    assert len(once) == len(done) == 4
    assert {line["purpose"] for line in done} == set(OURS)
    for line in done:
        assert [alive for alive in line["alive"] if alive["process"] in OPENEDX] == [], line
        assert world.phase("stop", "finished") < line["time"] < world.phase("start", "started")


def test_no_old_process_began_after_stop_and_no_new_worker_worked_before_start(world, fleets):
    stop, start = world.phase("stop", "finished"), world.phase("start", "started")
    revived = [
        line
        for line in world.log("processes")
        if line["host"] in fleets["old"] and line["event"] == "started" and line["time"] > stop
    ]
    assert revived == []
    jobs = world.log("jobs")
    assert any(line["host"] in fleets["old"] for line in jobs)
    assert [line for line in jobs if line["host"] in fleets["new"] and line["time"] < start] == []
    assert [line for line in jobs if line["evidence"]] == []


def test_dns_moved_twice_in_one_batch_each_and_by_us_alone(world, upgraded):
    changes = [
        call
        for call in world.writes()
        if call["operation"] == "change_resource_record_sets" and "sandbox" not in call["agent"]
    ]
    assert len(changes) == 2
    assert world.phase("close", "started") < changes[0]["time"] < world.phase("close", "finished")
    assert world.phase("open", "started") < changes[1]["time"] < world.phase("open", "finished")


def test_the_same_command_again_changes_nothing(world, fleets):
    before = len(world.writes())
    began = time.monotonic()
    status, output = world.sandbox("upgrade")
    assert status == 0, output[-4000:]
    assert "nothing was left to do" in output
    # A bound for a hang, not a measurement: on a quiet machine it takes a third of that.
    assert time.monotonic() - began < 90
    assert len(world.writes()) == before
    assert all(ids <= set(fleets["new"]) for name, ids in world.members().items() if "next" in name)


def test_status_tells_the_truth_and_the_next_command(world, upgraded):
    status, output = world.salt_run("mitx.status")
    assert status == 0
    assert "lead to the load balancers" in output
    assert re.search(r"^visitors\s+see the site \(6 names\)$", output, re.MULTILINE)
    assert re.search(r"^next\s+salt-run mitx.retire", output, re.MULTILINE)
    assert re.search(r"^state\s+done", output, re.MULTILINE)


LOOKS = ["status", "watch seconds=1", "report", "maintenance status"]
DRY = ["upgrade", "announce until=+1h", "redeploy", "rollback restore=True"]
# The others take their time and are each looked at in their room: `-m long`.
MORE_LOOKS = [
    "plan",
    "preflight",
    "backstage",
    "patches",
    "release_backups",
    "iam_policy",
    "page_preview",
]
MORE_DRY = ["maintenance on", "swap_elb", "rebase", "restore_release", "create_release"]
MORE_DRY += ["copy_release", "configure", "retire force=True"]
# The site was opened: restoring would lose what students have done since.
REFUSED = ["rollback restore=True test=True"]
COMMANDS = [*LOOKS, *(f"{words} test=True" for words in DRY)]
MORE = [*MORE_LOOKS, *(f"{words} test=True" for words in MORE_DRY)]


def everything(world):
    """What a command could have changed: in AWS, on hosts, at origin, in the record of the run."""
    origin = ["git", "ls-remote", str(world.folder / "git" / "origin.git")]
    return {
        "AWS": len(world.writes()),
        "programs": len(world.log("processes")),
        "branches": subprocess.run(origin, check=True, capture_output=True, text=True).stdout,
        "journal": len(world.journal()),
        "databases": len(world.log("migrations")),
    }


@pytest.mark.parametrize(
    "words", [*COMMANDS, *(pytest.param(words, marks=pytest.mark.long) for words in MORE)]
)
def test_what_only_looks_and_every_dry_run_changes_nothing(world, upgraded, words):
    before = everything(world)
    status, output = world.salt_run(*f"mitx.{words}".split())
    assert status == (1 if words in REFUSED else 0), output
    assert "Traceback" not in output
    assert everything(world) == before


def test_the_maintenance_page_by_itself_goes_on_and_off(world, upgraded):
    status, output = world.salt_run("mitx.maintenance", "on")
    assert status == 0, output
    records = world.records()
    ours = {name for name, target in records.items() if target.endswith("cloudfront.net")}
    assert len(ours) == 6
    before = len(world.writes())
    assert world.salt_run("mitx.maintenance", "on")[0] == 0
    assert len(world.writes()) == before
    status, output = world.salt_run("mitx.maintenance", "off")
    assert status == 0, output
    assert not [
        name for name, target in world.records().items() if target.endswith("cloudfront.net")
    ]


def test_swapping_and_rebasing_alone_find_nothing_to_do(world, upgraded):
    before = len(world.writes())
    for command in ("mitx.swap_elb", "mitx.rebase"):
        status, output = world.salt_run(command)
        assert status == 0, output
    assert len(world.writes()) == before


@pytest.mark.parametrize("words", ["mitx.swap_elb", "mitx.maintenance on", "mitx.rollback"])
def test_a_look_that_aws_refuses_is_told_with_what_to_type(world, upgraded, words):
    before = len(world.writes())
    fault = {"error": "AccessDenied", "status": 403, "times": None}
    world.aws.fault(agent="saltext-mitx", write=False, **fault)
    status, output = world.salt_run(*words.split())
    world.aws.clear_faults()
    assert status != 0
    assert "AccessDenied" in output
    assert f"Next, when that is put right: salt-run {words}" in output
    # Nobody finds the reason between these.
    assert "Traceback" not in output
    assert "[ERROR" not in output
    assert len(world.writes()) == before


def test_configuring_restarts_the_fleet_that_serves_and_no_other(world, fleets):
    began = world.log("processes")[-1]["time"]
    status, output = world.salt_run("mitx.configure")
    assert status == 0, output[-4000:]
    restarted = {
        line["host"]
        for line in world.log("processes")
        if line["event"] == "started" and line["time"] > began
    }
    assert restarted == set(fleets["new"])


def test_a_new_commit_is_redeployed_to_every_host(world, fleets):
    origin = str(world.folder / "git" / "origin.git")

    def git(*words, **more):
        return subprocess.run(
            ["git", "--git-dir", origin, *words], capture_output=True, text=True, check=True, **more
        ).stdout.strip()

    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    commit = git(
        *identity,
        "commit-tree",
        "refs/heads/mitx/koa^{tree}",
        "-p",
        "refs/heads/mitx/koa",
        "-m",
        "One more patch",
    )
    git("update-ref", "refs/heads/mitx/koa", commit)
    status, output = world.salt_run("mitx.redeploy")
    assert status == 0, output[-4000:]
    began = {}
    for line in world.log("processes"):
        if line["event"] == "started":
            began[line["host"], line["process"]] = line["release"]
    assert {
        began[key]
        for key in began
        if key[0] in fleets["new"] and key[1] in ("lms", "cms", "lms_worker")
    } == {f"koa@{commit}"}


def test_a_dry_run_of_retiring_destroys_nothing_and_the_real_one_exactly_the_old_fleet(
    world, fleets
):
    status, output = world.salt_run("mitx.retire", "test=True")
    assert status == 0, output
    assert {one["state"] for one in world.instances(edx_codename="juniper").values()} == {"running"}
    status, output = world.salt_run("mitx.retire")
    assert status == 0, output[-4000:]
    states = {id_: one["state"] for id_, one in world.instances(environment="mitx-qa").items()}
    assert {states[id_] for id_ in fleets["old"]} == {"terminated"}
    assert {states[id_] for id_ in fleets["new"]} == {"running"}
    keys = world.sandbox("salt-key", "--out=json", "-l", "acc")[1]
    assert not [one["name"] for one in fleets["old"].values() if one["name"] in keys]
    # Again: nothing is left of it.
    before = len(world.writes())
    assert world.salt_run("mitx.retire")[0] == 0
    assert len(world.writes()) == before


def test_a_new_window_is_a_new_run(world, upgraded):
    assert world.sandbox("window", "--new")[0] == 0
    status, output = world.salt_run("mitx.status")
    assert status == 0
    assert re.search(r"^run\s+not begun", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mitx.swap_elb", "environment=mitx-qua"), "mitx-production, mitx-qa"),
        (("mitx.maintenance", "onn"), "on, off or status"),
    ],
)
def test_a_slip_of_the_finger_is_refused_before_anything_changes(world, upgraded, words, said):
    before = len(world.writes())
    status, output = world.salt_run(*words)
    assert status != 0
    assert said in output
    assert len(world.writes()) == before
