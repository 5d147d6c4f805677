"""The load of a cluster's hosts, and what load balancing would do about it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from alarms.queries.load import figures_of
from alarms.store.base import StoreError
from compute.hosts.balance import WINDOW, Figures, HostLoad, Limits
from compute.models import Cluster, Host
from compute.queries import balance
from compute.states.balance import BalanceMode
from scloud.tenancy.admintools import needs


@dataclass(frozen=True, slots=True)
class Row:
    """A host with its load in per cent; ``pressure`` is 100 at the threshold that is nearest."""

    host: Host
    vms: int
    cpu: int | None = None
    steal: int | None = None
    memory: int | None = None
    pressure: int | None = None

    @property
    def is_hot(self) -> bool:
        """Whether it is at a threshold."""
        return self.pressure is not None and self.pressure >= 100


@needs("compute.view_cluster")
def page(request: HttpRequest, cluster_id: str) -> HttpResponse:
    """Show the load of each host, what would be moved now and why, and what was. Moves nothing."""
    cluster = Cluster.objects.filter(pk=cluster_id).select_related("region").first()
    if cluster is None:
        raise Http404
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Load of %(cluster)s") % {"cluster": cluster.alias},
        "opts": Cluster._meta,
        "object": cluster,
        "is_off": cluster.balance_mode == BalanceMode.OFF,
        "minutes": int(WINDOW.total_seconds() // 60),
        "moves": balance.last_moves(cluster),
        "proposals": balance.last_proposals(cluster),
        "back": reverse("admin:compute_cluster_change", args=[cluster.pk]),
    }
    try:
        figures = figures_of(cluster)
    except StoreError as error:
        context["store_error"] = error.message
    else:
        context["rows"] = _rows(cluster, figures)
        context["plan"] = balance.look(cluster, figures)
    return TemplateResponse(request, "alarms/admin/load.html", context)


def _rows(cluster: Cluster, figures: Figures) -> list[Row]:
    limits, vms = Limits.of_cluster(cluster), balance.vms_by_host(cluster)
    hosts = Host.objects.filter(cluster=cluster).order_by("name")
    return [_row(limits, host, vms.get(host.pk, 0), figures.hosts.get(host.pk)) for host in hosts]


def _row(limits: Limits, host: Host, vms: int, load: HostLoad | None) -> Row:
    if load is None:
        return Row(host, vms)
    return Row(
        host,
        vms,
        cpu=round(load.wanted * 100),
        steal=None if load.steal is None else round(load.steal * 100),
        memory=round(load.memory * 100),
        # Never rounded up to the threshold.
        pressure=int(limits.pressure(load) * 100),
    )
