"""
MITx's own orchestrations, called by name
=========================================
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError

# Those that launch or destroy.
_LAUNCHES = ("orchestrate.edx.build_ami", "orchestrate.edx.update_edxapp_ami_sdb", "orchestrate.edx.deploy")


def __virtual__():
    if "mitx_existing.environ" not in __salt__:
        return False, "The mitx_existing execution module is not loaded"
    return True


def ran(name, check, sls=None, meanwhile=None):
    """
    Run one of the four existing orchestrations with exactly the environment variables it reads, unless what it does is
    true already. It is judged by what is true afterwards, not by its exit status: with four failed effects one of them was
    seen to exit 0.

    name
        ``orchestrate.edx.build_ami``, ``orchestrate.edx.update_edxapp_ami_sdb``, ``orchestrate.edx.deploy`` or
        ``orchestrate.aws.mitx_elb``.
    check
        Execution function that returns what is missing as a list of sentences; empty: nothing to do. What a repetition
        would double, it refuses by raising.
    sls
        Run this SLS instead, a wrapper of the existing one.
    meanwhile
        Execution function that returns a context manager, to be held while the orchestration runs.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        missing = __salt__[check]()
        if not missing:
            ret["comment"] = f"{name}: nothing to do"
            return ret
        environ = __salt__["mitx_existing.environ"](name)
        ret["changes"] = {name: {"environment variables": environ, "because": missing}}
        if __opts__["test"]:
            said = " ".join(f"{key}={value!r}" for key, value in environ.items())
            ret.update(result=None, comment=f"would be run, with {said}, because {'; '.join(missing)}")
            return ret
        __salt__["mitx_existing.require_unchanged_settings"]()
        if name in _LAUNCHES:
            __salt__["mitx_existing.await_cloud"]()
        return _run(ret, name, sls or name, environ, check, meanwhile)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret


def _run(ret, name, sls, environ, check, meanwhile):
    started = time.monotonic()
    __salt__["mitx_journal.write"]("existing", stage="before", sls=name, environ=environ)
    pillar = __salt__["mitx_orchestrate.inherited"](__pillar__["mitx"].get("run"))
    with __salt__[meanwhile]() if meanwhile else contextlib.nullcontext():
        answer = __salt__["mitx_orchestrate.run"](sls, environ=environ, pillar=pillar)
    kept = __salt__["mitx_existing.keep"](name, answer)
    seconds = round(time.monotonic() - started, 1)
    __salt__["mitx_journal.write"](
        "existing", stage="failed" if answer["failures"] else "after", sls=name, seconds=seconds, output=kept
    )
    if answer["failures"]:
        ret.update(result=False, comment="\n".join([f"{name} failed; its whole output: {kept}", *answer["failures"]]))
        return ret
    missing = __salt__[check]()
    if missing:
        ret.update(result=False, comment="\n".join([f"{name} reported success, but; its whole output: {kept}", *missing]))
        return ret
    ret["comment"] = f"{name} ran in {seconds} s; its output: {kept}"
    return ret
