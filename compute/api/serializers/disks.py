"""The shapes of disks, snapshots, images and of the VM verbs with input in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import Disk
from compute.verbs.disks import DISKS
from compute.verbs.inputs import DiskCopyInput
from scloud.rest.fields import WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions


class DiskSerializer(ShownSerializer[Disk]):
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
            "damaged_since",
            "damage",
            "damage_errors",
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
        return DISKS.label(disk.standing, disk.task)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, disk: Disk) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "disk", disk)


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
