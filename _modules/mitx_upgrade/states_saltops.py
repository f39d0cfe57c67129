"""
MITx's own orchestrations, called by name
=========================================
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError

from mitx_hosts import fence, jobs
from mitx_run import change, events, nested, progress
from mitx_upgrade import saltops

# Those that launch or destroy.
_LAUNCHES = (
    "orchestrate.edx.build_ami",
    "orchestrate.edx.update_edxapp_ami_sdb",
    "orchestrate.edx.deploy",
)


@change.state
def saltops_ran(run, ret, sls=None):
    name = ret["name"]
    pending = saltops.pending(run, name)
    if not pending:
        ret["comment"] = f"{name}: nothing to do"
        return
    environ = saltops.environ(run, name)
    changes = {name: {"environment variables": environ, "because": pending}}
    if run.test:
        variables = " ".join(f"{key}={value!r}" for key, value in environ.items())
        because = "; ".join(pending)
        change.tell(ret, changes, f"would be run, with {variables}, because {because}")
        return
    saltops.require_unchanged_settings(run)
    if name in _LAUNCHES:
        jobs.await_cloud(run)
    if name == "orchestrate.edx.build_ami":
        saltops.require_buildable(run)
    ret["changes"] = changes
    ret["comment"] = _run(run, name, sls or name, environ)


def _run(run, name, sls, environ):
    started = time.monotonic()
    events.write(run, "existing", stage="before", sls=name, environ=environ)
    pillar = nested.inherited(run)
    # It starts the new workers, on the live queues and databases.
    fenced = fence.workers(run) if name == "orchestrate.edx.deploy" else contextlib.nullcontext()
    with fenced, progress.orchestration(run, name):
        answer = nested.orchestrate(run, sls, environ=environ, pillar=pillar)
    output = saltops.save_output(run, name, answer)
    seconds = round(time.monotonic() - started, 1)
    stage = "failed" if answer["failures"] else "after"
    events.write(run, "existing", stage=stage, sls=name, seconds=seconds, output=output)
    if answer["failures"]:
        raise CommandExecutionError(
            "\n".join([f"{name} failed; its whole output: {output}", *answer["failures"]])
        )
    pending = saltops.pending(run, name)
    if pending:
        first = f"{name} reported success, but; its whole output: {output}"
        raise CommandExecutionError("\n".join([first, *pending]))
    return f"{name} ran in {seconds} s; its output: {output}"
