"""
MITx's own orchestrations, called by name
=========================================
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError

from mitx_hosts import fence
from mitx_run import journal, nested
from mitx_upgrade import saltops

# Those that launch or destroy.
_LAUNCHES = (
    "orchestrate.edx.build_ami",
    "orchestrate.edx.update_edxapp_ami_sdb",
    "orchestrate.edx.deploy",
)


def saltops_ran(run, name, sls=None):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        missing = saltops.pending(run, name)
        if not missing:
            ret["comment"] = f"{name}: nothing to do"
            return ret
        environ = saltops.environ(run, name)
        ret["changes"] = {name: {"environment variables": environ, "because": missing}}
        if run.test:
            said = " ".join(f"{key}={value!r}" for key, value in environ.items())
            ret.update(
                result=None, comment=f"would be run, with {said}, because {'; '.join(missing)}"
            )
            return ret
        saltops.require_unchanged_settings(run)
        if name in _LAUNCHES:
            saltops.await_cloud(run)
        return _run(run, ret, name, sls or name, environ)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret


def _run(run, ret, name, sls, environ):
    started = time.monotonic()
    journal.write(run, "existing", stage="before", sls=name, environ=environ)
    pillar = nested.inherited(run)
    # It starts the new workers, on the live queues and databases.
    with fence.workers(run) if name == "orchestrate.edx.deploy" else contextlib.nullcontext():
        answer = nested.orchestrate(run, sls, environ=environ, pillar=pillar)
    kept = saltops.save_output(run, name, answer)
    seconds = round(time.monotonic() - started, 1)
    journal.write(
        run,
        "existing",
        stage="failed" if answer["failures"] else "after",
        sls=name,
        seconds=seconds,
        output=kept,
    )
    if answer["failures"]:
        ret.update(
            result=False,
            comment="\n".join([f"{name} failed; its whole output: {kept}", *answer["failures"]]),
        )
        return ret
    missing = saltops.pending(run, name)
    if missing:
        ret.update(
            result=False,
            comment="\n".join(
                [f"{name} reported success, but; its whole output: {kept}", *missing]
            ),
        )
        return ret
    ret["comment"] = f"{name} ran in {seconds} s; its output: {kept}"
    return ret
