"""SSH keys."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import SshKey
from scloud.rest.fields import Lines
from scloud.rest.shown import ShownSerializer
from scloud.verbs import refusals


class SshKeySerializer(ShownSerializer[SshKey]):
    """A public key; ``fingerprint`` is what ``ssh-keygen -l`` shows."""

    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = SshKey
        fields = (
            "id",
            "name",
            "key_type",
            "fingerprint",
            "public_key",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed_actions(self, row: SshKey) -> list[str]:
        """The verbs that nothing is known against."""
        found = refusals.allowed_actions(self.context["view"].actor, SshKey.KIND, row)
        return [verb for verb, reason in found if not reason]


class SshKeyInput(serializers.Serializer[Any]):
    """A key that is to be kept: type and key on one line, perhaps with a comment."""

    name = serializers.CharField(max_length=200)
    public_key = Lines(max_length=100_000)
