"""What the verbs of compute take. The actions decide what is allowed."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from compute.states.disks import Repair
from scloud.rest.fields import Lines, WholeNumber
from scloud.verbs.inputs import Reference, VerbInput

METHODS = ["hour", "month", "year"]
# Of the examples.
QUOTED = "eyJ0ZW5hbnQiOi..."


# --- of several kinds


def stored_keys_field() -> serializers.ListField:
    """Return the field for ids of kept SSH keys, which are added to those that are sent."""
    return serializers.ListField(
        child=serializers.CharField(max_length=20),
        required=False,
        max_length=100,
        help_text="Ids of SSH keys that `GET /ssh-keys` lists, in addition to `ssh_public_key`.",
    )


class DestroyInput(VerbInput):
    """Destroying may be confirmed with the name."""

    confirm_name = serializers.CharField(max_length=60, required=False)


class TextsBase(VerbInput):
    name = serializers.CharField(max_length=200, required=False)
    remark = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class TextsInput(TextsBase):
    """A new name or remark."""


class TagsBase(TextsBase):
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )


# --- of disks


class RepairInput(VerbInput):
    """How far the repair goes, and that its owner accepts what it may cost."""

    extent = serializers.ChoiceField(choices=Repair.choices, default=Repair.ALL)
    accept_loss = serializers.BooleanField(
        default=False, help_text="That damaged data may be lost; needed to correct errors."
    )


# --- of VMs


class PasswordInput(VerbInput):
    """A new password of the VM's administrator."""

    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)


class ReinstallInput(VerbInput):
    """The image, and what shall differ from before."""

    builds: ClassVar[dict[str, tuple[str, ...]]] = {
        "ssh_public_key": ("ssh_public_key", "ssh_keys")
    }
    image = Reference("compute.images", what="image")
    password = serializers.CharField(
        max_length=200, required=False, write_only=True, trim_whitespace=False
    )
    ssh_public_key = Lines(max_length=100_000, required=False, allow_blank=True)
    ssh_keys = stored_keys_field()


class VmSizeInput(VerbInput):
    """One of the sizes that the model offers."""

    builds: ClassVar[dict[str, tuple[str, ...]]] = {"spec": ("vcpus", "memory_mib")}
    vcpus = WholeNumber(min_value=1, max_value=255)
    memory_mib = WholeNumber(min_value=64)


class VmSizePurchaseInput(VmSizeInput):
    """Another size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From the quote before.")


class MakeImageInput(VerbInput):
    """The image that is made of the system disk."""

    name = serializers.CharField(max_length=200)
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)


class SecurityGroupsInput(VerbInput):
    """The groups from now on; null for none, which leaves the NIC unfiltered."""

    internal = Reference("compute.security_groups", what="security group", allow_null=True)
    external = Reference("compute.security_groups", what="security group", allow_null=True)


class VmPlacementGroupInput(VerbInput):
    """The placement group of a VM from now on; null for none."""

    group = Reference("compute.placement_groups", what="placement group", allow_null=True)


class VmAlarmTemplateInput(VerbInput):
    """The alarm template of a VM from now on; null for none."""

    template = Reference("alarms.vm_templates", what="alarm template", allow_null=True)


class PrivateIpInput(VerbInput):
    """Another private address; what is left out is chosen automatically or stays."""

    subnet = Reference(
        "compute.subnets_of_vpc",
        what="subnet",
        allow_null=True,
        default=None,
        help_text="One of the VPC that the VM is in; default: its own.",
    )
    address = serializers.CharField(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="Empty for the lowest free one.",
    )


class VncInformationShape(serializers.Serializer[Any]):
    """What a VNC client needs; the password is shown this once."""

    vm_id = serializers.CharField()
    address = serializers.CharField()
    port = serializers.IntegerField()
    password = serializers.CharField()
    expires_at = serializers.DateTimeField()


class ProtectInput(VerbInput):
    deletion_protected = serializers.BooleanField(required=False, source="protected")


class VmChangesInput(TagsBase, ProtectInput):
    """What can be changed in any state."""


class DeleteQuery(VerbInput):
    """What goes to the recycle bin with a VM."""

    delete_disks = serializers.BooleanField(
        default=False, help_text="Move its data disks to the recycle bin as well."
    )
    delete_external_ips = serializers.BooleanField(
        default=False, help_text="Release its external IPs to the recycle bin as well."
    )
    delete_enis = serializers.BooleanField(
        default=False, help_text="Delete its ENIs for good as well."
    )


# --- of disks


class AttachInput(VerbInput):
    """The VM that the disk is attached to; of the same region."""

    vm = Reference("compute.vms", what="VM")


class DetachInput(VerbInput):
    """``force`` detaches even if the guest does not answer; what is mounted gets I/O errors."""

    force = serializers.BooleanField(default=False)


class VmAttachInput(VerbInput):
    """The disk that is attached; unbound, of the VM's region."""

    disk = Reference("compute.disks", what="disk")


class VmDetachInput(DetachInput):
    """The data disk that is detached; ``force`` as for the disk itself."""

    disk = Reference("compute.disks_of_vm", what="disk")


class VmEniInput(VerbInput):
    """The ENI that is bound."""

    eni = Reference("network.enis", what="ENI")


class VmUnbindEniInput(VerbInput):
    """The ENI that is unbound."""

    eni = Reference("network.enis_of", what="ENI")


class VmBindInput(VerbInput):
    """The external IP that is bound."""

    external_ip = Reference("network.external_ips", what="external IP")


class VmUnbindInput(VerbInput):
    """The external IP that is unbound."""

    external_ip = Reference("network.external_ips_of", what="external IP")


class SizeInput(VerbInput):
    """The new size of the disk in GB; only a larger one."""

    size_gib = WholeNumber(min_value=1, max_value=100_000)


class ExpandInput(SizeInput):
    """A larger size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From .../expand/quote.")


class DiskChangesInput(TagsBase):
    """A new name, remark or new tags."""


class DiskCopyInput(VerbInput):
    """A new disk with the content of another one; it has its region and type."""

    builds: ClassVar[dict[str, tuple[str, ...]]] = {
        "order": (
            "size_gib",
            "name",
            "remark",
            "tags",
            "billing_method",
            "periods",
            "auto_renew",
        )
    }
    size_gib = WholeNumber(
        min_value=1, max_value=100_000, required=False, help_text="Default: as large as the source."
    )
    name = serializers.CharField(max_length=200, default="disk")
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )
    billing_method = serializers.ChoiceField(choices=METHODS, default="hour")
    periods = WholeNumber(min_value=1, max_value=1000, default=1)
    auto_renew = serializers.BooleanField(required=False, allow_null=True, default=None)


class DiskCopyPurchaseInput(DiskCopyInput):
    """The same, at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From POST /disks/quote.")


# --- of SSH keys


class SshKeyNameInput(VerbInput):
    """Another name."""

    name = serializers.CharField(max_length=200)
