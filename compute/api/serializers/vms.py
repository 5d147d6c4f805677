"""The shapes of compute in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from compute.models import VM
from compute.queries import vms as vm_queries
from compute.states import vms as states
from compute.verbs.inputs import stored_keys_field
from compute.verbs.vms import VMS
from scloud.rest.errors import ErrorShape
from scloud.rest.fields import Lines, WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions


class NicShape(serializers.Serializer[Any]):
    """A NIC's private addresses with where it is; ``ipv6_address`` is null without IPv6."""

    address = serializers.IPAddressField()
    ipv6_address = serializers.IPAddressField(protocol="IPv6", allow_null=True)
    subnet_id = serializers.CharField()
    vpc_id = serializers.CharField()


class VmSerializer(ShownSerializer[VM]):
    """A VM. ``state`` is what people see; ``allowed_actions`` is what can be asked of it now."""

    status = serializers.ChoiceField(
        source="standing",
        read_only=True,
        choices=[*states.VmStatus.choices, (states.PAUSED, states.PAUSED_LABEL)],
        help_text="Where it stands when nothing is being done to it; see `pause_reason`.",
    )
    state = serializers.SerializerMethodField()
    pause_reason = serializers.SerializerMethodField()
    memory_gib = serializers.FloatField(read_only=True)
    nics = serializers.SerializerMethodField()
    external_ips = serializers.SerializerMethodField()
    system_disk_gib = serializers.SerializerMethodField()
    data_disk_gib = serializers.SerializerMethodField()
    billing_method = serializers.CharField(read_only=True, allow_null=True)
    paid_until = serializers.DateTimeField(read_only=True, allow_null=True)
    allowed_actions = serializers.SerializerMethodField()
    job_id = serializers.CharField(source="task_job", read_only=True)

    class Meta:
        model = VM
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "tags",
            "cluster_id",
            "image_id",
            "vcpus",
            "memory_mib",
            "memory_gib",
            "gpu_count",
            "system_disk_gib",
            "data_disk_gib",
            "nics",
            "external_ips",
            "admin_account",
            "machine_type",
            "deletion_protected",
            "placement_group_id",
            "status",
            "task",
            "state",
            "power_state",
            "observed_at",
            "pause_reason",
            "paused_at",
            "failure_code",
            "failure",
            "job_id",
            "billing_method",
            "paid_until",
            "created_at",
            "binned_at",
            "destroy_at",
            "allowed_actions",
        )

    def get_state(self, vm: VM) -> str:
        """Return the state in words."""
        return VMS.label(vm.standing, vm.task)

    @extend_schema_field(
        serializers.ChoiceField(
            choices=states.PauseReason.choices,
            allow_null=True,
            help_text="Why a VM with status `paused` stands still; null for all others.",
        )
    )
    def get_pause_reason(self, vm: VM) -> str | None:
        """Return why it stands still."""
        return vm.pause_reason if vm.is_paused else None

    @extend_schema_field(NicShape(many=True))
    def get_nics(self, vm: Any) -> list[dict[str, Any]]:
        """Return the private addresses."""
        return [
            {
                "address": str(nic["address"]).split("/")[0],
                "ipv6_address": vm_queries.ipv6_address(nic),
                "subnet_id": nic["subnet_id"],
                "vpc_id": nic["vpc_id"],
            }
            for nic in vm.nic_rows
            if nic["address"]
        ]

    @extend_schema_field(serializers.ListField(child=serializers.IPAddressField()))
    def get_external_ips(self, vm: VM) -> list[str]:
        """Return the external addresses, the first bound first."""
        return vm_queries.external_ips(vm)

    def get_system_disk_gib(self, vm: VM) -> int:
        """Return the size of the system disk in GiB."""
        return vm_queries.system_gib(vm)

    def get_data_disk_gib(self, vm: VM) -> int:
        """Return the size of the data disks together in GiB."""
        return vm_queries.data_gib(vm)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, vm: VM) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "vm", vm)


class VmOrderInput(serializers.Serializer[Any]):
    """What is to be bought."""

    region = serializers.CharField(max_length=30)
    cluster = serializers.CharField(max_length=30, help_text="The model.")
    image = serializers.CharField(max_length=20)
    vcpus = WholeNumber(min_value=1, max_value=255)
    memory_mib = WholeNumber(min_value=64)
    gpu_count = WholeNumber(min_value=0, max_value=4, default=0)
    system_disk_type = serializers.CharField(max_length=30)
    system_disk_gib = WholeNumber(min_value=1, max_value=100_000, default=40)
    data_disk_type = serializers.CharField(max_length=30, required=False)
    data_disk_gib = WholeNumber(min_value=1, max_value=100_000, required=False)
    subnet = serializers.CharField(max_length=20)
    private_ips = serializers.ListField(
        child=serializers.CharField(max_length=45, allow_blank=True),
        required=False,
        max_length=10,
        help_text="One per VM; empty text means automatic.",
    )
    internal_security_group = serializers.CharField(
        max_length=20,
        required=False,
        allow_null=True,
        help_text="Left out: the default group. null: none, and the NIC is not filtered.",
    )
    external_security_group = serializers.CharField(
        max_length=20,
        required=False,
        allow_null=True,
        help_text="Left out: the default group. null: none, and the NIC is not filtered.",
    )
    external_segment = serializers.CharField(
        max_length=20,
        required=False,
        help_text="Each VM gets an external IP of it; `GET /segments` lists them.",
    )
    external_bandwidth_mbps = WholeNumber(min_value=1, max_value=100_000, required=False)
    placement_group = serializers.CharField(
        max_length=20,
        required=False,
        allow_null=True,
        help_text="The VMs are placed by its policy; `GET /placement-groups` lists them.",
    )
    name = serializers.CharField(max_length=200, default="host")
    names = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, max_length=10
    )
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )
    password = serializers.CharField(
        max_length=200, required=False, write_only=True, trim_whitespace=False
    )
    ssh_public_key = Lines(max_length=100_000, default="", allow_blank=True)
    ssh_keys = stored_keys_field()
    user_data = Lines(max_length=100_000, default="", allow_blank=True, trim_whitespace=False)
    billing_method = serializers.ChoiceField(choices=["hour", "month", "year"], default="hour")
    periods = WholeNumber(min_value=1, max_value=1000, default=1)
    count = WholeNumber(min_value=1, max_value=1000, default=1)
    auto_renew = serializers.BooleanField(required=False, allow_null=True, default=None)


class VmPurchaseInput(VmOrderInput):
    """What is to be bought, at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From POST /vms/quote.")


class BatchInput(serializers.Serializer[Any]):
    """A verb for several VMs."""

    verb = serializers.CharField(max_length=40)
    ids = serializers.ListField(child=serializers.CharField(max_length=20), max_length=1000)
    delete_disks = serializers.BooleanField(default=False)
    delete_external_ips = serializers.BooleanField(default=False)
    delete_enis = serializers.BooleanField(default=False)
    template = serializers.CharField(
        max_length=20,
        allow_null=True,
        required=False,
        help_text="For `change_alarm_template`: the alarm template, null for none.",
    )


class BatchResultShape(serializers.Serializer[Any]):
    """What became of one VM of a batch."""

    id = serializers.CharField()
    job_id = serializers.CharField(allow_null=True)
    error = ErrorShape(allow_null=True)
