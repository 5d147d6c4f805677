"""Moves because of load, in Django admin."""

from __future__ import annotations

from django.contrib import admin

from compute.models import BalanceProposal
from scloud.tenancy.admintools import ReadOnlyAdmin, YesNoFilter


@admin.register(BalanceProposal)
class BalanceProposalAdmin(ReadOnlyAdmin):
    """What load balancing ordered, or in a dry run would have, and why."""

    list_display = (
        "last_at",
        "cluster",
        "vm",
        "source",
        "destination",
        "reason",
        "times",
        "job",
    )
    list_filter = (("job", YesNoFilter), "cluster")
    list_select_related = ("cluster", "vm", "source", "destination")
    search_fields = ("vm__name", "vm__id", "source__name", "destination__name", "job")
