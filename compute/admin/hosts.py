"""Models, hosts and storage pools in Django admin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import TimeField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import hosts as platform
from compute.actions import pools
from compute.actions.fencing import fence_host
from compute.admin.fencing import HostNameForm
from compute.admin.host_tests import TEST_BUTTON, HostTestAdmin
from compute.admin.maintenance import ClusterRollAdmin, HostMaintenanceAdmin
from compute.admin.placement import why_not_page
from compute.hosts import capacity
from compute.models import (
    Cluster,
    Drift,
    Host,
    HostSighting,
    HostTransition,
    Spec,
    StoragePool,
)
from compute.queries.maintenance import waiting_of
from compute.rules.host_tests import waits_for_test
from compute.rules.pools import (
    KEY_RECIPIENT,
    holds_anything,
    is_key,
    needs_key,
    pool_problem,
)
from compute.states.hosts import CONFIRMED_OFF, HostState
from compute.states.pools import PoolState
from compute.verbs.vms import VMS
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import (
    Button,
    ButtonAdmin,
    ReadOnlyAdmin,
    YesNoFilter,
    administrator,
    needs,
    size_column,
)

Text = str | Promise
SHOWN_TRANSITIONS = 10
SHOWN_WAITING = 50

if TYPE_CHECKING:
    # Generic for the type checker only.
    TabularInline = admin.TabularInline[Any, Any]
else:
    TabularInline = admin.TabularInline


class SpecInline(TabularInline):
    model = Spec
    extra = 1
    fields = ("vcpus", "memory_mib", "required_tags", "enabled")


@admin.register(Cluster)
class ClusterAdmin(ClusterRollAdmin):
    list_display = (
        "alias",
        "id",
        "region",
        "architecture",
        "gpu_type",
        "cpu_overcommit",
        "reserve_hosts",
        "balance_mode",
        "enabled",
        "position",
    )
    list_filter = ("region", "architecture", "gpu_type", "balance_mode", "enabled")
    list_select_related = ("region",)
    search_fields = ("alias", "id", "description")
    filter_horizontal = ("tenants",)
    inlines = (SpecInline,)
    change_form_template = "compute/admin/cluster.html"
    # Django's own compares with the server's clock; these times are of the cluster's zone.
    formfield_overrides: ClassVar[dict[Any, Any]] = {
        TimeField: {"widget": forms.TimeInput(format="%H:%M", attrs={"type": "time"})}
    }

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose for new clusters what QEMU was measured to take."""
        return {"vm_overhead_mib": 64, "vcpu_overhead_mib": 4}

    def get_urls(self) -> list[URLPattern]:
        """Add the page that explains placement."""
        own = path(
            "<path:object_id>/why-not/",
            self.admin_site.admin_view(self.why_not_view),
            name="compute_cluster_why_not",
        )
        return [own, *super().get_urls()]

    @needs("compute.view_cluster")
    def why_not_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say of each host why it would or would not take a new VM."""
        return why_not_page(self, request, self.get_object(request, object_id))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep what is set for load balancing together."""
        names = list(self.get_fields(request, obj))
        own = [name for name in names if str(name).startswith("balance_")]
        rest = [name for name in names if name not in own]
        return [(None, {"fields": rest}), (_("Load balancing"), {"fields": own})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What its VMs depend on does not change under them."""
        return ("id", "region", "architecture") if obj is not None else ()


def _host_button(action: Callable[..., Any], done: Text, actor: Actor, host: Host) -> str:
    action(actor=actor, host=host)
    return str(done) % {"name": host.name}


def _needs_state(state: HostState, host: Host) -> str:
    if host.state == state:
        return ""
    return _("Only possible while the host is: %(state)s.") % {"state": state.label}


def _unlock_reason(host: Host) -> str:
    if waits_for_test(host):
        return _("Only possible after its connection test has passed.")
    return _needs_state(HostState.LOCKED, host)


def _needs_off(host: Host) -> str:
    if host.state in CONFIRMED_OFF:
        return ""
    return _("Only possible while the host is: %(state)s.") % {
        "state": f"{HostState.FENCED.label}, {HostState.DOWN.label}"
    }


@admin.register(Host)
class HostAdmin(HostTestAdmin, HostMaintenanceAdmin, ButtonAdmin):
    """Machines with libvirt. Capacity is read from libvirt by the reconciler."""

    list_display = (
        "name",
        "cluster",
        "state",
        "state_since",
        "vms",
        "vcpus_used",
        "memory_used",
        "observed_at",
        "trouble",
    )
    list_filter = ("cluster__region", "cluster", "state", "accelerated")
    list_select_related = ("cluster",)
    search_fields = ("name", "id", "uri", "address")
    found_by = ("name", "hostname", "address")
    readonly_fields = (
        "id",
        "state",
        "state_since",
        "state_reason",
        "findings",
        "off_seen_at",
        "failover_note",
        "waiting",
        "seen",
        "history",
        "hostname",
        "vcpus",
        "memory_mib",
        "accelerated",
        "version",
        "machine_types",
        "observed_at",
        "unreachable_since",
        "last_error",
    )
    buttons = (
        TEST_BUTTON,
        Button(
            "lock",
            gettext_lazy("Lock"),
            partial(_host_button, platform.lock_host, gettext_lazy("%(name)s takes no new VMs.")),
            partial(_needs_state, HostState.AVAILABLE),
            batch=True,
            right="platform.lock_host",
        ),
        Button(
            "return",
            gettext_lazy("Return to service"),
            partial(
                _host_button,
                platform.return_host,
                gettext_lazy("%(name)s is used again when it answers and has been compared."),
            ),
            _needs_off,
            right="platform.return_host",
        ),
        Button(
            "unlock",
            gettext_lazy("Unlock"),
            partial(
                _host_button, platform.unlock_host, gettext_lazy("%(name)s takes new VMs again.")
            ),
            _unlock_reason,
            batch=True,
            right="platform.unlock_host",
        ),
    )
    change_list_template = "compute/admin/hosts.html"
    change_form_template = "compute/admin/host.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the capacity page, and those that have the name of a host typed."""
        own = [
            path(
                "capacity/",
                self.admin_site.admin_view(self.capacity_view),
                name="compute_host_capacity",
            ),
            path(
                "<path:object_id>/fence/",
                self.admin_site.admin_view(self.fence_view),
                name="compute_host_fence",
            ),
            path(
                "<path:object_id>/confirm-off/",
                self.admin_site.admin_view(self.confirm_off_view),
                name="compute_host_confirm_off",
            ),
        ]
        return [*own, *super().get_urls()]

    @needs("platform.fence_host")
    def fence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the name of the host typed (GET), have its device switch it off (POST)."""
        return self._typed(
            request,
            object_id,
            action=fence_host,
            title=_("Fence now"),
            text=_(
                "Its fence device cuts its power, as by pulling the plug. When the device has "
                "confirmed that it is off, the host is fenced, and its running VMs start on other "
                "hosts if the cluster has failover."
            ),
            done=_("%(name)s is being fenced. Reload to see what its device said."),
        )

    @needs("platform.confirm_host_off")
    def confirm_off_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the name of the host typed (GET), take it for switched off (POST)."""
        return self._typed(
            request,
            object_id,
            action=platform.confirm_host_off,
            title=_("Confirm that it is off"),
            text=_(
                "Confirm it only if you have seen that the host has no power. Its running VMs "
                "start on other hosts if the cluster has failover. A VM that still runs on this "
                "host then damages its disks."
            ),
            done=_("%(name)s is taken for switched off."),
        )

    def _typed(
        self,
        request: HttpRequest,
        object_id: str,
        *,
        action: Callable[..., Any],
        title: str,
        text: str,
        done: str,
    ) -> HttpResponse:
        host = self.get_object(request, object_id)
        if host is None:
            raise Http404
        back = reverse("admin:compute_host_change", args=[host.pk])
        form = HostNameForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                action(
                    actor=administrator(request, None), host=host, typed=form.cleaned_data["typed"]
                )
            except ScloudError as error:
                form.add_error(
                    error.field if error.field in form.fields else None, error.for_operators()
                )
            else:
                self.message_user(request, done % {"name": host.name})
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": Host._meta,
            "object": host,
            "running": host.vms.filter(status="running").count(),
            "text": text,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "compute/admin/host_typed.html", context)

    @needs("compute.view_host")
    def capacity_view(self, request: HttpRequest) -> HttpResponse:
        """Show how full clusters, hosts and pools are."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("Capacity"),
            "opts": Host._meta,
            **capacity.overview(),
        }
        return TemplateResponse(request, "compute/admin/capacity.html", context)

    def get_list_display(self, request: HttpRequest) -> Any:
        """What is taken is asked once for the whole page."""
        self._usage = {usage.host.pk: usage for usage in capacity.hosts()}
        return super().get_list_display(request)

    @admin.display(description=gettext_lazy("VMs"))
    def vms(self, host: Host) -> int:
        return self._usage[host.pk].vms

    @admin.display(description=gettext_lazy("vCPU"))
    def vcpus_used(self, host: Host) -> str:
        """Taken of what overcommit allows."""
        usage = self._usage[host.pk]
        return f"{usage.vcpus_taken} / {usage.vcpus_total}"

    @admin.display(description=gettext_lazy("Memory (GB)"))
    def memory_used(self, host: Host) -> str:
        """Taken of what is not kept for the host itself."""
        usage = self._usage[host.pk]
        return f"{usage.memory_taken_mib / 1024:g} / {usage.memory_total_mib / 1024:g}"

    @admin.display(description=gettext_lazy("Witnesses"))
    def seen(self, host: Host) -> SafeString:
        """Who asked by which witness, and when it answered last."""
        rows = host.sightings.order_by("witness", "observer")
        return format_html_join("", "{}<br>", ((_sighting(row),) for row in rows))

    @admin.display(description=gettext_lazy("History"))
    def history(self, host: Host) -> SafeString:
        """The last changes of the state, and the way to all of them."""
        lines = format_html_join(
            "",
            "{} {} ({}) {}<br>",
            (
                (f"{row.at:%Y-%m-%d %H:%M:%S}", row.get_new_display(), row.by, row.reason)
                for row in host.transitions.all()[:SHOWN_TRANSITIONS]
            ),
        )
        url = reverse("admin:compute_hosttransition_changelist")
        return format_html(
            '{}<a href="{}?host__id__exact={}">{}</a>', lines, url, host.pk, _("All changes")
        )

    @admin.display(description=gettext_lazy("VMs that wait for failover"))
    def waiting(self, host: Host) -> SafeString:
        """Which of its VMs wait to be started again, since when and for what."""
        rows = waiting_of(host).order_by("created_at", "pk")
        lines = format_html_join(
            "",
            '<a href="{}">{}</a> {} {} {}<br>',
            (
                (
                    reverse("admin:compute_vm_change", args=[vm.pk]),
                    vm.name,
                    f"{vm.failover_since:%Y-%m-%d %H:%M:%S}",
                    VMS.label(vm.standing, vm.task) if vm.task else vm.failure,
                    vm.failure_detail,
                )
                for vm in rows[:SHOWN_WAITING]
            ),
        )
        url = reverse("admin:compute_vm_changelist")
        return format_html(
            '{}<a href="{}?failover_since__isempty=0">{}</a>', lines, url, _("All VMs that wait")
        )

    @admin.display(description=gettext_lazy("Problem"))
    def trouble(self, host: Host) -> str:
        """Since when it does not answer."""
        if host.unreachable_since is None:
            return ""
        return f"{host.unreachable_since:%Y-%m-%d %H:%M} {host.last_error}"


def _sighting(row: HostSighting) -> str:
    answered = _("never") if row.alive_at is None else f"{row.alive_at:%Y-%m-%d %H:%M:%S}"
    return _("%(witness)s: asked by %(observer)s at %(asked)s, last answer %(answered)s") % {
        "witness": row.get_witness_display(),
        "observer": row.observer,
        "asked": f"{row.asked_at:%Y-%m-%d %H:%M:%S}",
        "answered": answered,
    }


@admin.register(HostTransition)
class HostTransitionAdmin(ReadOnlyAdmin):
    """What became of hosts, when and why."""

    list_display = ("at", "host", "host_name", "old", "new", "by", "reason")
    list_filter = ("new", ("host", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("host",)
    search_fields = ("host__name", "host_name", "reason", "by")


def _test_pool(actor: Actor, pool: StoragePool) -> str:
    pools.test_pool(actor=actor, pool=pool)
    return _("%(name)s is tried. Reload to see what it said.") % {"name": pool.pk}


class PoolForm(forms.ModelForm[StoragePool]):
    """A pool; the key of a Ceph pool is set by typing it, and shown nowhere."""

    new_key = forms.CharField(
        label=gettext_lazy("Key"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy(
            "Ceph RBD: the client's key. Leave empty to keep the current one. Enter it again when "
            "monitors or user change."
        ),
    )

    class Meta:
        model = StoragePool
        fields = (
            "id", "region", "kind", "location", "monitors", "user", "snapshots",
            "overprovisioning", "reserve_percent",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to its field."""
        data = super().clean() or {}
        if not {"kind", "location"} <= data.keys():
            return data
        # A field with an error is taken out of the data.
        given: dict[str, Any] = {"monitors": "", "user": "", **data}
        if problem := pool_problem(given):
            self.add_error(*problem)
        key = given.get("new_key") or ""
        before = StoragePool.objects.filter(pk=self.instance.pk).first()
        if before is not None and before.kind != given["kind"] and holds_anything(before):
            self.add_error("kind", _("The type cannot change: disks or images are in the pool."))
        if given["kind"] == "rbd":
            if key and not is_key(key):
                self.add_error("new_key", _("This is not the key of a Ceph client."))
            elif not key and needs_key(before, {name: given[name] for name in KEY_RECIPIENT}):
                self.add_error("new_key", _("Enter the key."))
        return data


def _adopt(actor: Actor, pool: StoragePool) -> str:
    pools.adopt_pool(actor=actor, pool=pool)
    return _("%(name)s is marked when it is used next, within a minute.") % {"name": pool.pk}


def _needs_adoption(pool: StoragePool) -> str:
    if pool.state in (PoolState.GONE, PoolState.WRONG):
        return ""
    return _("Only possible while the pool is: %(states)s.") % {
        "states": f"{PoolState.GONE.label}, {PoolState.WRONG.label}"
    }


@admin.register(StoragePool)
class StoragePoolAdmin(ButtonAdmin):
    """Where volumes and images lie."""

    form = PoolForm
    fields = (
        "id",
        "region",
        "kind",
        "location",
        "monitors",
        "user",
        "new_key",
        "snapshots",
        "overprovisioning",
        "reserve_percent",
        "state",
        "state_since",
        "last_error",
        "total",
        "available",
        "observed_at",
        "adopting",
    )
    list_display = (
        "id",
        "region",
        "kind",
        "location",
        "snapshots",
        "state",
        "used",
        "observed_at",
        "trouble",
    )
    list_filter = ("region", "kind", "state")
    list_select_related = ("region",)
    search_fields = ("id", "location")
    readonly_fields = (
        "state",
        "state_since",
        "last_error",
        "total",
        "available",
        "observed_at",
        "adopting",
    )
    total = size_column("total_bytes", gettext_lazy("size"))
    available = size_column("available_bytes", gettext_lazy("available"))
    buttons = (
        Button("test", gettext_lazy("Test"), _test_pool, batch=True, right="platform.test_pool"),
        Button(
            "adopt",
            gettext_lazy("Mark anew"),
            _adopt,
            _needs_adoption,
            confirm=gettext_lazy(
                "What lies at the location is taken for this pool from now on. Make sure that the "
                "right storage is mounted there on all workers and hosts: volumes that are not "
                "there are reported as missing."
            ),
            right="platform.adopt_pool",
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A pool keeps its id: disks and images name it."""
        own = super().get_readonly_fields(request, obj)
        return own if obj is None else ("id", *own)

    def save_model(self, request: HttpRequest, obj: StoragePool, form: Any, change: bool) -> None:
        """By the action, which seals the key. The form has been checked by the same rules."""
        pools.save_pool(
            actor=administrator(request, None),
            pool=obj,
            key=form.cleaned_data.get("new_key") or "",
        )

    @admin.display(description=gettext_lazy("Problem"))
    def trouble(self, pool: StoragePool) -> str:
        """Since when it cannot be used, and why."""
        if pool.state_since is None or not pool.last_error:
            return pool.last_error
        return f"{pool.state_since:%Y-%m-%d %H:%M} {pool.last_error}"

    @admin.display(description=gettext_lazy("Used"))
    def used(self, pool: StoragePool) -> SafeString | str:
        if not pool.total_bytes:
            return ""
        used = pool.total_bytes - pool.available_bytes
        return format_html(
            '<meter min="0" max="{}" value="{}"></meter> {} %',
            pool.total_bytes,
            used,
            100 * used // pool.total_bytes,
        )


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
    list_filter = (("repaired_at", YesNoFilter), "kind", "place")
    search_fields = ("resource_id", "place", "detail")
