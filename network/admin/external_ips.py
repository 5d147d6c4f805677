"""Every tenant's external IPs in Django admin."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from network.models import ExternalIp
from network.verbs.external_ips import EXTERNAL_IPS
from scloud.adminsite.verbs import VerbAdmin
from scloud.tenancy.admintools import ReadOnlyAdmin


@admin.register(ExternalIp)
class ExternalIpAdmin(ReadOnlyAdmin, VerbAdmin):
    """External IPs; buttons call the same actions as everybody else."""

    kind = "external_ip"
    list_display = (
        "address", "id", "name", "tenant", "segment", "bandwidth_mbps", "state", "target_id",
        "egress", "created_at",
    )  # fmt: skip
    list_filter = ("status", "task", "ip_version", "segment", "tenant")
    list_select_related = ("tenant", "segment")
    search_fields = ("address", "id", "name", "remark", "target_id", "tenant__name")
    found_by = ("address",)
    found_as = 1
    fields = (
        ("name", "id"),
        ("tenant", "region"),
        ("remark", "tags"),
        ("segment", "address", "bandwidth_mbps"),
        ("status", "task", "task_job", "task_deadline"),
        ("failure_code", "failure", "failure_detail"),
        ("target_kind", "target_id", "nic"),
        ("bound_at", "egress", "at_next_boot"),
        ("created_at", "binned_at", "destroy_at", "destroyed_at"),
    )
    readonly_fields = (
        "id",
        "status",
        "task",
        "task_job",
        "task_deadline",
        "failure_code",
        "failure",
        "failure_detail",
        "target_kind",
        "target_id",
        "nic",
        "bound_at",
        "egress",
        "at_next_boot",
        "created_at",
        "binned_at",
        "destroy_at",
        "destroyed_at",
    )

    @admin.display(description=_("state"), ordering="status")
    def state(self, row: ExternalIp) -> str:
        """The state that people see."""
        return EXTERNAL_IPS.label(row.status, row.task)
