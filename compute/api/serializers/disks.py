"""The shapes of disks, snapshots, images and of the VM verbs with input in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.api.serializers.common import METHODS, AllowedAction, TextsBase, allowed
from compute.models import Disk
from compute.rules.refusals import disk_refusal
from compute.states import disks as disk_states
from scloud.rest.fields import WholeNumber
from scloud.tenancy.actor import Actor


class DiskSerializer(serializers.ModelSerializer[Disk]):
    """A disk. A system disk is paid with its VM and has no billing of its own."""

    medium = serializers.CharField(source="disk_type.medium", read_only=True)
    state = serializers.SerializerMethodField()
    snapshot_count = serializers.IntegerField(read_only=True)
    billing_method = serializers.CharField(read_only=True, allow_null=True)
    paid_until = serializers.DateTimeField(read_only=True, allow_null=True)
    job_id = serializers.CharField(source="task_job", read_only=True)
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Disk
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "tags",
            "disk_type_id",
            "medium",
            "size_gib",
            "is_system",
            "vm_id",
            "target",
            "guest_device",
            "status",
            "task",
            "state",
            "failure_code",
            "failure",
            "job_id",
            "snapshot_count",
            "billing_method",
            "paid_until",
            "created_at",
            "binned_at",
            "destroy_at",
            "allowed_actions",
        )

    def get_state(self, disk: Disk) -> str:
        """Return the state in words."""
        return disk_states.DISKS.label(disk.status, disk.task)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, disk: Disk) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        actor: Actor = self.context["request"].auth
        return allowed(actor, disk_states.DISK_RULES, lambda verb: disk_refusal(disk, verb))


class DiskChangesInput(TextsBase):
    """A new name, remark or new tags."""

    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )


class DiskCopyInput(serializers.Serializer[Any]):
    """A new disk with the content of another one; it has its region and type."""

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


class DiskOrderInput(DiskCopyInput):
    """A data disk that is to be bought."""

    region = serializers.CharField(max_length=30)
    disk_type = serializers.CharField(max_length=30)
    size_gib = WholeNumber(min_value=1, max_value=100_000)


class DiskQuoteInput(DiskOrderInput):
    """What a data disk would cost; a copy names what its content comes from."""

    disk = serializers.CharField(
        max_length=20, required=False, help_text="The disk that is to be cloned."
    )
    snapshot = serializers.CharField(
        max_length=20, required=False, help_text="The snapshot that the disk is to be made from."
    )


class DiskPurchaseInput(DiskOrderInput):
    """A data disk that is bought at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From POST /disks/quote.")


class AttachInput(serializers.Serializer[Any]):
    """The VM that the disk is attached to."""

    vm = serializers.CharField(max_length=20)


class DetachInput(serializers.Serializer[Any]):
    """``force`` detaches even if the guest does not answer; what is mounted gets I/O errors."""

    force = serializers.BooleanField(default=False)


class SizeInput(serializers.Serializer[Any]):
    """A larger size."""

    size_gib = WholeNumber(min_value=1, max_value=100_000)


class ExpandInput(SizeInput):
    """A larger size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From .../expand/quote.")
