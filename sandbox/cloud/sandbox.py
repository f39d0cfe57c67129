"""
Salt Cloud driver of the sandbox: EC2 as the fake AWS speaks it
===============================================================

Works with ``cloud.profile``, ``cloud.map_run`` and ``cloud.destroy`` on Salt 3006 to 3008 (3008
ships no EC2 driver, and the older one speaks only TLS and an old dialect). A profile names
``image``, ``size``, ``subnet`` and ``tag``.

.. code-block:: yaml

    sandbox:
      driver: sandbox
      deploy: false           # hosts make their own keys at first boot, the master accepts them
      wait_for_minion: 120    # seconds
"""

import functools
import os
import time

import boto3
import botocore.config
import salt.client
import salt.config as config
from salt.exceptions import SaltCloudExecutionTimeout, SaltCloudNotFound, SaltCloudSystemExit

__virtualname__ = "sandbox"
_ALIVE = ["pending", "running", "stopping", "stopped"]


def __virtual__():
    if get_configured_provider() is False:
        return False
    return __virtualname__


def get_configured_provider():
    """
    Return the first configured provider of this driver, or ``False``.
    """
    return config.is_provider_configured(__opts__, __active_provider_name__ or __virtualname__, ())


def avail_images(call=None):
    """
    Return the account's images by id.

    CLI Example:

    .. code-block:: bash

        salt-cloud --list-images sandbox
    """
    return {
        image["ImageId"]: _plain(image)
        for image in _ec2().describe_images(Owners=["self"])["Images"]
    }


def avail_sizes(call=None):
    """
    Return the sizes there are: one host is as large as the next.

    CLI Example:

    .. code-block:: bash

        salt-cloud --list-sizes sandbox
    """
    return {size: {"id": size, "name": size} for size in ("t3.large", "r5.large")}


def avail_locations(call=None):
    """
    Return the only region.

    CLI Example:

    .. code-block:: bash

        salt-cloud --list-locations sandbox
    """
    region = _ec2().meta.region_name
    return {region: {"name": region}}


def list_nodes(call=None):
    """
    Return ``{name: {id, image, size, state, private_ips, public_ips}}`` of every instance that is
    not terminated.

    CLI Example:

    .. code-block:: bash

        salt-cloud -Q
    """
    keys = ("id", "image", "size", "state", "private_ips", "public_ips")
    return {name: {key: node[key] for key in keys} for name, node in list_nodes_full().items()}


def list_nodes_full(call=None):
    """
    As :py:func:`list_nodes`, with the tags and everything else EC2 says.

    CLI Example:

    .. code-block:: bash

        salt-cloud -F
    """
    return {node["name"]: node for node in map(_node, _instances())}


def list_nodes_min(call=None):
    """
    Return ``{name: {id, state}}``.

    CLI Example:

    .. code-block:: bash

        salt-cloud -f list_nodes_min sandbox
    """
    return {
        name: {"id": node["id"], "state": node["state"]} for name, node in list_nodes_full().items()
    }


def list_nodes_select(call=None):
    """
    As :py:func:`list_nodes_full`, with the fields that ``query.selection`` names.

    CLI Example:

    .. code-block:: bash

        salt-cloud -S
    """
    wanted = __opts__.get("query.selection") or ["id", "name", "state"]
    return {
        name: {key: node.get(key) for key in wanted} for name, node in list_nodes_full().items()
    }


def show_instance(name, call=None):
    """
    Return what EC2 says of the instance ``name``.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a show_instance <name>
    """
    return list_nodes_full()[name]


def create(vm_):
    """
    Run one instance with the profile's tags, and wait until it runs and its minion answers.

    Raises ``SaltCloudExecutionTimeout`` naming the instance when it does not; the instance is left
    as it is.

    CLI Example:

    .. code-block:: bash

        salt-cloud -p <profile> <name>
    """
    name = vm_["name"]
    instance = _ec2().run_instances(**_request(vm_))["Instances"][0]["InstanceId"]
    deadline = time.monotonic() + config.get_cloud_config_value(
        "wait_for_minion", vm_, __opts__, default=120
    )
    _wait(deadline, lambda: _is_running(instance), f"{name} ({instance}) is not running")
    if config.get_cloud_config_value("wait_for_minion", vm_, __opts__, default=120):
        _wait(
            deadline,
            lambda: _answers(name),
            f"{name} ({instance}) runs, but its minion does not answer",
        )
    return _node(
        _ec2().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    )


def destroy(name, call=None):
    """
    Terminate the instance ``name``; Salt Cloud then removes its minion's key.

    CLI Example:

    .. code-block:: bash

        salt-cloud -d <name>
    """
    if call == "function":
        raise SaltCloudSystemExit("destroy is an action: salt-cloud -d <name>")
    found = _instances(name)
    if not found:
        raise SaltCloudNotFound(f"there is no instance {name}")
    _ec2().terminate_instances(InstanceIds=[found[0]["InstanceId"]])
    return {"Action": "Terminated", "Name": name, "Id": found[0]["InstanceId"]}


def _ec2():
    # Salt Cloud forks to launch in parallel: connections are not to be shared with a child.
    return _client(os.getpid())


@functools.lru_cache(maxsize=1)
def _client(pid):
    return boto3.client("ec2", config=botocore.config.Config(user_agent_extra="sandbox-cloud"))


def _request(vm_):
    """The arguments of RunInstances for a profile."""

    def value(key, default=None):
        return config.get_cloud_config_value(
            key, vm_, __opts__, default=default, search_global=False
        )

    tags = {**(value("tag") or {}), "Name": vm_["name"]}
    request = {
        "ImageId": value("image"),
        "InstanceType": value("size", "t3.large"),
        "MinCount": 1,
        "MaxCount": 1,
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": str(tags[key])} for key in sorted(tags)],
            }
        ],
    }
    if value("subnet"):
        request["SubnetId"] = value("subnet")
    return request


def _instances(name=None):
    filters = [{"Name": "instance-state-name", "Values": _ALIVE}]
    if name:
        filters.append({"Name": "tag:Name", "Values": [name]})
    pages = _ec2().get_paginator("describe_instances").paginate(Filters=filters)
    return [one for page in pages for group in page["Reservations"] for one in group["Instances"]]


def _node(instance):
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
    return {
        "id": instance["InstanceId"],
        "name": tags.get("Name", instance["InstanceId"]),
        "image": instance["ImageId"],
        "size": instance["InstanceType"],
        "state": instance["State"]["Name"],
        "private_ips": [instance["PrivateIpAddress"]] if instance.get("PrivateIpAddress") else [],
        "public_ips": [],
        "tags": tags,
    }


def _plain(image):
    return {"id": image["ImageId"], "name": image.get("Name"), "state": image["State"]}


def _is_running(instance):
    found = _ec2().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found["State"]["Name"] == "running"


def _answers(name):
    # Salt Cloud's own options lack the master's cache directory, where the client finds its key.
    master = _master_options(os.path.join(os.path.dirname(__opts__["conf_file"]), "master"))
    if not os.path.exists(os.path.join(master["pki_dir"], "minions", name)):
        return False
    with salt.client.get_local_client(mopts=master) as client:
        return bool(client.cmd(name, "test.ping", tgt_type="list", timeout=3).get(name))


@functools.lru_cache(maxsize=1)
def _master_options(path):
    return config.master_config(path)


def _wait(deadline, check, problem):
    while not check():
        if time.monotonic() > deadline:
            raise SaltCloudExecutionTimeout(problem)
        time.sleep(0.5)
