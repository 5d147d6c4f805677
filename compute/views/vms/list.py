"""The list of VMs, the name edited in its row, and the verbs on chosen rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models.prices import MethodChoice
from billing.views.dialogs import RENEW_TOGETHER, expiry, method_label
from compute.actions.vms.lifecycle import rename_vm
from compute.models import VM
from compute.queries import vms as vm_queries
from compute.states.vms import PAUSED, VmStatus
from compute.verbs.vms import VMS
from compute.views import systems
from compute.views.common import another, configuration, vm_status
from compute.views.forms import InlineNameForm
from scloud.lib import search
from scloud.lib.errors import InvalidInput
from scloud.verbs.refusals import refusal
from scloud.web import http, ui
from scloud.web.forms import add_error, errors_with_remedies
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    PageAction,
    RowAction,
)
from scloud.web.verbs import VerbList
from scloud.web.views import ConsoleView

_BUSY = "busy"
_SHOWN = (
    VmStatus.RUNNING,
    PAUSED,
    VmStatus.STOPPED,
    VmStatus.EXPIRED,
    VmStatus.FAILED,
)


def _by_state(rows: QuerySet[VM], values: list[str]) -> QuerySet[VM]:
    """In flight is a state of its own for people; the others are where a VM stands idle."""
    idle = vm_queries.standing(rows.filter(task=""), *values)
    return idle | rows.exclude(task="") if _BUSY in values else idle


class VmList(VerbList):
    """All VMs of the tenant in the chosen region."""

    kind = "vm"
    permission = "compute.view_vm"
    title = gettext_lazy("Virtual machines")
    search_placeholder = gettext_lazy("Search by name, remark, ID, tag or IP")
    default_sort = "-created"
    more_batches = (RENEW_TOGETHER,)
    page_template = "compute/vms/list.html"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "name",
            gettext_lazy("Name / remark"),
            template="compute/vms/cells/name.html",
            sort="name",
            export="name",
            main=True,
        ),
        Column(
            "status",
            gettext_lazy("Status"),
            value=vm_status,
            sort=("status", "task"),
            export=lambda vm: VMS.label(vm.standing, vm.task),
            nowrap=True,
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, yields=4),
        Column(
            "ip",
            gettext_lazy("Private IP"),
            value=vm_queries.private_ips,
            render=ui.idents,
            export=lambda vm: ", ".join(vm_queries.private_ips(vm)),
            nowrap=True,
        ),
        Column(
            "external_ip",
            gettext_lazy("External IP"),
            value=vm_queries.external_ips,
            render=ui.idents,
            export=lambda vm: ", ".join(vm_queries.external_ips(vm)),
            nowrap=True,
        ),
        Column(
            "network",
            gettext_lazy("VPC / subnet"),
            template="compute/vms/cells/network.html",
            yields=1,
            export=lambda vm: " / ".join(
                str(vm.nic_rows[0][key]) for key in ("vpc", "subnet") if vm.nic_rows
            ),
        ),
        Column(
            "model",
            gettext_lazy("Model"),
            value="cluster.alias",
            sort="cluster__alias",
            yields=1,
        ),
        Column(
            "configuration",
            gettext_lazy("Configuration"),
            template="compute/vms/cells/configuration.html",
            sort=("vcpus", "memory_mib"),
            export=configuration,
        ),
        Column(
            "image",
            gettext_lazy("Image"),
            value="image",
            render=systems.named,
            sort="image__name",
            export="image.name",
            default=False,
        ),
        Column(
            "system_gib",
            gettext_lazy("System disk (GB)"),
            value=vm_queries.system_gib,
            align="end",
            default=False,
        ),
        Column(
            "data_gib",
            gettext_lazy("Data disks (GB)"),
            value=vm_queries.data_gib,
            align="end",
            default=False,
        ),
        Column(
            "billing",
            gettext_lazy("Billing"),
            value=lambda vm: method_label(vm.billing_method),
            sort="billing_method",
            nowrap=True,
            yields=3,
        ),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at", yields=2),
        Column(
            "expires",
            gettext_lazy("Expires"),
            value=expiry,
            sort="paid_until",
            export="paid_until",
            yields=4,
        ),
        Column("tags", gettext_lazy("Tags"), render=ui.tags, default=False),
        Column("remark", gettext_lazy("Remark"), default=False),
    )
    filters = (
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=(
                *((s, VMS.labels[s]) for s in _SHOWN),
                (_BUSY, gettext_lazy("In progress")),
            ),
            apply=_by_state,
        ),
        Filter(
            "cluster",
            gettext_lazy("Model"),
            choices=lambda request: _choices(request).clusters,
        ),
        Filter("image", gettext_lazy("Image"), choices=lambda request: _choices(request).images),
        Filter(
            "vpc",
            gettext_lazy("VPC"),
            choices=lambda request: _choices(request).vpcs,
            apply=vm_queries.in_vpcs,
        ),
        Filter(
            "billing",
            gettext_lazy("Billing"),
            choices=MethodChoice.choices,
            apply=vm_queries.paid_by,
        ),
        Filter(
            "tag",
            gettext_lazy("Tag"),
            kind="text",
            apply=lambda rows, values: rows.filter(tags__contains=values[:1]),
        ),
    )
    page_actions = (
        PageAction(gettext_lazy("Create VM"), "vm-create", permission="compute.create_vm"),
    )
    empty = EmptyState(
        gettext_lazy("No virtual machines yet"),
        gettext_lazy(
            "A VM runs an operating system of your choice in your own network. "
            "You see the price first; nothing is charged until you press Buy "
            "now."
        ),
        icon="server-2",
        action_label=gettext_lazy("Create your first VM"),
        action_url_name="vm-create",
        action_permission="compute.create_vm",
    )

    def get_queryset(self) -> QuerySet[VM]:
        """The region's VMs with what a row shows."""
        return vm_queries.vms(self.request.region)

    def match(self, model: type[Model]) -> search.Match:
        """Search looks at addresses too, which are rows of another table."""
        return vm_queries.matching

    def inline_actions(self, obj: Any) -> list[RowAction]:
        """The screen, one click away."""
        if refusal(self.actor, obj, VMS.rule("open_vnc")):
            return []
        return [
            RowAction(
                label=_("VNC"),
                url=reverse("vm-screen", args=[obj.pk]),
                icon="screen-share",
                how="tab",
            )
        ]

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Everything that can be done with a VM."""
        details = RowAction(
            _("Details"), reverse("vm-detail", args=[obj.pk]), icon="list-details", how="link"
        )
        return [details, *another(obj, self.actor), *super().row_actions(obj)]


def register_column(column: Column, *, after: str) -> None:
    """Add a column of another app to the list, behind one by its key; the same key replaces it."""
    others = [one for one in VmList.columns if one.key != column.key]
    place = [one.key for one in others].index(after) + 1
    VmList.columns = (*others[:place], column, *others[place:])


def _choices(request: Any) -> vm_queries.FilterChoices:
    """Return the choices of the filters, asked once per request."""
    found: vm_queries.FilterChoices | None = getattr(request, "_vm_filter_choices", None)
    if found is None:
        found = vm_queries.filter_choices(request.actor.tenant, request.region)
        request._vm_filter_choices = found
    return found


class VmName(ConsoleView):
    """The name and remark of a VM, changed where they stand.

    GET shows them, with ``?edit`` the two fields; POST saves. All answers replace the same place.
    """

    permission = "compute.view_vm"

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        obj = vm_queries.vm(vm_id)
        if "edit" not in request.GET:
            return self.render("compute/vms/cells/name.html", {"obj": obj})
        self.actor.require(VMS.rule("rename_vm").permission)
        form = InlineNameForm(initial={"name": obj.name, "remark": obj.remark})
        return self.render("compute/vms/cells/name_edit.html", {"obj": obj, "form": form})

    def post(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Save, or show the fields again with what is wrong."""
        obj = vm_queries.vm(vm_id)
        form = InlineNameForm(request.POST)
        if form.is_valid():
            try:
                rename_vm(actor=self.actor, vm=obj, **form.cleaned_data)
            except InvalidInput as error:
                add_error(form, error)
        if not form.is_valid():
            errors = [e for name in ("name", "remark") for e in errors_with_remedies(form, name)]
            return self.render(
                "compute/vms/cells/name_edit.html",
                {"obj": obj, "form": form, "errors": errors},
                status=422,
            )
        response = self.render("compute/vms/cells/name.html", {"obj": vm_queries.vm(vm_id)})
        http.changed(response, "vm", vm_id)
        return http.toast(response, _("Saved."))
