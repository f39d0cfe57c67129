"""
Salt's own ``salt.utils.cloud``, except that no host is reached by ssh: the sandbox's watcher starts
its minion, with the grains that Salt Cloud made for it
"""

import pathlib
import time

import salt.client
import salt.config
import salt.utils.cloud

from sandbox.hosts import record

SECONDS = 300
# Its functions read what the loader puts into the module that they are in: so they must be in this
# one.
_STOCK = pathlib.Path(salt.utils.cloud.__file__)
exec(compile(_STOCK.read_text(), _STOCK, "exec"), globals())


def bootstrap(vm_, opts=None):
    """
    Hand a new instance's grains to the watcher, and wait until its minion answers.
    """
    folder = pathlib.Path(opts["sandbox"]["directory"]) / "boot"
    grains = salt.utils.cloud.minion_config(opts, vm_).get("grains", {})
    record.write(folder / f"{vm_['instance_id']}.json", {"name": vm_["name"], "grains": grains})
    options = salt.config.master_config(str(pathlib.Path(opts["conf_file"]).parent / "master"))
    key = pathlib.Path(options["pki_dir"]) / "minions" / vm_["name"]
    deadline = time.monotonic() + SECONDS
    with salt.client.get_local_client(mopts=options) as client:
        while time.monotonic() < deadline:
            if key.exists() and client.cmd([vm_["name"]], "test.ping", tgt_type="list", timeout=3):
                return {"deployed": True}
            time.sleep(0.3)
    return {"Error": {"Not Deployed": f"the minion of {vm_['name']} does not answer"}}
