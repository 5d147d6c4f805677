"""What was deleted, and differences from the fabric, in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from network.actions import operators
from network.admin.common import LookOnly, administrator
from network.models import (
    NetworkDrift,
    Tombstone,
)
from scloud.tenancy.admintools import YesNoFilter, needs


@admin.register(Tombstone)
class TombstoneAdmin(LookOnly):
    """What was deleted, and whether the fabric has let go of it."""

    list_display = ("target_id", "kind", "tenant", "region", "buried_at", "removed_at")
    list_select_related = ("tenant", "region")
    list_filter = ("kind", "region", ("removed_at", YesNoFilter))
    search_fields = ("target_id", "tenant__name")


@admin.register(NetworkDrift)
class NetworkDriftAdmin(LookOnly):
    list_display = (
        "problem", "kind", "target_id", "region", "detail", "first_seen_at", "last_seen_at",
        "resolved_at",
    )  # fmt: skip
    list_select_related = ("region",)
    list_filter = (("resolved_at", YesNoFilter), "problem", "kind", "region")
    search_fields = ("target_id", "detail")
    actions = ("look_again", "only_compare")

    @needs("platform.reconcile_network")
    @admin.action(description=_("Compare the selected regions with their networks and repair them"))
    def look_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue one job per region."""
        self._queue(request, queryset, repair=True)

    @needs("platform.reconcile_network")
    @admin.action(description=_("Compare the selected regions with their networks only"))
    def only_compare(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue one job per region, which changes nothing."""
        self._queue(request, queryset, repair=False)

    def _queue(self, request: HttpRequest, queryset: QuerySet[Any], *, repair: bool) -> None:
        regions = {row.region for row in queryset.select_related("region")}
        for region in regions:
            operators.reconcile_region(
                actor=administrator(request, None), region=region, repair=repair
            )
        self.message_user(request, _("%(count)d jobs queued.") % {"count": len(regions)})
