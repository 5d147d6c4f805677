"""Every tenant's ENIs in Django admin."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from network.models import Eni
from network.verbs.enis import ENIS
from scloud.adminsite.verbs import VerbAdmin
from scloud.tenancy.admintools import ReadOnlyAdmin


@admin.register(Eni)
class EniAdmin(ReadOnlyAdmin, VerbAdmin):
    """ENIs; buttons call the same actions as everybody else."""

    kind = "eni"
    list_display = (
        "address", "id", "name", "tenant", "region", "network", "state", "vm_id", "created_at",
    )  # fmt: skip
    list_filter = ("status", "task", "network", "region", "tenant")
    list_select_related = ("tenant", "region")
    search_fields = ("address", "id", "name", "remark", "vm_id", "tenant__name")
    found_by = ("address",)
    found_as = 1
    fields = (
        ("name", "id"),
        ("tenant", "region"),
        ("remark", "tags"),
        ("network", "address", "nic"),
        ("status", "task", "task_job", "task_deadline"),
        ("failure_code", "failure", "failure_detail"),
        ("vm_id", "at_next_boot"),
        ("created_at", "destroyed_at"),
    )
    readonly_fields = (
        "id",
        "nic",
        "status",
        "task",
        "task_job",
        "task_deadline",
        "failure_code",
        "failure",
        "failure_detail",
        "vm_id",
        "at_next_boot",
        "created_at",
        "destroyed_at",
    )

    @admin.display(description=_("state"), ordering="status")
    def state(self, row: Eni) -> str:
        """The state that people see."""
        return ENIS.label(row.status, row.task)
