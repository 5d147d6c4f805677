"""The shapes of disks, snapshots, images and of the VM verbs with input in the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.api.serializers.vms import AllowedAction
from compute.models import Disk, Image, Snapshot, SnapshotSchedule
from compute.queries import disks as queries
from compute.states import disks as disk_states
from compute.states import images as image_states
from scloud.rest.fields import Lines, WholeNumber
from scloud.tenancy.actor import Actor

METHODS = ["hour", "month", "year"]


def allowed(
    actor: Actor, verbs: Iterable[str], why_not: Callable[[str], str | None]
) -> list[dict[str, Any]]:
    """Return each verb with the reason why it is not allowed, if it is not."""
    rows = []
    for verb in verbs:
        reason = why_not(verb)
        right = "billing.renew_resource" if verb == "renew_disk" else f"compute.{verb}"
        if reason is None and not actor.allows(right):
            reason = "Your role does not include it."
        rows.append({"verb": verb, "allowed": reason is None, "reason": reason})
    return rows


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
        return disk_states.disk_label(disk)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, disk: Disk) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        actor: Actor = self.context["request"].auth
        return allowed(
            actor, disk_states.DISK_RULES, lambda verb: disk_states.disk_refusal(disk, verb)
        )


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
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
        actor: Actor = self.context["request"].auth
        return allowed(
            actor, queries.SNAPSHOT_VERBS, lambda verb: queries.snapshot_refusal(snapshot, verb)
        )


class ScheduleSerializer(serializers.ModelSerializer[SnapshotSchedule]):
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


class ImageSerializer(serializers.ModelSerializer[Image]):
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
        actor: Actor = self.context["request"].auth
        return allowed(
            actor, image_states.IMAGE_RULES, lambda verb: queries.image_verb_refusal(image, verb)
        )


# --- what is sent


class _Texts(serializers.Serializer[Any]):
    """Name and remark."""

    name = serializers.CharField(max_length=200, required=False)
    remark = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class TextsInput(_Texts):
    """A new name or remark."""


class DiskChangesInput(_Texts):
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


class VmAttachInput(serializers.Serializer[Any]):
    """The disk that is attached."""

    disk = serializers.CharField(max_length=20)


class VmDetachInput(DetachInput):
    """The disk that is detached."""

    disk = serializers.CharField(max_length=20)


class SizeInput(serializers.Serializer[Any]):
    """A larger size."""

    size_gib = WholeNumber(min_value=1, max_value=100_000)


class ExpandInput(SizeInput):
    """A larger size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From .../expand/quote.")


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


class UploadShape(serializers.Serializer[Any]):
    """A complete upload; import it within a day."""

    upload = serializers.CharField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


class ChangeLineShape(serializers.Serializer[Any]):
    """The difference of one SKU for the rest of the paid time."""

    sku = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()
    periods = serializers.CharField()
    discount = serializers.CharField()
    amount = serializers.CharField()


class ChangeQuoteShape(serializers.Serializer[Any]):
    """What a change costs now (``total``) and for a period from then on."""

    currency = serializers.CharField()
    billing_method = serializers.CharField()
    lines = ChangeLineShape(many=True)
    total = serializers.CharField()
    effective = serializers.CharField()
    per_period_before = serializers.CharField()
    per_period = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    paid_until = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()


# --- verbs of a VM with input


class PasswordInput(serializers.Serializer[Any]):
    """A new password of the VM's administrator."""

    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)


class ReinstallInput(serializers.Serializer[Any]):
    """The image, and what shall differ from before."""

    image = serializers.CharField(max_length=20)
    password = serializers.CharField(
        max_length=200, required=False, write_only=True, trim_whitespace=False
    )
    ssh_public_key = Lines(max_length=100_000, required=False, allow_blank=True)


class VmSizeInput(serializers.Serializer[Any]):
    """One of the sizes that the model offers."""

    vcpus = WholeNumber(min_value=1, max_value=255)
    memory_mib = WholeNumber(min_value=64)


class VmSizePurchaseInput(VmSizeInput):
    """Another size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From the quote before.")


class MakeImageInput(serializers.Serializer[Any]):
    """What the image is called."""

    name = serializers.CharField(max_length=200)
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)


class SecurityGroupsInput(serializers.Serializer[Any]):
    """The groups from now on; null for none, which leaves the NIC unfiltered."""

    internal = serializers.CharField(max_length=20, allow_null=True)
    external = serializers.CharField(max_length=20, allow_null=True)


class VncInformationShape(serializers.Serializer[Any]):
    """What a VNC client needs; the password is shown this once."""

    vm_id = serializers.CharField()
    address = serializers.CharField()
    port = serializers.IntegerField()
    password = serializers.CharField()
    expires_at = serializers.DateTimeField()
