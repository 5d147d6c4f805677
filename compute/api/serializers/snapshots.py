"""The shapes of snapshots and schedules."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import Snapshot, SnapshotSchedule
from scloud.rest.fields import WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions


class SnapshotSerializer(ShownSerializer[Snapshot]):
    """The content of a disk at one moment; ``frozen``: the file systems were at rest then."""

    vm_id = serializers.CharField(source="disk.vm_id", read_only=True, allow_null=True)
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Snapshot
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "disk_id",
            "vm_id",
            "size_gib",
            "status",
            "frozen",
            "schedule_id",
            "failure",
            "taken_at",
            "created_at",
            "allowed_actions",
        )

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "snapshot", snapshot)


class ScheduleSerializer(ShownSerializer[SnapshotSchedule]):
    """When snapshots of a disk are taken by themselves, and how many stay."""

    class Meta:
        model = SnapshotSchedule
        fields = (
            "id",
            "disk_id",
            "hours",
            "weekdays",
            "time_zone",
            "keep_count",
            "keep_days",
            "enabled",
            "next_run_at",
            "last_run_at",
            "last_error",
        )
        read_only_fields = fields


class SnapshotInput(serializers.Serializer[Any]):
    """A snapshot that is to be taken."""

    disk = serializers.CharField(max_length=20)
    name = serializers.CharField(max_length=200, default="snapshot")
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)


class ScheduleInput(serializers.Serializer[Any]):
    """Hours 0 to 23, weekdays 0 (Monday) to 6."""

    hours = serializers.ListField(child=WholeNumber(), max_length=24)
    weekdays = serializers.ListField(child=WholeNumber(), max_length=7, default=list(range(7)))
    time_zone = serializers.CharField(max_length=40, default="UTC")
    keep_count = WholeNumber()
    keep_days = WholeNumber(required=False, allow_null=True, default=None)
    enabled = serializers.BooleanField(default=True)
