"""NICs and their addresses in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from network.actions import operators
from network.admin.common import FabricAdmin, LookOnly, administrator
from network.models import (
    Nic,
    PrivateAddress,
)
from network.queries.nics import nics_with_ipv6
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError
from scloud.lib.form_fields import PlainIntegerField
from scloud.tenancy.admintools import needs
from scloud.web.forms import add_error

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


SHOWN_TRACES = 5


class AddressInline(TabularInline):
    model = PrivateAddress
    fk_name = "nic"
    fields = ("address", "subnet", "created_at")
    readonly_fields = fields
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Nic)
class NicAdmin(FabricAdmin):
    list_display = (
        "id", "vm_id", "device", "network", "tenant", "region", "mac", "subnet", "security_group",
        "state",
    )  # fmt: skip
    list_select_related = ("tenant", "region", "subnet", "security_group")
    list_filter = ("region", "kind", "network", "tenant")
    search_fields = ("id", "vm_id", "mac", "port_uuid", "addresses__address", "tenant__name")
    found_by = ("mac", "port_uuid", "addresses__address")
    found_as = 1
    readonly_fields = (*FabricAdmin.readonly_fields, "ipv6")
    inlines = (AddressInline,)
    change_form_template = "network/admin/nic.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page of the packet trace."""
        own = path(
            "<path:object_id>/trace/",
            self.admin_site.admin_view(self.trace_view),
            name="network_nic_trace",
        )
        return [own, *super().get_urls()]

    @needs("platform.trace_packet")
    def trace_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a trace (POST); show the question and the last answers (GET)."""
        nic = self.get_object(request, object_id)
        if nic is None:
            raise Http404
        form = TraceForm(request.POST or None)
        here = reverse("admin:network_nic_trace", args=[nic.pk])
        if request.method == "POST" and form.is_valid():
            try:
                actor = administrator(request, nic.tenant)
                operators.trace_packet(actor=actor, nic=nic, **form.cleaned_data)
            except ScloudError as error:
                add_error(form, error)
            else:
                self.message_user(request, _("The trace is being made. Load the page again."))
                return HttpResponseRedirect(here)
        traces = Job.objects.filter(kind="network.trace", target_id=nic.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Packet trace"),
            "opts": Nic._meta,
            "object": nic,
            "form": form,
            "here": here,
            "traces": traces.order_by("-created_at")[:SHOWN_TRACES],
        }
        return TemplateResponse(request, "network/admin/trace.html", context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Nic], search_term: str
    ) -> tuple[QuerySet[Nic], bool]:
        """Find private IPv6 addresses too, which no column has."""
        found, distinct = super().get_search_results(request, queryset, search_term)
        if ":" in search_term:
            six = nics_with_ipv6(search_term)
            found |= queryset.filter(pk__in=six.values("pk"))
        return found, distinct

    @admin.display(description=_("IPv6 address"))
    def ipv6(self, nic: Nic) -> str:
        return str(nic.ipv6 or "")

    @admin.display(description=_("device"))
    def device(self, nic: Nic) -> str:
        return nic.device


class TraceForm(forms.Form):
    """The packet."""

    destination = forms.CharField(
        label=_("destination"),
        max_length=100,
        help_text=_("A VM, a network interface or an IP address."),
    )
    protocol = forms.ChoiceField(
        label=_("protocol"), choices=(("tcp", "TCP"), ("udp", "UDP"), ("icmp", _("Ping")))
    )
    port = PlainIntegerField(label=_("port"), required=False)


@admin.register(PrivateAddress)
class PrivateAddressAdmin(LookOnly):
    list_display = ("address", "subnet", "nic", "leaving", "tenant", "created_at")
    list_select_related = ("subnet", "nic", "leaving", "tenant")
    list_filter = ("subnet__region", "tenant")
    search_fields = ("address", "nic__id", "nic__vm_id", "subnet__id")
