"""Who collects, and how far behind it is, in Django admin."""

from __future__ import annotations

from typing import Final

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.admin import guests, load, overview
from alarms.models import Collector, HostCollection
from scloud.lib import durations
from scloud.tenancy.admintools import ReadOnlyAdmin

#: Of a host that is measured every 30 seconds; more than two rounds are missing.
LATE_S: Final = 90


@admin.register(HostCollection)
class HostCollectionAdmin(ReadOnlyAdmin):
    """For each host: the collector that asks it, and the lag of its measurements."""

    list_display = (
        "host",
        "lag",
        "stored_at",
        "answered_at",
        "vms",
        "silent_agents",
        "collector",
        "last_error",
    )
    list_filter = ("host__cluster__region", "host__cluster", "collector")
    list_select_related = ("host",)
    search_fields = ("host__name", "host__id", "collector", "last_error")
    change_list_template = "alarms/admin/collections.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the platform and of the VMs in use."""
        own = [
            path("platform/", self.admin_site.admin_view(overview.page), name="alarms_overview"),
            path(
                "load/<slug:cluster_id>/",
                self.admin_site.admin_view(load.page),
                name="alarms_cluster_load",
            ),
            path("vms/", self.admin_site.admin_view(guests.page), name="alarms_guests"),
        ]
        return [*own, *super().get_urls()]

    @admin.display(description=gettext_lazy("Lag"), ordering="stored_at")
    def lag(self, row: HostCollection) -> str:
        """The time between the newest stored sample and now."""
        if row.stored_at is None:
            return _("Nothing stored yet")
        seconds = max(0, int((timezone.now() - row.stored_at).total_seconds()))
        if seconds > LATE_S:
            return _("%(duration)s (late)") % {"duration": durations.words(seconds)}
        return durations.words(seconds)


@admin.register(Collector)
class CollectorAdmin(ReadOnlyAdmin):
    """The processes that collect, and those that did in the last day."""

    list_display = ("id", "started_at", "seen_at", "hosts")
    search_fields = ("id",)

    @admin.display(description=gettext_lazy("Hosts"), ordering="hosts_now")
    def hosts(self, row: Collector) -> int:
        """How many hosts it has now."""
        held: int = row.hosts_now  # type: ignore[attr-defined]  # of the query below
        return held

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collector]:
        held = (
            HostCollection.objects.filter(collector=OuterRef("pk"), lease_until__gt=Now())
            .order_by()
            .values("collector")
            .annotate(number=Count("pk"))
            .values("number")
        )
        found: QuerySet[Collector] = super().get_queryset(request)
        return found.annotate(hosts_now=Coalesce(Subquery(held), 0))
