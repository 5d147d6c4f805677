"""The shapes of images."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import Image
from scloud.rest.fields import WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions


class ImageSerializer(ShownSerializer[Image]):
    """A base image, or one of the tenant's own."""

    is_base = serializers.BooleanField(read_only=True)
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Image
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "is_base",
            "base_image_id",
            "os_family",
            "distribution",
            "version",
            "architecture",
            "admin_account",
            "min_disk_gib",
            "size_bytes",
            "sha256",
            "supports_hot_upgrade",
            "accepts_user_data",
            "accepts_ssh_keys",
            "watchdog",
            "status",
            "failure",
            "created_at",
            "binned_at",
            "destroy_at",
            "allowed_actions",
        )

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, image: Image) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "image", image)


class ImportInput(serializers.Serializer[Any]):
    """An image from a URL, or from an upload; exactly one of them."""

    region = serializers.CharField(max_length=30)
    url = serializers.CharField(max_length=1000, required=False)
    upload = serializers.CharField(
        max_length=500, required=False, help_text="The token from POST /images/upload."
    )
    sha256 = serializers.CharField(max_length=64, required=False)
    disk_type = serializers.CharField(
        max_length=30, default="", allow_blank=True, help_text="Where it shall be usable."
    )
    name = serializers.CharField(max_length=200)
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)
    os_family = serializers.CharField(max_length=10, default="linux")
    distribution = serializers.CharField(max_length=30, default="linux")
    version = serializers.CharField(max_length=30, default="", allow_blank=True)
    architecture = serializers.CharField(max_length=10, default="x86_64")
    admin_account = serializers.CharField(max_length=32, default="", allow_blank=True)
    min_disk_gib = WholeNumber(min_value=1, max_value=100_000, default=1)
    supports_hot_upgrade = serializers.BooleanField(default=False)
    watchdog = serializers.BooleanField(
        default=False, help_text="Give its VMs a watchdog that resets them."
    )


class UploadShape(serializers.Serializer[Any]):
    """A complete upload; import it within a day."""

    upload = serializers.CharField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
