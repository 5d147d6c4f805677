"""The shapes of placement groups."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import PlacementGroup
from compute.models.placement import GroupPolicy
from compute.queries import placement as queries
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions


class PlacementGroupSerializer(ShownSerializer[PlacementGroup]):
    """A placement group; ``kept``: whether its VMs are where the policy wants them."""

    vm_count = serializers.IntegerField(read_only=True)
    kept = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = PlacementGroup
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "policy",
            "required",
            "vm_count",
            "kept",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields

    @extend_schema_field(
        serializers.BooleanField(allow_null=True, help_text="Null while no VM has a host.")
    )
    def get_kept(self, group: PlacementGroup) -> bool | None:
        """Return whether the policy is kept now."""
        return queries.is_kept(group)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, group: PlacementGroup) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "placement_group", group)


class PlacementGroupInput(serializers.Serializer[Any]):
    """A new placement group. Its policy cannot be changed afterwards."""

    region = serializers.CharField(max_length=30)
    name = serializers.CharField(max_length=200)
    remark = serializers.CharField(max_length=1000, allow_blank=True, default="")
    policy = serializers.ChoiceField(
        choices=GroupPolicy.choices,
        help_text="`spread`: no two VMs on one host. `together`: all on one host.",
    )
    required = serializers.BooleanField(  # type: ignore[assignment]  # the metaclass takes it away
        default=True,
        help_text="A VM that no host fits is refused; else the policy is only preferred.",
    )
