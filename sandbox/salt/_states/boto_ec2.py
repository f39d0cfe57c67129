"""
Stand-in for ``boto_ec2.snapshot_created``
==========================================
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "boto_ec2.create_image" in __salt__:
        return True
    return False, "the boto_ec2 execution module is not there"


def snapshot_created(name, ami_name, instance_name, wait_until_available=True):
    """
    Create an image of an instance. As in the original, an image of that name does not stop another
    one, and nothing waits for it (``wait_until_available`` must be false here: that is the only way
    it is called).

    .. code-block:: yaml

        snapshot_edxapp:
          boto_ec2.snapshot_created:
            - ami_name: edxapp_mitx-qa_koa_base_release_1
            - instance_name: edxapp-mitx-qa-koa-base
            - wait_until_available: false
    """
    ret = {"name": name, "result": None if __opts__["test"] else True, "comment": "", "changes": {}}
    if wait_until_available:
        return {**ret, "result": False, "comment": "the stand-in does not wait for images"}
    if __opts__["test"]:
        return {**ret, "comment": f"The AMI {ami_name} would be created"}
    try:
        image = __salt__["boto_ec2.create_image"](ami_name=ami_name, instance_name=instance_name)
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    return {**ret, "comment": f"Created AMI {ami_name}", "changes": {"new": {ami_name: image}}}
