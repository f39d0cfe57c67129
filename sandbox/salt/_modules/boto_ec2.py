"""
Stand-in for Salt's ``boto_ec2``, as far as MITx's existing orchestrations use it
==================================================================================

Salt 3008 ships no ``boto_*`` modules, and those of 3006 and 3007 need boto 2. Kept from the
original, faults included: look-ups do not filter on state, so they find terminated twins and images
that are pending or failed.
"""

import boto3
import botocore.config
from salt.exceptions import CommandExecutionError


def find_instances(name=None, in_states=None):
    """
    Return the ids of the instances called ``name``, terminated ones too unless ``in_states`` says
    otherwise.

    CLI Example:

    .. code-block:: bash

        salt-call boto_ec2.find_instances edxapp-mitx-qa-koa-base
    """
    filters = [{"Name": "tag:Name", "Values": [name]}] if name else []
    if in_states:
        filters.append({"Name": "instance-state-name", "Values": list(in_states)})
    pages = _client().get_paginator("describe_instances").paginate(Filters=filters)
    return [
        one["InstanceId"]
        for page in pages
        for group in page["Reservations"]
        for one in group["Instances"]
    ]


def get_id(name=None, in_states=None):
    """
    Return the id of the instance called ``name``, or ``None``. Raises ``CommandExecutionError``
    when there are several.

    CLI Example:

    .. code-block:: bash

        salt-call boto_ec2.get_id edxapp-mitx-qa-koa-base
    """
    found = find_instances(name=name, in_states=in_states)
    if len(found) > 1:
        raise CommandExecutionError("Found more than one instance matching the criteria.")
    return found[0] if found else None


def find_images(ami_name=None):
    """
    Return the ids of the images called ``ami_name``, whatever their state.

    CLI Example:

    .. code-block:: bash

        salt-call boto_ec2.find_images edxapp_mitx-qa_koa_base_release_1
    """
    images = _client().describe_images(
        Owners=["self"], Filters=[{"Name": "name", "Values": [ami_name]}]
    )["Images"]
    return [image["ImageId"] for image in images]


def create_image(ami_name=None, instance_name=None):
    """
    Create an image of the instance called ``instance_name``; does not wait for it. Returns the
    image's id.

    CLI Example:

    .. code-block:: bash

        salt-call boto_ec2.create_image edxapp_mitx-qa_koa_base_release_1 edxapp-mitx-qa-koa-base
    """
    alive = find_instances(
        name=instance_name, in_states=("pending", "rebooting", "running", "stopping", "stopped")
    )
    if len(alive) != 1:
        raise CommandExecutionError(
            f"{len(alive)} instances are called {instance_name}; one image needs one"
        )
    return _client().create_image(InstanceId=alive[0], Name=ami_name)["ImageId"]


def _client():
    return boto3.client("ec2", config=botocore.config.Config(user_agent_extra="sandbox-cloud"))
