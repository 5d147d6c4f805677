"""The shapes of what can be bought."""

from __future__ import annotations

from rest_framework import serializers

from compute.models import Cluster, DiskType, Spec
from scloud.rest.shown import ShownSerializer


class SpecSerializer(ShownSerializer[Spec]):
    """A size of a model; ``refusal`` says why it fits nowhere at present."""

    refusal = serializers.CharField(
        allow_null=True, read_only=True, help_text="Null while a host can take it."
    )

    class Meta:
        model = Spec
        fields = ("id", "vcpus", "memory_mib", "refusal")


class ClusterSerializer(ShownSerializer[Cluster]):
    """A model: the machine type of a cluster."""

    specs = SpecSerializer(many=True, read_only=True, source="offered")

    class Meta:
        model = Cluster
        fields = ("id", "region_id", "alias", "description", "architecture", "gpu_type", "specs")


class DiskTypeSerializer(ShownSerializer[DiskType]):
    """A disk type with its ranges (GiB) and limits."""

    class Meta:
        model = DiskType
        fields = (
            "id",
            "region_id",
            "alias",
            "medium",
            "system_min_gib",
            "system_max_gib",
            "data_min_gib",
            "data_max_gib",
            "iops_limit",
            "throughput_limit_mbps",
        )
