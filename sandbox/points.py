"""
The named points of an upgrade at which a sandbox can be brought up, each reached by running the
real phases.
"""

import json
import pathlib

from sandbox import assembly, master, report
from sandbox.config import SandboxError

# The last phase of each point.
POINTS = {
    "fresh": None,
    "prepared": "quiesce",
    "closed": "close",
    "migrated": "migrate",
    "attached": "attach",
    "done": "open",
}
ORDER = [
    *("preflight", "announce", "rebase", "build", "images", "record", "deploy", "smoke", "quiesce"),
    *("close", "stop", "migrate", "start", "attach", "detach", "verify", "open"),
]
SECONDS = 3600


def go(config, point, say=print):
    """
    Run the phases up to ``point``. SandboxError when one fails, or when the sandbox is past it
    already.
    """
    last = POINTS[point]
    done = finished(config)
    past = [phase for phase in done if last is None or ORDER.index(phase) > ORDER.index(last)]
    if past:
        raise SandboxError(
            f"The sandbox is past {point}: {past[-1]} is done. Start over: python -m sandbox up"
            f" --anew --at {point}"
        )
    if last is None or last in done:
        return
    assembly.enforce_policy(config)
    say(f"Running the phases up to {last}.")
    _run(config, last)


def finished(config):
    """Names of the phases that the youngest run has finished, in order."""
    lines = report.run_journal(config)["lines"]
    done = {
        line["phase"]
        for line in lines
        if line.get("event") == "phase" and line.get("status") == "finished"
    }
    return [phase for phase in ORDER if phase in done]


def _run(config, last):
    log = pathlib.Path(config["paths"]["logs"]) / "points.log"
    words = [
        "salt-run",
        "state.orchestrate",
        "orchestrate.mitx.upgrade",
        "pillar=" + json.dumps({"mitx": {"until": last}}),
    ]
    with open(log, "ab") as output:
        status = master.run(config, words, stdout=output, stderr=output, timeout=SECONDS).returncode
    # Salt has ended with 0 after an orchestration that did nothing: the record is what counts.
    if status or last not in finished(config):
        text = log.read_text(errors="replace")
        raise SandboxError(
            f"{last} was not reached (salt-run ended with {status}); {log} ends:\n{text[-3000:]}"
        )
