"""Every tenant's VMs in Django admin.

Life-cycle columns are read-only; buttons call the same actions as everybody else.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions.vms.migrate import migrate_vm
from compute.admin.placement import vm_placement_page
from compute.models import (
    VM,
    Host,
)
from compute.rules.refusals import vm_refusal
from compute.verbs.vms import VMS
from network.models import ExternalIp, Nic
from scloud.adminsite import finding
from scloud.adminsite.verbs import VerbAdmin
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ReadOnlyAdmin, YesNoFilter, administrator, needs


class MigrateForm(forms.Form):
    host = forms.ModelChoiceField(
        Host.objects.none(),
        required=False,
        empty_label=gettext_lazy("Best host of the cluster"),
        label=gettext_lazy("Destination"),
    )

    def __init__(self, *args: Any, vm: VM, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = Host.objects.filter(cluster=vm.cluster).exclude(pk=vm.host_id)
        self.fields["host"].queryset = others  # type: ignore[attr-defined]  # ModelChoiceField


def _migrate(actor: Actor, vm: VM) -> str:
    migrate_vm(actor=actor, vm=vm)
    return _("The live migration has started.")


@admin.register(VM)
class VmAdmin(ReadOnlyAdmin, VerbAdmin):
    kind = "vm"
    shows_chosen = True
    list_display = (
        "name",
        "id",
        "tenant",
        "region",
        "state",
        "cluster",
        "host",
        "size",
        "created_at",
    )
    list_filter = (
        "status",
        "pause_reason",
        "task",
        ("failover_since", YesNoFilter),
        "region",
        "cluster",
        "host",
        "tenant",
    )
    list_select_related = ("tenant", "region", "cluster", "host")
    search_fields = ("name", "id", "remark", "uuid", "tenant__name")
    found_by = ("uuid", "name")
    date_hierarchy = "created_at"
    # What tenants give their guests is none of the operators' business.
    fields = (
        ("name", "id", "uuid"),
        ("tenant", "region"),
        ("remark", "tags"),
        ("status", "task", "task_job", "task_deadline"),
        ("power_state", "observed_at"),
        ("wanted_power", "failover_since"),
        ("failover_priority", "placement_group", "operators_group"),
        ("pause_reason", "paused_at"),
        ("failure_code", "failure", "failure_detail"),
        ("cluster", "host", "image"),
        ("vcpus", "memory_mib", "gpu_count"),
        ("max_vcpus", "max_memory_mib"),
        "machine_type",
        "deletion_protected",
        ("created_at", "binned_at", "destroy_at", "destroyed_at"),
    )
    readonly_fields = (
        "id",
        "uuid",
        "status",
        "task",
        "task_job",
        "task_deadline",
        "power_state",
        "observed_at",
        "wanted_power",
        "failover_since",
        "failover_priority",
        "operators_group",
        "pause_reason",
        "paused_at",
        "failure_code",
        "failure",
        "failure_detail",
        "machine_type",
        "created_at",
        "binned_at",
        "destroy_at",
        "destroyed_at",
    )
    change_form_template = "compute/admin/vm.html"

    buttons = (
        Button(
            "migrate",
            gettext_lazy("Live migrate"),
            _migrate,
            lambda vm: vm_refusal(vm, "migrate_vm") or "",
            confirm=gettext_lazy(
                "Each VM moves to the best host of its cluster, without being stopped."
            ),
            batch=True,
            only_batch=True,
            right="platform.migrate_vm",
        ),
    )

    @admin.display(description=gettext_lazy("state"), ordering="status")
    def state(self, vm: VM) -> str:
        return VMS.label(vm.standing, vm.task)

    @admin.display(description=gettext_lazy("size"), ordering="vcpus")
    def size(self, vm: VM) -> str:
        """Such as 2C4G."""
        return vm.spec_label

    def also_found(self, text: str) -> list[str]:
        """Return the ids of VMs that have an address."""
        nics = finding.rows_named(Nic.objects.all(), ("mac", "addresses__address"), text)
        bound = ExternalIp.objects.filter(target_kind="vm")
        outside = finding.rows_named(bound, ("address",), text)
        return [
            *nics.values_list("vm_id", flat=True),
            *outside.values_list("target_id", flat=True),
        ]

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the live migration and of its placement."""
        own = [
            path(
                "<path:object_id>/migrate/",
                self.admin_site.admin_view(self.migrate_view),
                name="compute_vm_migrate",
            ),
            path(
                "<path:object_id>/placement/",
                self.admin_site.admin_view(self.placement_view),
                name="compute_vm_placement",
            ),
        ]
        return [*own, *super().get_urls()]

    @needs("platform.change_vm_placement")
    def placement_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its priority in a failover, and its group of the operators."""
        return vm_placement_page(self, request, self.get_object(request, object_id))

    @needs("platform.migrate_vm")
    def migrate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Choose a host (GET) and begin the live migration (POST)."""
        vm = self.get_object(request, object_id)
        if vm is None:
            raise Http404
        form = MigrateForm(request.POST or None, vm=vm)
        back = reverse("admin:compute_vm_change", args=[vm.pk])
        if request.method == "POST" and form.is_valid():
            try:
                migrate_vm(
                    actor=administrator(request, vm.tenant), vm=vm, host=form.cleaned_data["host"]
                )
            except ScloudError as error:
                form.add_error(None, error.for_operators())
            else:
                self.message_user(request, _("The live migration has started."), messages.SUCCESS)
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Live migrate %(name)s") % {"name": vm.name},
            "opts": VM._meta,
            "object": vm,
            "form": form,
            "back": back,
            "reason": vm_refusal(vm, "migrate_vm"),
        }
        return TemplateResponse(request, "compute/admin/migrate.html", context)
