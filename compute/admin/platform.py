"""Compute in Django admin: what administrators define, and every tenant's VMs.

Life-cycle columns are read-only; buttons call the same actions as everybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import hosts as platform
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hosts import capacity
from compute.models import (
    VM,
    Cluster,
    Disk,
    DiskType,
    Drift,
    Host,
    Snapshot,
    Spec,
    StoragePool,
)
from compute.models.platform import HostState
from compute.states import vms as states
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import (
    Button,
    ButtonAdmin,
    ModelAdmin,
    ReadOnlyAdmin,
    administrator,
)

Text = str | Promise

if TYPE_CHECKING:
    # Generic for the type checker only.
    TabularInline = admin.TabularInline[Any, Any]
else:
    TabularInline = admin.TabularInline


class SpecInline(TabularInline):
    """The sizes of a model."""

    model = Spec
    extra = 1
    fields = ("vcpus", "memory_mib", "enabled")


@admin.register(Cluster)
class ClusterAdmin(ModelAdmin):
    """Clusters: what tenants see as models."""

    list_display = (
        "alias",
        "id",
        "region",
        "architecture",
        "gpu_type",
        "cpu_overcommit",
        "enabled",
        "position",
    )
    list_filter = ("region", "architecture", "gpu_type", "enabled")
    list_select_related = ("region",)
    search_fields = ("alias", "id", "description")
    filter_horizontal = ("tenants",)
    inlines = (SpecInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What its VMs depend on does not change under them."""
        return ("id", "region", "architecture") if obj is not None else ()


def _host_button(action: Callable[..., Any], done: Text, actor: Actor, host: Host) -> str:
    action(actor=actor, host=host)
    return str(done) % {"name": host.name}


def _needs_state(state: HostState, host: Host) -> str:
    if host.state == state:
        return ""
    return _("Only possible while it is: %(state)s.") % {"state": state.label}


@admin.register(Host)
class HostAdmin(ButtonAdmin):
    """Machines with libvirt. Capacity is read from libvirt by the reconciler."""

    list_display = (
        "name",
        "cluster",
        "state",
        "vms",
        "vcpus_used",
        "memory_used",
        "accelerated",
        "observed_at",
        "trouble",
    )
    list_filter = ("cluster__region", "cluster", "state", "accelerated")
    list_select_related = ("cluster",)
    search_fields = ("name", "id", "uri", "address")
    readonly_fields = (
        "id",
        "state",
        "vcpus",
        "memory_mib",
        "accelerated",
        "version",
        "observed_at",
        "unreachable_since",
        "last_error",
    )
    buttons = (
        Button(
            "lock",
            gettext_lazy("Lock"),
            partial(_host_button, platform.lock_host, gettext_lazy("%(name)s takes no new VMs.")),
            partial(_needs_state, HostState.AVAILABLE),
            batch=True,
        ),
        Button(
            "unlock",
            gettext_lazy("Unlock"),
            partial(
                _host_button, platform.unlock_host, gettext_lazy("%(name)s takes new VMs again.")
            ),
            partial(_needs_state, HostState.LOCKED),
            batch=True,
        ),
    )
    change_list_template = "admin/scloud/host_list.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the capacity page."""
        own = path(
            "capacity/",
            self.admin_site.admin_view(self.capacity_view),
            name="compute_host_capacity",
        )
        return [own, *super().get_urls()]

    def capacity_view(self, request: HttpRequest) -> HttpResponse:
        """Show how full clusters, hosts and pools are."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("Capacity"),
            "opts": Host._meta,
            **capacity.overview(),
        }
        return TemplateResponse(request, "admin/scloud/capacity.html", context)

    def get_list_display(self, request: HttpRequest) -> Any:
        """What is taken is asked once for the whole page."""
        self._rooms = {room.host.pk: room for room in capacity.hosts()}
        return super().get_list_display(request)

    @admin.display(description=gettext_lazy("VMs"))
    def vms(self, host: Host) -> int:
        """How many VMs it has."""
        return self._rooms[host.pk].vms

    @admin.display(description=gettext_lazy("vCPU"))
    def vcpus_used(self, host: Host) -> str:
        """Taken of what overcommit allows."""
        room = self._rooms[host.pk]
        return f"{room.vcpus_taken} / {room.vcpus_total}"

    @admin.display(description=gettext_lazy("Memory (GiB)"))
    def memory_used(self, host: Host) -> str:
        """Taken of what is not kept for the host itself."""
        room = self._rooms[host.pk]
        return f"{room.memory_taken_mib / 1024:g} / {room.memory_total_mib / 1024:g}"

    @admin.display(description=gettext_lazy("Trouble"))
    def trouble(self, host: Host) -> str:
        """Since when it does not answer."""
        if host.unreachable_since is None:
            return ""
        return f"{host.unreachable_since:%Y-%m-%d %H:%M} {host.last_error}"


@admin.register(StoragePool)
class StoragePoolAdmin(ModelAdmin):
    """Where volumes and images lie."""

    list_display = ("id", "region", "kind", "location", "used", "observed_at", "last_error")
    list_filter = ("region", "kind")
    list_select_related = ("region",)
    search_fields = ("id", "location")
    readonly_fields = ("total_bytes", "available_bytes", "observed_at", "last_error")

    @admin.display(description=gettext_lazy("Used"))
    def used(self, pool: StoragePool) -> SafeString | str:
        """A bar of what is used."""
        if not pool.total_bytes:
            return ""
        used = pool.total_bytes - pool.available_bytes
        return format_html(
            '<meter min="0" max="{}" value="{}"></meter> {} %',
            pool.total_bytes,
            used,
            100 * used // pool.total_bytes,
        )


@admin.register(DiskType)
class DiskTypeAdmin(ModelAdmin):
    """Kinds of disks that tenants can buy."""

    list_display = (
        "alias",
        "id",
        "region",
        "medium",
        "pool",
        "iops_limit",
        "throughput_limit_mbps",
        "enabled",
    )
    list_filter = ("region", "medium", "enabled")
    list_select_related = ("region", "pool")
    search_fields = ("alias", "id")
    filter_horizontal = ("tenants",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Prices and volumes go by the id and the pool."""
        return ("id", "region", "pool") if obj is not None else ()


def _vm_button(verb: str, action: Callable[..., Any]) -> Button:
    rule = states.vm_rule(verb)

    def call(actor: Actor, vm: VM) -> str:
        action(actor=actor, vm=vm)
        return _("%(verb)s: %(name)s") % {"verb": rule.label, "name": vm.name}

    confirm = gettext_lazy("Its tenant sees in the operation log that an administrator did this.")
    return Button(
        rule.verb,
        rule.label,
        call,
        lambda vm: states.vm_refusal(vm, verb) or "",
        confirm=confirm if rule.danger or verb == "shut_down_vm" else "",
        batch=verb in ("start_vm", "shut_down_vm", "power_off_vm"),
    )


class MigrateForm(forms.Form):
    """Where to."""

    host = forms.ModelChoiceField(
        Host.objects.none(),
        required=False,
        empty_label=gettext_lazy("The best host of the cluster"),
        label=gettext_lazy("Destination"),
    )

    def __init__(self, *args: Any, vm: VM, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = Host.objects.filter(cluster=vm.cluster).exclude(pk=vm.host_id)
        self.fields["host"].queryset = others  # type: ignore[attr-defined]  # ModelChoiceField


@admin.register(VM)
class VmAdmin(ReadOnlyAdmin, ButtonAdmin):
    """Every tenant's VMs."""

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
    list_filter = ("status", "task", "region", "cluster", "host", "tenant")
    list_select_related = ("tenant", "region", "cluster", "host")
    search_fields = ("name", "id", "remark", "uuid", "tenant__name")
    date_hierarchy = "created_at"
    # What tenants give their guests is none of the operators' business.
    fields = (
        ("name", "id", "uuid"),
        ("tenant", "region"),
        ("remark", "tags"),
        ("status", "task", "task_job", "task_deadline"),
        ("power_state", "observed_at"),
        ("failure_code", "failure"),
        ("cluster", "host", "image"),
        ("vcpus", "memory_mib", "gpu_count"),
        ("max_vcpus", "max_memory_mib"),
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
        "failure_code",
        "failure",
        "created_at",
        "binned_at",
        "destroy_at",
        "destroyed_at",
    )
    buttons = (
        _vm_button("start_vm", lifecycle.start_vm),
        _vm_button("shut_down_vm", lifecycle.shut_down_vm),
        _vm_button("power_off_vm", lifecycle.power_off_vm),
        _vm_button("restart_vm", lifecycle.restart_vm),
        _vm_button("delete_vm", lifecycle.delete_vm),
        _vm_button("restore_vm", lifecycle.restore_vm),
        _vm_button("destroy_vm", lifecycle.destroy_vm),
    )
    change_form_template = "admin/scloud/vm_form.html"

    @admin.display(description=gettext_lazy("state"), ordering="status")
    def state(self, vm: VM) -> str:
        """The state that people see."""
        return states.vm_label(vm.status, vm.task)

    @admin.display(description=gettext_lazy("size"), ordering="vcpus")
    def size(self, vm: VM) -> str:
        """Such as 2C4G."""
        return vm.spec_label

    def get_urls(self) -> list[URLPattern]:
        """Add the page of the live migration."""
        own = path(
            "<path:object_id>/migrate/",
            self.admin_site.admin_view(self.migrate_view),
            name="compute_vm_migrate",
        )
        return [own, *super().get_urls()]

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
                form.add_error(None, f"{error.message} {error.remedy or ''}")
            else:
                self.message_user(request, _("The live migration begins."), messages.SUCCESS)
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Live migrate %(name)s") % {"name": vm.name},
            "opts": VM._meta,
            "object": vm,
            "form": form,
            "back": back,
            "reason": states.vm_refusal(vm, "migrate_vm"),
        }
        return TemplateResponse(request, "admin/scloud/migrate.html", context)


@admin.register(Disk)
class DiskAdmin(ReadOnlyAdmin):
    """Every tenant's disks."""

    list_display = (
        "name",
        "id",
        "tenant",
        "disk_type",
        "size_gib",
        "is_system",
        "vm",
        "status",
        "task",
    )
    list_filter = ("status", "task", "region", "disk_type", "is_system", "tenant")
    list_select_related = ("tenant", "disk_type", "vm")
    search_fields = ("name", "id", "vm__id", "vm__name", "tenant__name")


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    """Every tenant's snapshots."""

    list_display = ("name", "id", "tenant", "disk", "status", "created_at")
    list_filter = ("status", "region", "tenant")
    list_select_related = ("tenant", "disk")
    search_fields = ("name", "id", "disk__id", "tenant__name")


@admin.register(Drift)
class DriftAdmin(ReadOnlyAdmin):
    """Differences between what is intended and what hosts and pools show."""

    list_display = (
        "kind",
        "place",
        "resource_id",
        "detail",
        "first_seen_at",
        "last_seen_at",
        "repaired_at",
    )
    list_filter = (("repaired_at", admin.EmptyFieldListFilter), "kind", "place")
    search_fields = ("resource_id", "place", "detail")
