"""While one of MITx's own orchestrations runs, what it does is told, for as long as it does it."""

import contextlib
import queue
import time

SLS = "orchestrate.edx.deploy"
EVENTS = [
    {"tag": "salt/cloud/edx-0-v4/created", "data": {}},
    {"tag": "salt/job/1/ret/edx-0-v4", "data": {"fun": "test.ping"}},
    {"tag": "salt/job/2/ret/edx-0-v4", "data": {"fun": "state.highstate"}},
    {"tag": "salt/job/2/ret/edx-1-v4", "data": {"fun": "state.highstate"}},
]


class Bus:
    """The master's event bus: what was put into it, an event at each look."""

    def __init__(self):
        self.events = queue.SimpleQueue()

    def get_event(self, wait, full):
        with contextlib.suppress(queue.Empty):
            return self.events.get(timeout=0.01)


def test_an_existing_orchestration_is_told_again_and_again(mitx, monkeypatch, capfd):
    bus, loaded = Bus(), mitx()

    def runs(run, sls, **kwargs):
        deadline, lines, events = time.monotonic() + 30, 0, list(EVENTS)
        while lines < len(EVENTS) and time.monotonic() < deadline:
            if events:
                bus.events.put(events.pop(0))
            out = capfd.readouterr().err
            told.append(out)
            lines += out.count(SLS)
            time.sleep(0.02)
        return {"data": {}, "failures": []}

    told, pending = [], [["the new fleet is not there"], []]
    monkeypatch.setattr("mitx_run.progress._PERIOD", 0.05)
    monkeypatch.setattr(
        "salt.utils.event.get_master_event", lambda *_, **__: contextlib.nullcontext(bus)
    )
    monkeypatch.setattr("mitx_run.nested.orchestrate", runs)
    for name, answer in (("environ", {}), ("save_output", "output.json")):
        monkeypatch.setattr(f"mitx_upgrade.saltops.{name}", lambda *_, said=answer: said)
    monkeypatch.setattr("mitx_upgrade.saltops.pending", lambda *_: pending.pop(0))
    monkeypatch.setattr("mitx_upgrade.saltops.require_unchanged_settings", lambda run: None)
    monkeypatch.setattr("mitx_hosts.jobs.await_cloud", lambda run: None)
    monkeypatch.setattr("mitx_hosts.fence.workers", lambda run: contextlib.nullcontext())

    ret = loaded.states["mitx_upgrade.saltops_ran"](SLS)

    assert ret["result"] is True, ret
    lines = [line for line in "".join(told).splitlines() if SLS in line]
    assert len(lines) >= len(EVENTS), lines
    assert "1 instances created, state.highstate returned by 2 minions" in lines[-1]
    # Who looks from another terminal sees it too.
    (now,) = loaded.run_dir.glob("*/*/now")
    assert SLS in now.read_text()
