"""Instances and images: nothing is ready at once, and an image holds its instance's disk."""

import json
import os
import shutil
import stat

from moto.ec2.models import ec2_backends

from sandbox.aws.answer import AwsError
from sandbox.aws.service import Pending, Service

RUNNING = 16


class Compute(Service):
    """
    Where moto differs: images are available and instances run at once, names of images repeat, any
    image can be launched, protection from termination is dropped at launch, and a refused
    termination has terminated those before the protected one. In moto no host listens at an
    instance's address.
    """

    def __init__(self, folder, settings):
        super().__init__(folder, settings)
        self.images = {}
        self.instances = {}
        self.addressed = set()

    def reset(self):
        """Forget what is still starting."""
        self.images.clear()
        self.instances.clear()
        self.addressed.clear()

    def settle(self, call):
        """Let images become available (or failed), instances running, and addresses known."""
        backend = call.backend(ec2_backends)
        for image_id, pending in list(self.images.items()):
            if pending.over and image_id in backend.amis:
                self._finish(backend.amis[image_id], self.images.pop(image_id))
        for instance, pending in list(self.instances.items()):
            if pending.over:
                del self.instances[instance]
                if instance.state == "pending":
                    _set_state(instance, "running", RUNNING)
        if call.operation == "describe_instances":
            self._show_addresses(backend)

    def create_image(self, call, forward):
        """Take an image: its disk is copied before the answer, and it is pending for a while."""
        backend = call.backend(ec2_backends)
        name = call.parameters.get("Name")
        same = [image.id for image in backend.amis.values() if image.name == name]
        if same:
            raise AwsError(
                "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {same[0]}"
            )
        before = set(backend.amis)
        response = forward()
        for image_id in set(backend.amis) - before:
            self._take_disk(backend, call.parameters["InstanceId"], image_id)
            backend.amis[image_id].state = "pending"
            self.images[image_id] = Pending(lambda: self.settings.ami_pending, call.fault)
        return response

    def run_instances(self, call, forward):
        """Launch from an image that is there and available; running after a moment."""
        backend = call.backend(ec2_backends)
        self._check_image(backend, call.parameters.get("ImageId"))
        before = set(backend.reservations)
        response = forward()
        for reservation in set(backend.reservations) - before:
            for instance in backend.reservations[reservation].instances:
                instance.disable_api_termination = (
                    call.parameters.get("DisableApiTermination") is True
                )
                _set_state(instance, "pending", 0)
                self.instances[instance] = Pending(
                    lambda: self.settings.instance_pending, call.fault
                )
        self.settle(call)
        return response

    def terminate_instances(self, call, forward):
        """Terminate all or, where one is protected, none."""
        instances = call.backend(ec2_backends).get_multi_instances_by_id(
            call.parameters["InstanceIds"]
        )
        protected = [
            instance.id for instance in instances if instance.disable_api_termination is True
        ]
        if protected:
            raise AwsError(
                "OperationNotPermitted",
                f"The instance '{protected[0]}' may not be terminated. Modify its"
                " 'disableApiTermination' instance attribute and try again.",
            )
        return forward()

    def _take_disk(self, backend, instance, image_id):
        try:
            copy_disk(
                self.folder / "hosts" / instance / "root",
                self.folder / "images" / image_id / "root",
            )
        except OSError:  # shutil.Error is one
            del backend.amis[image_id]
            raise

    def _show_addresses(self, backend):
        """Give instances the address at which their host really listens, once it does."""
        for reservation in backend.reservations.values():
            for instance in reservation.instances:
                if instance.id not in self.addressed and instance.state == "running":
                    address = self._address(instance.id)
                    if address:
                        instance.nics[0].private_ip_address = address
                        self.addressed.add(instance.id)

    def _address(self, instance):
        try:
            return json.loads(
                (self.folder / "hosts" / instance / "host.json").read_text(encoding="utf-8")
            ).get("address")
        except (OSError, ValueError):
            return None

    @staticmethod
    def _finish(image, pending):
        if not pending.failed:
            image.state = "available"
            return
        image.state = "failed"
        image.state_reason = {
            "Code": "Client.InternalError",
            "Message": "Client.InternalError: fault of the sandbox",
        }

    @staticmethod
    def _check_image(backend, image_id):
        image = backend.amis.get(image_id)
        if image_id and image is None:
            raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        if image is not None and image.state != "available":
            raise AwsError(
                "InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available"
            )


def copy_disk(source, target):
    """
    Copy a host's disk into an image, while the host works: what it removes meanwhile is left out.

    source, target: folders (Path); without a source nothing is done. Raises OSError or shutil.Error
    for anything that is there and cannot be copied. The target appears whole or not at all.
    """
    if not source.is_dir():
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        shutil.copytree(source, partial, symlinks=True, ignore=_not_on_disk)
    except shutil.Error as err:
        left_out = [path for path, _, _ in err.args[0] if os.path.lexists(path)]
        if left_out:
            raise
    partial.rename(target)


def _not_on_disk(folder, names):
    """Sockets and pipes belong to processes, which an image does not have."""
    return [name for name in names if _is_special(os.path.join(folder, name))]


def _is_special(path):
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)


def _set_state(instance, name, code):
    instance._state.name = name  # moto has no public way that does not also restart it
    instance._state.code = code
