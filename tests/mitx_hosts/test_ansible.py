"""
A playbook that failed looks like success to build_ami: what would turn a half-configured base
instance into the images of a night.
"""

import pytest
from salt.exceptions import CommandExecutionError

WEB, WORKER = "edxapp-mitx-qa-koa-base", "edx-worker-mitx-qa-koa-base"


def recap(host="localhost", failed=0, unreachable=0):
    """The end of what ansible-playbook prints, as of 2.8."""
    return (
        f"TASK [edxapp : migrate] ****\nok: [localhost]\n\nPLAY RECAP *********\n{host:<26} :"
        f" ok=412  changed=98   unreachable={unreachable}    failed={failed}    skipped=301 "
        " rescued=0    ignored=2\n"
    )


def highstate(text):
    """What a highstate returns whose second state runs the playbook."""
    return {
        "pkg_|-git_|-git_|-installed": {
            "result": True,
            "changes": {"git": {"old": "", "new": "1:2.20"}},
        },
        "cmd_|-run_ansible_|-/tmp/ansible.sh_|-run": {
            "result": True,
            "changes": {"pid": 7, "retcode": 0, "stdout": text},
        },
        "file_|-/etc/motd_|-/etc/motd_|-managed": {"result": True, "changes": {}},
    }


@pytest.fixture
def problems(mitx):
    return mitx().modules["mitx_hosts.ansible.problems"]


ONE = {"services": {"playbooks": {"edx": ["edxapp"], "edx-worker": ["edxapp"]}}}


@pytest.fixture
def cache(mitx):
    """
    ``cache(jobs, test=False)``: the package, and a job cache that holds these answers: ``{jid:
    {minion: what it returned}}``.
    """

    def load(jobs, test=False):
        def runner(function, arg=(), **kwargs):
            if function == "jobs.list_jobs":
                # A job of several functions is there too, as ours are.
                several = {
                    "20991231000000000000": {"Function": ["cmd.run_all", "saltutil.running"]}
                }
                highstates = (
                    {jid: {"Function": "state.highstate"} for jid in jobs}
                    if isinstance(jobs, dict)
                    else {}
                )
                return {**several, **highstates} if isinstance(jobs, dict) else jobs
            assert (function, kwargs) == ("jobs.lookup_jid", {})
            return jobs[arg[0]]

        loaded = mitx(test=test, **ONE)
        loaded.modules["saltutil.runner"] = runner
        loaded.of_bases = loaded.modules["mitx_hosts.ansible.of_bases"]
        return loaded

    return load


def test_a_clean_recap_is_clean(problems):
    assert problems(recap()) == []


@pytest.mark.parametrize("wrong", [{"failed": 1}, {"unreachable": 1}])
def test_one_task_that_failed_or_one_host_out_of_reach_is_told(problems, wrong):
    told = {"failed": 0, "unreachable": 0} | wrong
    assert problems(recap(**wrong)) == [
        f"localhost: failed={told['failed']} unreachable={told['unreachable']}"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TASK [edxapp : migrate] ****\nfatal: [localhost]: FAILED!\n",
        "PLAY RECAP *****\n",
        recap()[:-90],
    ],
)
def test_a_playbook_that_did_not_get_to_its_end_is_not_taken_for_a_clean_one(problems, text):
    [told] = problems(text)
    assert told.endswith("the playbook did not get to its end")


def play(name, **wrong):
    """What one playbook prints; with ``fatal``, the task that failed."""
    fatal = "fatal: [localhost]: FAILED! => {}\n" if wrong else ""
    return (
        f"PLAY [{name}] ****\nTASK [{name} : one] ****\nok: [localhost]\nTASK [{name} : two]"
        f" ****\n{fatal}\n" + recap(**wrong)
    )


THREE = ("edxapp", "xqueue", "forum")


def test_the_last_of_three_playbooks_does_not_speak_for_the_first(problems):
    text = play("edxapp", failed=1) + play("xqueue") + play("forum")
    assert problems(text, THREE) == [
        "edxapp: localhost: failed=1 unreachable=0 in TASK [edxapp : two]"
    ]
    assert problems(play("edxapp") + play("xqueue") + play("forum"), THREE) == []


def test_a_recap_that_is_missing_is_a_failure(problems):
    dead = "PLAY [edxapp] ****\nTASK [edxapp : one] ****\nKilled\n" + play("xqueue") + play("forum")
    [told] = problems(dead, THREE)
    assert told == "2 PLAY RECAPs of 3 playbooks (edxapp, xqueue, forum, see services:playbooks)"
    missing = (
        play("edxapp") + "ERROR! the playbook: xqueue.yml could not be found\n" + play("forum")
    )
    told = problems(missing, THREE)
    assert told[0].startswith("2 PLAY RECAPs of 3")
    assert "ERROR! the playbook: xqueue.yml could not be found" in told[1]


def test_of_more_recaps_than_playbooks_each_must_be_clean(problems):
    """A worker's base has three where its own pillar does not name one."""
    assert problems(recap() + recap()) == []
    told = problems(recap(failed=1) + recap() + recap())
    assert len(told) == 1
    assert told[0].startswith("playbook 1: ")
    assert "failed=1" in told[0]


def test_colours_hide_nothing(problems):
    text = (
        play("edxapp", failed=1).replace("failed=1", "\x1b[0;31mfailed=1\x1b[0m")
        + play("xqueue")
        + play("forum")
    )
    assert problems(text, THREE) == [
        "edxapp: localhost: failed=1 unreachable=0 in TASK [edxapp : two]"
    ]


def test_in_a_log_of_several_runs_the_last_ones_count(problems):
    earlier = play("edxapp", failed=1) + play("xqueue") + play("forum")
    assert (
        problems(earlier + play("edxapp") + play("xqueue") + play("forum"), THREE, last=True) == []
    )
    assert (
        problems(play("edxapp") + play("xqueue") + play("forum") + earlier, THREE, last=True) != []
    )


def test_the_host_that_failed_is_named_and_the_other_one_does_not_hide_it(problems):
    text = recap("edx-0", failed=2) + recap("edx-1").splitlines()[-1]
    assert problems(text) == ["edx-0: failed=2 unreachable=0"]


def test_a_run_before_the_last_one_does_not_count_whatever_it_said(cache):
    """Configured again after a failure it is clean; broken again after a success it is not."""
    bases = cache(
        {
            "20261220203000000000": {WEB: highstate(recap(failed=2)), WORKER: highstate(recap())},
            "20261220210500000000": {WEB: highstate(recap()), WORKER: highstate(recap(failed=1))},
            "20261220200000000000": {WEB: highstate(recap(failed=3)), WORKER: highstate(recap())},
        }
    )
    assert bases.of_bases() == {WEB: [], WORKER: ["localhost: failed=1 unreachable=0"]}


def test_a_later_highstate_of_other_minions_does_not_hide_that_of_the_bases(cache):
    bases = cache(
        {
            "20261220200000000000": {WEB: highstate(recap(failed=1)), WORKER: highstate(recap())},
            "20261220210500000000": {
                "edx-mitx-qa-current-residential-live-0-v3": highstate(recap())
            },
            # Nobody has answered yet.
            "20261220211000000000": None,
        }
    )
    assert bases.of_bases() == {WEB: ["localhost: failed=1 unreachable=0"], WORKER: []}


def test_an_answer_with_an_outputter_around_it_is_read_too(cache):
    """So it comes from a minion that has said how its answer is to be printed."""
    answer = {
        "outputter": "highstate",
        "data": {WEB: highstate(recap(failed=1)), WORKER: {"return": highstate(recap())}},
    }
    assert cache({"1": answer}).of_bases() == {
        WEB: ["localhost: failed=1 unreachable=0"],
        WORKER: [],
    }


def test_a_base_that_was_never_configured_is_no_clean_one(cache):
    assert cache({"1": {WEB: highstate(recap())}}).of_bases() == {
        WEB: [],
        WORKER: ["Salt's job cache holds no highstate of it"],
    }
    assert set(map(len, cache({}).of_bases().values())) == {1}


@pytest.mark.parametrize(
    "answer",
    [
        ["Rendering SLS 'base:edx' failed"],
        {},
        highstate(""),
        "Minion did not return. [No response]",
    ],
)
def test_a_highstate_that_did_not_run_the_playbook_is_no_clean_one(cache, answer):
    [told] = cache({"1": {WEB: answer, WORKER: highstate(recap())}}).of_bases()[WEB]
    assert told.startswith("there is no PLAY RECAP")


@pytest.mark.parametrize(
    "jobs",
    [
        "Exception occurred in runner jobs.list_jobs",
        None,
        {"1": "Exception occurred in runner jobs.lookup_jid"},
    ],
)
def test_a_job_cache_that_cannot_be_read_is_not_one_without_failures(cache, jobs):
    with pytest.raises(CommandExecutionError, match="Salt's job cache cannot be read"):
        cache(jobs).of_bases()


def test_no_image_is_waited_for_before_both_bases_are_known_to_be_configured(cache):
    loaded = cache({"1": {WEB: highstate(recap()), WORKER: highstate(recap(failed=1))}})
    loaded.modules["mitx_run.record.pin"]("release_number", 4)
    # What it says asks EC2 for the AMIs.
    loaded.modules["mitx_fleet.images.build_again"] = lambda settings, number: (
        f"To build release {number} again"
    )
    ret = loaded.states["mitx_hosts.bases_configured"]("base instances are configured")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert f"{WORKER}: localhost: failed=1 unreachable=0" in ret["comment"]
    assert WEB not in ret["comment"]
    assert "To build release 4 again" in ret["comment"]


def test_what_the_job_cache_has_forgotten_while_the_images_were_made_is_still_known(cache):
    jobs = {"1": dict.fromkeys((WEB, WORKER), highstate(recap()))}
    loaded = cache(jobs)
    for _ in range(2):
        ret = loaded.states["mitx_hosts.bases_configured"]("base instances are configured")
        assert (ret["result"], ret["comment"]) == (
            True,
            "Both recaps are clean: failed=0 unreachable=0",
        )
        jobs.clear()


def test_a_clean_recap_does_not_speak_for_a_build_that_came_after_it(cache):
    """
    An AMI can fail once its base is configured: then it is built again, and Ansible can fail this
    time.
    """
    jobs = {"1": dict.fromkeys((WEB, WORKER), highstate(recap()))}
    loaded = cache(jobs)
    loaded.modules["mitx_fleet.images.build_again"] = lambda settings, number: "To build it again"
    loaded.modules["mitx_run.record.pin"]("release_number", 4)
    assert (
        loaded.states["mitx_hosts.bases_configured"]("base instances are configured")["result"]
        is True
    )
    loaded.modules["mitx_run.events.write"](
        "existing", sls="orchestrate.edx.build_ami", stage="after"
    )
    jobs["2"] = dict.fromkeys((WEB, WORKER), highstate(recap(failed=1)))
    assert (
        loaded.states["mitx_hosts.bases_configured"]("base instances are configured")["result"]
        is False
    )


def test_a_job_cache_that_cannot_be_read_stops_the_night(cache):
    ret = cache("no such returner").states["mitx_hosts.bases_configured"](
        "base instances are configured"
    )
    assert (ret["result"], ret["comment"]) == (
        False,
        "Salt's job cache cannot be read: no such returner",
    )


def test_a_plan_before_anything_is_built_does_not_ask_for_a_recap(cache):
    ret = cache("no such returner", test=True).states["mitx_hosts.bases_configured"](
        "base instances are configured"
    )
    assert (ret["result"], ret["comment"]) == (None, "Nothing is built yet")
