"""
Students' tracking logs lie on the old hosts and nowhere else: saved and proven before any of these
is destroyed.
"""

import pytest
import salt.utils.event

from tests.support.fleets import QUICK, on_the_master, recorded_upgrade

BUCKET = "tracking"
SAVED = {
    "before": "backups.backup_tracking",
    "proof": {"bucket": BUCKET, "key": "logs/{environment}/{name}/"},
}


@pytest.fixture
def retirement(mitx, aws, tmp_path, monkeypatch):
    """
    ``retirement(**retire)``: the window is over, the new fleet serves; ``made`` is what the hosts
    save: ``{name: bytes}``.
    """
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(
        salt.utils.event.SaltEvent, "fire_event", lambda self, data, tag, timeout=1000: True
    )

    def prepare(**retire):
        run = recorded_upgrade(
            mitx, aws, retire={**QUICK["retire"], "after": 0, "nothing_to_save": False, **retire}
        )
        for phase in ("stop", "open"):
            run.modules["mitx_run.events.write"]("phase", phase=phase, status="finished", seconds=1)
        for elb in run.settings["elbs"]:
            members = [{"InstanceId": id_} for id_ in run.world.web(run.old, elb)]
            run.world.elb.deregister_instances_from_load_balancer(
                LoadBalancerName=elb["name"], Instances=members
            )
        run.world.register(run.new)
        s3 = aws.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        master = on_the_master(run, tmp_path)
        master.made, master.jobs = dict.fromkeys(run.old, b"a line\n"), []

        def execute(minions, fun, arg=(), **_):
            master.jobs.append((sorted(minions), fun, list(arg)))
            for name in minions:
                if master.made.get(name) is not None:
                    s3.put_object(
                        Bucket=BUCKET,
                        Key=f"logs/mitx-qa/{name}/tracking.log.gz",
                        Body=master.made[name],
                    )
            return dict.fromkeys(minions, {})

        # What runs on the hosts again, and is to be stopped before anything is saved.
        master.running = {}

        def plan(minions, wanted, parts=None):
            assert (sorted(minions), wanted) == (sorted(master.old), "stopped")
            return {"wrong": dict(master.running), "calls": []}

        def stop(planned, wanted, parts=None):
            master.jobs += [(sorted(planned["wrong"]), "stopped", [])] if planned["wrong"] else []

        master.modules.monkeypatch = monkeypatch
        master.modules["mitx_hosts.jobs.execute"] = execute
        master.modules["mitx_hosts.services.plan"] = plan
        master.modules["mitx_hosts.services.apply"] = stop
        master.save = lambda: master.states["mitx_hosts.saved"]("tracking logs")
        master.retire = lambda: master.states["mitx_fleet.retired"]("retire")
        master.standing = lambda: (
            set(master.world.states(*master.old.values()).values()) == {"running"}
        )
        return master

    return prepare


def test_without_a_word_how_they_are_saved_nothing_is_destroyed(retirement):
    master = retirement(before=None, proof={"bucket": None, "key": None})
    ret = master.save()
    assert ret["result"] is False
    for setting in ("retire:before", "retire:proof", "retire:nothing_to_save"):
        assert setting in ret["comment"]
    # By itself, too.
    ret = master.retire()
    assert ret["result"] is False
    assert "are not proven to be saved" in ret["comment"]
    assert master.standing()


def test_they_are_saved_on_exactly_the_old_hosts_proven_and_recorded(retirement):
    master = retirement(**SAVED)
    ret = master.save()
    assert ret["result"] is True, ret["comment"]
    assert master.jobs == [(sorted(master.old), "state.sls", ["backups.backup_tracking"])]
    assert set(ret["changes"]) == set(master.old)
    assert master.retire()["result"] is True
    assert not master.standing()
    # Again: nobody is asked, nothing is there to be destroyed.
    assert (master.save()["result"], master.retire()["result"], len(master.jobs)) == (True, True, 1)


@pytest.mark.parametrize(
    ("made", "told"), [(None, "no object below"), (b"", "only empty or older ones below")]
)
def test_a_backup_that_succeeds_and_saves_nothing_of_one_host_is_none(retirement, made, told):
    master = retirement(**SAVED)
    name = sorted(master.old)[0]
    master.made[name] = made
    ret = master.save()
    assert ret["result"] is False
    assert f"{name}: {told} s3://{BUCKET}/logs/mitx-qa/{name}/" in ret["comment"]
    assert master.retire()["result"] is False
    assert master.standing()


def test_what_was_saved_before_a_rollback_is_not_what_was_written_after_it(retirement):
    """
    Within its hours of grace the old fleet served again, and its hosts wrote on; they were stopped
    a second time.
    """
    master = retirement(**SAVED)
    assert master.save()["result"] is True
    for phase in ("stop", "open"):
        master.modules["mitx_run.events.write"]("phase", phase=phase, status="finished", seconds=1)
    ret = master.retire()
    assert ret["result"] is False
    assert "are not proven to be saved" in ret["comment"]
    assert master.standing()
    # An object of before is no proof either.
    master.made = {}
    statuses = master.modules["mitx_run.phases.statuses"]
    later = {"stop": {"status": "finished", "time": "2999-01-01T00:00:00.000000Z"}}
    master.modules["mitx_run.phases.statuses"] = lambda *args: {**statuses(*args), **later}
    ret = master.save()
    assert ret["result"] is False
    assert "only empty or older ones" in ret["comment"]
    assert len(master.jobs) == 2


def test_what_runs_there_again_is_stopped_before_it_is_saved_and_not_written_on(retirement):
    master = retirement(**SAVED)
    name = sorted(master.old)[0]
    master.running = {name: ["lms is RUNNING"]}
    assert master.save()["result"] is True
    assert [job[:2] for job in master.jobs] == [
        ([name], "stopped"),
        (sorted(master.old), "state.sls"),
    ]


def test_one_that_ec2_has_stopped_is_named_with_what_starts_it(retirement):
    master = retirement(**SAVED)
    name = sorted(master.old)[0]
    master.world.ec2.stop_instances(InstanceIds=[master.old[name]])
    ret = master.save()
    assert ret["result"] is False
    assert f"aws ec2 start-instances --instance-ids {master.old[name]}\n" in ret["comment"]
    assert ret["comment"].endswith("salt-run mitx.retire")
    assert master.jobs == []


def test_a_waiver_is_recorded(retirement):
    master = retirement(nothing_to_save=True)
    assert master.save()["result"] is True
    assert [
        line["event"] for line in master.modules["mitx_run.events.read"]("nothing_to_save")
    ] == ["nothing_to_save"]
    assert master.jobs == []
    assert master.retire()["result"] is True
