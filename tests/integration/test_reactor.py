"""The master's reactor, with the configuration of pillar_examples/reactor.conf on a real master."""

import copy

from tests.support.lab import WEB, WORKER, wait

KEYS = {"api_key": "dd-api-key", "application_key": "dd-app-key"}
SCOPE = "environment:mitx-qa"


def test_a_phase_of_a_run_is_told_to_the_chat_and_the_monitoring(lab, salt, pillar, post_server):
    mine = copy.deepcopy(pillar)
    mine["mitx"]["environments"]["mitx-qa"]["notify"] = {
        "chat": {"webhook": f"{post_server.url}/services/T0/B0/secret"},
        "downtime": {"url": post_server.url, "scope": SCOPE, **KEYS},
    }
    lab.own_pillar(mine)
    mark = salt().modules["mitx_run.phases.mark"]
    mark("close", "started")
    wait(lambda: len(post_server.posts) == 2, what="both are told")
    assert sorted(path for path, _, _ in post_server.posts) == [
        "/api/v1/downtime",
        "/services/T0/B0/secret",
    ]
    mark("stop", "failed", error="edx-0 did not stop: 'x' {{ y }}\nmore of it")
    wait(lambda: len(post_server.posts) == 3, what="the failure is told")
    assert post_server.posts[-1][1]["text"].endswith("stop failed: edx-0 did not stop: 'x' {{ y }}")
    mark("open", "finished")
    wait(lambda: len(post_server.posts) == 5, what="the end is told")
    assert ("/api/v1/downtime/cancel/by_scope", {"scope": SCOPE}) in [
        (path, body) for path, body, _ in post_server.posts
    ]


def test_a_new_worker_is_fenced_when_its_minion_starts_whatever_became_of_the_command(
    lab, salt, pillar
):
    """Nothing of this package runs but the master: a reboot of it in the middle of deploy, say."""
    services = {"user": None, "hold": {"begin": "touch ~/held", "end": "rm -f ~/held"}}
    loaded = salt(services=services)
    mine = copy.deepcopy(pillar)
    mine["mitx"]["environments"]["mitx-qa"]["services"] = services
    lab.own_pillar(mine)
    loaded.modules["mitx_run.record.pin"]("release_number", 1)
    loaded.modules["mitx_run.events.write"](
        "existing", stage="before", sls="orchestrate.edx.deploy"
    )
    held = {name: host.home / "held" for name, host in lab.hosts.items()}
    for name in (WEB, WORKER):
        lab.minions[name].terminate()
        lab.minions[name].start()
    try:
        wait(held[WORKER].exists, what="the worker is fenced")
        assert not held[WEB].exists()
        wait(
            lambda: loaded.modules["mitx_hosts.fence.missed"]([WORKER]) == [], what="it is recorded"
        )
    finally:
        held[WORKER].unlink(missing_ok=True)
