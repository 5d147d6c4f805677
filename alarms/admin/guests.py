"""The busiest VMs of all tenants and those whose guest agent is silent, for operators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.models import HostCollection
from alarms.queries import guests
from alarms.queries.guests import Busy, Silent
from alarms.store.base import StoreError
from scloud.lib.sizes import size_bytes
from scloud.tenancy.admintools import needs
from scloud.web import ui

_TITLES: Final[Mapping[str, str | Promise]] = {
    "cpu": gettext_lazy("CPU"),
    "memory": gettext_lazy("Memory"),
    "disk": gettext_lazy("Disks, read and written"),
    "network": gettext_lazy("Network, in and out"),
}
_SHARES: Final = frozenset({"cpu", "memory"})


@needs("alarms.view_hostcollection")
def page(request: HttpRequest) -> HttpResponse:
    """Show what the last minutes say of the VMs of all tenants."""
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("VMs in use"),
        "opts": HostCollection._meta,
        "minutes": guests.RECENTLY // timedelta(minutes=1),
    }
    try:
        found = guests.guests(timezone.now())
    except StoreError as error:
        context["store_error"] = error.message
    else:
        context["guests"] = found
        context["tables"] = [
            {"title": title, "rows": [_busy(key, one) for one in found.busiest[key]]}
            for key, title in _TITLES.items()
        ]
        context["silent"] = [{"vm": one.vm, "since": _since(one)} for one in found.silent]
    return TemplateResponse(request, "alarms/admin/guests.html", context)


def _busy(key: str, one: Busy) -> dict[str, Any]:
    if key in _SHARES:
        return {"vm": one.vm, "value": f"{one.value * 100:.0f} %"}
    return {"vm": one.vm, "value": _("%(size)s/s") % {"size": size_bytes(one.value)}}


def _since(one: Silent) -> str:
    longer, up_to = ui.span(one.longer_than), one.up_to
    if up_to is None:
        return _("More than %(span)s") % {"span": longer}
    if not one.longer_than:
        return _("Up to %(span)s") % {"span": ui.span(up_to)}
    return _("%(longer)s to %(shorter)s") % {"longer": longer, "shorter": ui.span(up_to)}
