"""
The states of the fleets' hosts: what is compared, what a dry run does not do, who is left out, what
a failure says.
"""

import functools
import types

import pytest
from salt.exceptions import CommandExecutionError

from mitx_hosts import states_hosts, states_services
from tests.support.rooms import a_run, stand_in

PURPOSE = "next-residential-live"
WEB, WORKER = f"edx-mitx-qa-{PURPOSE}-0-v1", f"edx-worker-mitx-qa-{PURPOSE}-0-v1"
FLEET = [
    {"id": "i-1", "name": WEB, "role": "edx", "purpose": PURPOSE},
    {"id": "i-2", "name": WORKER, "role": "edx-worker", "purpose": PURPOSE},
]


class World:
    """Stands for the execution modules: what they were asked, what they answer."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.called, self.journal = [], []
        self.pinned = {"old_fleet": FLEET, "new_fleet": FLEET}
        self.ec2 = {"i-1": "running", "i-2": "running"}
        self.fleet = [dict(one) for one in FLEET]
        self.depths = [0]
        self.others, self.record, self.taken_back, self.worker = [], {}, "", "RUNNING"
        self.unapplied = {PURPOSE: {"lms": []}}
        self.settings = {
            "environment": "mitx-qa",
            "vpc_name": "MITx QA",
            "business_unit": "residential",
            "purposes": [PURPOSE],
            "rollback": {"restore": "orchestrate.edx.restore", "variables": {"RESTORE": "1"}},
            "instances": [
                {"name": f"{role}-mitx-qa-{PURPOSE}-0-v{{release}}"}
                for role in ("edx", "edx-worker")
            ],
            "services": {"user": "edxapp"},
            "base_instances": {"edx": "edxapp-base", "edx-worker": "edx-worker-base"},
            "drain": {"command": "depth", "timeout": 0.2, "interval": 0.01, "waive": False},
            "migrate": {"before": None, "snapshot_required": False, "snapshot_id": None},
        }
        self.answers = {
            "mitx_fleet.fleets.recorded": lambda fleet: self.fleet,
            "mitx_fleet.fleets.current": lambda: self.fleet,
            "mitx_fleet.instances.find": self.find,
            "mitx_fleet.fleets.unexpected_members": lambda: self.others,
            "mitx_run.phases.statuses": lambda: self.record,
            "mitx_run.phases.touched": lambda: self.record,
            "mitx_run.phases.rolled_back": lambda: self.taken_back,
            "mitx_hosts.services.status": lambda minions: {
                one: {"supervisor": {"lms_worker": self.worker}} for one in minions
            },
            "mitx_hosts.services.stop": lambda minions, parts=None: {},
            "mitx_run.journal.entries": lambda run_id=None: [
                {"time": f"2026-12-20T{number:02d}", "event": name, **fields}
                for number, (name, fields) in enumerate(self.journal)
            ],
            "mitx_run.phases.next_command": lambda: (
                "salt-run state.orchestrate orchestrate.mitx.window"
            ),
            "mitx_run.record.pinned": lambda name: self.pinned.get(name),
            "mitx_run.record.pin": lambda name, value: self.pinned.update({name: value}),
            "mitx_run.events.write": lambda event, **fields: self.journal.append((event, fields)),
            "mitx_run.wait.until": self.wait_until,
            "mitx_hosts.jobs.shell": self.shell,
            "mitx_hosts.services.problems": lambda found, wanted, parts=None: [
                line for lines in found.values() for line in lines
            ],
            "mitx_hosts.migrations.pending": lambda new: self.unapplied,
            "mitx_run.nested.inherited": lambda: {"mitx": {"run": "r"}},
        }

    def find(self, names=None, ids=None):
        if names:
            return [one for one in self.fleet if one["name"] in names]
        return [{"id": id_, "state": self.ec2[id_]} for id_ in ids if id_ in self.ec2]

    def shell(self, minions, command, **kwargs):
        """The depths said beforehand, the last of them for ever."""
        return {
            one: str(self.depths.pop(0) if len(self.depths) > 1 else self.depths[0])
            for one in minions
        }

    def wait_until(self, check, timeout, interval, what, waits_for=None):
        for _ in range(4):
            done, seen = check()
            if done:
                return seen
        raise CommandExecutionError(f"{what}: not so after {timeout} s; last seen: {seen}")

    def says(self, function, answer):
        """``function`` answers this, or raises it."""

        def answered(*args, **kwargs):
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.answers[function] = answered
        self.stand_in(function)

    def stand_in(self, function):
        """
        From now on ``room.file.function`` is what ``answers`` says; ``called`` keeps its arguments,
        without the run.
        """

        def call(*args, **kwargs):
            self.called.append((function, args))
            return self.answers[function](*args, **kwargs)

        stand_in(self.monkeypatch, function, call)

    def asked(self, function):
        return [args for name, args in self.called if name == function]


@pytest.fixture
def world(monkeypatch):
    mine = World(monkeypatch)
    for function in mine.answers:
        mine.stand_in(function)
    monkeypatch.setattr(states_hosts, "__salt__", {"status.time": lambda fmt: "2026-12-20"})
    return mine


@pytest.fixture
def states(world):
    """
    ``states(test=False)``: the states over ``world``, with the real queues, backup, and choice of
    hosts.
    """

    def loaded(test=False):
        run = a_run(world.settings, test)
        both = {**vars(states_services), **vars(states_hosts)}
        return types.SimpleNamespace(
            **{
                name: functools.partial(value, run)
                for name, value in both.items()
                if callable(value)
            }
        )

    return loaded


def planned(world, wrong=None, calls=()):
    world.says("mitx_hosts.services.plan", {"wrong": wrong or {}, "calls": list(calls)})
    world.says("mitx_hosts.services.apply", None)


def test_stopped_tells_what_it_stopped(world, states):
    planned(world, {WEB: ["lms is RUNNING"]})
    ret = states().stopped("s", fleet="old", parts=["web"])
    assert ret["result"] is True
    assert ret["changes"] == {WEB: {"old": ["lms is RUNNING"], "new": "stopped"}}
    assert world.asked("mitx_hosts.services.plan") == [([WEB, WORKER], "stopped", ["web"])]
    assert len(world.asked("mitx_hosts.services.apply")) == 1


def test_a_dry_run_reads_and_tells_the_calls_of_the_plan(world, states):
    planned(world, {WEB: ["lms is RUNNING"]}, [f"minions stop: {WEB}"])
    ret = states(test=True).stopped("s")
    assert f"Would call: minions stop: {WEB}" in ret["comment"]
    assert (ret["result"], ret["changes"]) == (
        None,
        {WEB: {"old": ["lms is RUNNING"], "new": "stopped"}},
    )
    assert world.asked("mitx_hosts.services.apply") == []


@pytest.mark.parametrize(("held", "serving"), [(["i-1"], True), (["i-9"], False), ([], False)])
def test_a_fleet_is_stopped_before_or_after_visitors_are_on_the_page(world, states, held, serving):
    """``close`` says both: where the fleet serves, visitors get the page first."""
    world.says("mitx_fleet.elb.holding", {"edx-next": held})
    planned(world, {WEB: ["lms is RUNNING"]})
    for asked in (False, True):
        ret = states().stopped("s", fleet="new", serving=asked)
        assert ret["result"] is True
        assert bool(ret["changes"]) is (asked is serving)
        if asked is not serving:
            assert "it is left as it is" in ret["comment"]
    assert len(world.asked("mitx_hosts.services.apply")) == 1


def test_a_host_that_does_not_answer_may_be_stopped_in_ec2_which_helps_with_nothing_else(
    world, states
):
    planned(world)
    world.says("mitx_hosts.services.plan", CommandExecutionError(f"{WEB}: no answer"))
    assert "aws ec2 stop-instances" in states().stopped("s")["comment"]
    world.says("mitx_fleet.instances.find", CommandExecutionError("Throttling"))
    assert states().stopped("s")["comment"] == "Throttling"


def test_what_ec2_has_stopped_counts_as_stopped_and_is_named(world, states):
    world.ec2 = {"i-1": "running", "i-2": "stopped"}
    planned(world)
    ret = states().stopped("s")
    assert world.asked("mitx_hosts.services.plan") == [([WEB], "stopped", None)]
    assert WORKER in ret["comment"]


def test_what_ec2_has_stopped_or_lost_cannot_count_as_running(world, states):
    world.ec2 = {"i-1": "running"}
    ret = states().running("r")
    assert ret["result"] is False
    assert f"Stopped or gone in EC2: {WORKER}" in ret["comment"]


def test_a_leftover_of_an_earlier_upgrade_is_stopped_and_never_started(world, states):
    world.fleet[1]["serves"] = False
    planned(world)
    assert states().stopped("s", fleet="old")["result"] is True
    assert states().running("r", fleet="old")["result"] is True
    assert world.asked("mitx_hosts.services.plan") == [
        ([WEB, WORKER], "stopped", None),
        ([WEB], "running", None),
    ]


@pytest.mark.parametrize(
    "function",
    [
        "running",
        "configured",
        "restarted",
        "answering",
        "at_commit",
        "redeployed",
        "configured_only",
    ],
)
def test_an_empty_fleet_is_no_success(world, states, function):
    world.fleet = []
    world.pinned["release_sha"] = "a" * 40
    ret = getattr(states(), function)("x")
    assert ret["result"] is False
    assert "the fleet is empty" in ret["comment"]


@pytest.mark.parametrize("function", ["running", "migrated", "configured", "answering"])
def test_a_dry_run_before_there_is_a_new_fleet_names_what_it_waits_for(world, states, function):
    world.pinned.clear()
    world.pinned["release_number"] = 4
    ret = getattr(states(test=True), function)("x")
    assert (ret["result"], ret["changes"]) == (None, {})
    assert "Not known before deploy has launched edx-mitx-qa-" in ret["comment"]
    assert "-0-v4" in ret["comment"]


def test_a_dry_run_before_the_commit_is_recorded_is_no_failure(world, states):
    world.pinned.clear()
    ret = states(test=True).at_commit("x")
    assert (ret["result"], ret["changes"]) == (None, {})
    assert "recorded by an earlier phase" in ret["comment"]


def test_before_it_is_recorded_the_old_fleet_is_what_serves_now(world, states):
    world.pinned.clear()
    planned(world, {WORKER: ["lms_worker is RUNNING"]})
    ret = states(test=True).stopped("x", fleet="old")
    assert (ret["result"], list(ret["changes"])) == (None, [WORKER])
    assert states(test=True).drained("x")["result"] is True


def test_a_failure_below_fails_the_state_without_changes(world, states):
    planned(world)
    world.says(
        "mitx_hosts.services.apply",
        CommandExecutionError(
            f"stop: 1 of 2 minions did not do it (1 did):\n  - {WORKER}: no answer"
        ),
    )
    ret = states().stopped("s")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert WORKER in ret["comment"]


def test_the_queue_is_waited_for(world, states):
    world.depths = [7, 3, 0]
    ret = states().drained("d")
    assert (ret["result"], ret["comment"]) == (True, f"The queues of {PURPOSE} are empty")
    assert world.asked("mitx_hosts.jobs.shell")[0][0] == [WORKER]
    assert len(world.asked("mitx_hosts.jobs.shell")) == 3


def test_a_queue_that_was_emptied_is_not_waited_for_again_with_its_workers_stopped(world, states):
    assert states().drained("d")["result"] is True
    world.depths = [7]
    ret = states().drained("d")
    assert ret["result"] is True
    assert "were empty, or waived, at" in ret["comment"]
    world.journal.append(("phase", {"phase": "rollback", "status": "started"}))
    assert states().drained("d")["result"] is False


def test_a_queue_that_nobody_works_is_not_waited_for(world, states):
    world.depths, world.worker = [7, 0], "STOPPED"
    ret = states().drained("d")
    assert ret["result"] is False
    assert (
        f"7 jobs in the queue of {PURPOSE}, and no worker of the old fleet runs" in ret["comment"]
    )
    assert "pillar='{mitx: {drain: {waive: True}}}'" in ret["comment"]


def test_a_queue_that_the_new_fleet_works_is_not_the_old_ones(world, states):
    world.depths, world.record = [7], {"start": {"status": "finished"}}
    assert states().drained("d")["result"] is True
    assert world.asked("mitx_hosts.jobs.shell") == []


def test_a_queue_that_never_empties_fails_with_its_depth_and_both_ways_out(world, states):
    world.depths = [7]
    ret = states().drained("d")
    assert ret["result"] is False
    assert f"7 jobs in the queue of {PURPOSE}" in ret["comment"]
    assert "orchestrate.mitx.window" in ret["comment"]
    assert "pillar='{mitx: {drain: {waive: True}}}'" in ret["comment"]
    assert world.journal == []


def test_a_waiver_is_recorded_with_the_depth(world, states):
    world.depths = [7]
    world.settings["drain"]["waive"] = True
    ret = states().drained("d")
    assert ret["result"] is True
    assert world.journal == [("drain_waived", {"depths": {PURPOSE: 7}})]


def test_without_a_command_nobody_knows_so_it_must_be_waived(world, states):
    world.settings["drain"]["command"] = None
    assert states().drained("d")["result"] is False
    world.settings["drain"]["waive"] = True
    assert states().drained("d")["result"] is True
    assert world.journal == [("drain_waived", {"depths": None})]


def test_depth_that_cannot_be_read_is_no_empty_queue(world, states):
    world.depths = ["boom"]
    ret = states().drained("d")
    assert ret["result"] is False
    assert "boom" in ret["comment"]


def test_nothing_unapplied_is_told(world, states):
    world.says("mitx_hosts.migrations.migrate", world.unapplied)
    ret = states().migrated("m")
    assert (ret["result"], ret["changes"], ret["comment"]) == (True, {}, "Nothing was unapplied")


def test_a_dry_run_lists_what_is_unapplied_and_migrates_nothing(world, states):
    world.unapplied = {PURPOSE: {"lms": ["app.0001"], "history": []}}
    ret = states(test=True).migrated("m")
    assert (ret["result"], ret["changes"]) == (None, {PURPOSE: {"lms": ["app.0001"]}})
    assert world.asked("mitx_hosts.migrations.migrate") == []


def test_no_migration_without_the_snapshot_that_is_required(world, states):
    world.unapplied = {PURPOSE: {"lms": ["app.0001"]}}
    world.settings["migrate"]["snapshot_required"] = True
    ret = states().migrated("m")
    assert ret["result"] is False
    assert "snapshot_id" in ret["comment"]
    assert world.asked("mitx_hosts.migrations.migrate") == []
    world.settings["migrate"]["snapshot_id"] = "rds:mitx-qa-20261220"
    world.says("mitx_hosts.migrations.migrate", world.unapplied)
    assert states().migrated("m")["result"] is True
    assert world.journal == [("snapshot", {"id": "rds:mitx-qa-20261220"})]


def test_the_backup_comes_first_once_in_a_run_and_its_failure_ends_it(world, states):
    world.unapplied = {PURPOSE: {"lms": ["app.0001"]}}
    world.settings["migrate"]["before"] = "orchestrate.edx.backup"
    world.says("mitx_hosts.services.status", {WEB: [], WORKER: []})
    world.says("mitx_hosts.migrations.migrate", world.unapplied)
    world.says("mitx_run.nested.orchestrate", {"failures": ["no space left"]})
    assert "no space left" in states().migrated("m")["comment"]
    assert world.asked("mitx_hosts.migrations.migrate") == []
    world.says("mitx_run.nested.orchestrate", {"failures": []})
    assert states().migrated("m")["result"] is True
    assert states().migrated("m")["result"] is True
    assert len(world.asked("mitx_run.nested.orchestrate")) == 2
    order = [
        name
        for name, _ in world.called
        if name
        in (
            "mitx_hosts.services.stop",
            "mitx_run.nested.orchestrate",
            "mitx_hosts.migrations.migrate",
        )
    ]
    assert order[2:5] == [
        "mitx_hosts.services.stop",
        "mitx_run.nested.orchestrate",
        "mitx_hosts.migrations.migrate",
    ]


def test_after_a_rollback_the_site_was_written_to_so_an_earlier_backup_or_snapshot_does_not_count(
    world, states
):
    world.unapplied = {PURPOSE: {"lms": ["app.0001"]}}
    world.settings["migrate"] |= {"before": "orchestrate.edx.backup", "snapshot_id": "rds:first"}
    world.says("mitx_hosts.migrations.migrate", world.unapplied)
    world.says("mitx_run.nested.orchestrate", {"failures": []})
    assert states().migrated("m")["result"] is True
    world.taken_back = "2026-12-21"
    ret = states().migrated("m")
    assert ret["result"] is False
    assert "rds:first was taken before the window was rolled back" in ret["comment"]
    world.settings["migrate"]["snapshot_id"] = "rds:second"
    assert states().migrated("m")["result"] is True
    assert len(world.asked("mitx_run.nested.orchestrate")) == 2


def test_a_host_of_neither_fleet_may_work_on_the_databases_so_nothing_is_migrated(world, states):
    world.others = [{"id": "i-9", "name": "edx-worker-somebodys", "state": "running"}]
    ret = states().migrated("m")
    assert ret["result"] is False
    assert "edx-worker-somebodys (i-9) is running" in ret["comment"]
    assert world.asked("mitx_hosts.migrations.migrate") == []


@pytest.fixture
def migrated(world):
    """A window whose migration has begun: one migration was unapplied."""
    world.unapplied = {PURPOSE: {"lms": []}}
    world.journal = [("migrations", {"unapplied": {PURPOSE: {"lms": 1}}})]
    world.record = {"migrate": {"status": "failed", "time": "2026-12-20T00"}}
    return world


def test_a_restore_has_its_variables_and_is_judged_by_what_is_unapplied_then(migrated, states):
    asked = []

    def restores(sls, environ=None, pillar=None):
        asked.append((sls, environ))
        migrated.unapplied = {PURPOSE: {"lms": ["app.0001"]}}
        return {"failures": []}

    migrated.answers["mitx_run.nested.orchestrate"] = restores
    migrated.stand_in("mitx_run.nested.orchestrate")
    ret = states().databases_restored("r")
    assert ret["result"] is True, ret
    assert asked == [
        (
            "orchestrate.edx.restore",
            {
                "ENVIRONMENT": "mitx-qa",
                "VPC_NAME": "MITx QA",
                "BUSINESS_UNIT": "residential",
                "PURPOSES": PURPOSE,
                "RESTORE": "1",
            },
        )
    ]
    assert states().databases_restored("r")["changes"] == {}
    assert len(asked) == 1


def test_a_restore_that_reports_success_and_restores_nothing_is_found_out(migrated, states):
    migrated.says("mitx_run.nested.orchestrate", {"failures": []})
    ret = states().databases_restored("r")
    assert ret["result"] is False
    assert "reported success, but the databases are not as they were" in ret["comment"]
    assert "lms: 1, now next-residential-live lms: 0" in ret["comment"]


def test_a_restore_that_fails_says_that_nothing_runs_and_what_is_next(migrated, states):
    migrated.says("mitx_run.nested.orchestrate", {"failures": ["no space left"]})
    ret = states().databases_restored("r")
    assert ret["result"] is False
    assert "no space left" in ret["comment"]
    assert "salt-run mitx.rollback restore=True" in ret["comment"]


def test_a_dry_run_restores_nothing(migrated, states):
    migrated.says("mitx_run.nested.orchestrate", {"failures": []})
    ret = states(test=True).databases_restored("r")
    assert (ret["result"], migrated.asked("mitx_run.nested.orchestrate")) == (None, [])


def test_a_rollback_waits_for_the_migration_that_a_killed_command_left_at_work(world, states):
    world.says("mitx_hosts.migrations.await_earlier", CommandExecutionError("it runs on edx-1"))
    assert states().not_migrating("n")["comment"] == "No migration was ever begun"
    world.record = {"migrate": {"status": "started"}}
    ret = states().not_migrating("n")
    assert (ret["result"], ret["comment"]) == (False, "it runs on edx-1")


def test_an_old_process_that_somebody_started_is_told_and_left_alone(world, states):
    world.says("mitx_hosts.services.status", {WEB: [f"{WEB}: lms is RUNNING"], WORKER: []})
    ret = states().still_stopped("s")
    assert ret["result"] is False
    assert f"{WEB}: lms is RUNNING" in ret["comment"]
    assert world.asked("mitx_hosts.services.stop") == []


def test_a_host_at_another_commit_is_named(world, states):
    world.pinned["release_sha"] = "a" * 40
    world.says("mitx_hosts.hosts.heads", {WEB: "a" * 40, WORKER: "b" * 40})
    ret = states().at_commit("c")
    assert ret["result"] is False
    assert f"{WORKER} is at {'b' * 40}" in ret["comment"]
    assert WEB not in ret["comment"]


def test_before_anything_is_launched_there_is_no_date_to_set(world, states):
    world.pinned.clear()
    assert states().launch_date_set("l")["comment"] == "Nothing of the new fleet is there yet"


def test_the_date_of_another_day_is_set_on_what_an_interrupted_deploy_launched(world, states):
    world.pinned = {"release_number": 1}
    world.says("mitx_fleet.fleets.new", {"instances": FLEET})
    world.says("mitx_hosts.hosts.launch_dates", {WEB: "2026-12-19", WORKER: "2026-12-20"})
    world.says("mitx_hosts.hosts.set_launch_date", None)
    assert states(test=True).launch_date_set("l")["result"] is None
    assert world.asked("mitx_hosts.hosts.set_launch_date") == []
    ret = states().launch_date_set("l")
    assert ret["changes"] == {WEB: {"old": "2026-12-19", "new": "2026-12-20"}}
    assert world.asked("mitx_hosts.hosts.set_launch_date") == [([WEB], "2026-12-20")]


def test_a_failed_highstate_of_the_bases_is_seen_in_their_recap(world, states):
    world.fleet = [{"id": "i-1", "name": "edxapp-base"}, {"id": "i-2", "name": "edx-worker-base"}]
    world.says("mitx_hosts.hosts.highstate", {})
    world.says("mitx_hosts.hosts.last_configured", "2026-12-20T00:00:00Z")
    world.says("mitx_hosts.hosts.unconfigured", ["edxapp-base: localhost: failed=1 unreachable=0"])
    ret = states().highstate("h")
    assert ret["result"] is False
    assert "failed=1" in ret["comment"]


def test_there_is_no_build_to_resume_without_base_instances(world, states):
    world.fleet = [{"id": "i-1", "name": "edxapp-base"}]
    ret = states().highstate("h")
    assert ret["result"] is False
    assert "edx-worker-base do not exist" in ret["comment"]


def test_a_master_whose_minion_does_not_answer_has_no_idle_salt_cloud(world, states):
    world.says("mitx_hosts.jobs.of_master", {})
    ret = states().cloud_idle("r")
    assert ret["result"] is False
    assert "does not answer" in ret["comment"]
    world.says("mitx_hosts.jobs.of_master", {"master": True})
    world.says("mitx_hosts.jobs.await_cloud", None)
    assert states().cloud_idle("r")["result"] is True
