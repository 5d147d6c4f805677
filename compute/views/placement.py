"""Placement groups in the console."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import placement
from compute.actions.placement import VMS_PER_GROUP
from compute.models import VM, PlacementGroup
from compute.models.placement import GroupPolicy
from compute.queries import placement as queries
from compute.states.vms import VmStatus
from compute.views.common import name_and_id, vm_status
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.http import ConsoleRequest
from scloud.web.lists import Column, EmptyState, PageAction
from scloud.web.status import StatusView, Tone
from scloud.web.verbs import Names, Pages, VerbDialog, VerbList, dialog, menu, register
from scloud.web.views import ActionView

# Longer than what is allowed, so that the action refuses with its own words.
NAMES = Names(longest=300, longest_remark=1000)
RULES = {
    GroupPolicy.SPREAD: gettext_lazy("On different hosts: %(answer)s"),
    GroupPolicy.TOGETHER: gettext_lazy("On the same host: %(answer)s"),
}


def kept_view(group: Any) -> StatusView:
    """Whether a group's VMs are where its policy wants them; never on which hosts."""
    kept = queries.is_kept(group)
    answer = {True: _("yes"), False: _("not yet"), None: _("no VM yet")}[kept]
    label = str(RULES[GroupPolicy(group.policy)]) % {"answer": answer}
    tone: Tone = "off" if kept is None else "ok" if kept else "warn"
    return StatusView(label, tone)


def _region_of(request: ConsoleRequest) -> Region:
    if not request.region:
        raise InvalidInput(
            _("There is no region yet."),
            code="region_missing",
            remedy=_("Ask your administrator to add one."),
        )
    return request.region


class PlacementGroupList(VerbList):
    kind = "placement_group"
    title = gettext_lazy("Placement groups")
    text = gettext_lazy(
        "VMs of a placement group stay on different hosts, so that one failure does not stop all "
        "of them, or together on one host."
    )
    permission = "compute.view_placement_group"
    columns = (
        name_and_id("placement-group-detail"),
        Column("policy", gettext_lazy("Policy"), value="rule_words", sort="policy"),
        Column("vms", gettext_lazy("VMs"), value="vm_count", sort="vm_count", align="end"),
        Column("kept", gettext_lazy("Status"), value=kept_view),
        Column("remark", gettext_lazy("Remark"), value="remark"),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    search_fields = ("id", "name", "remark")
    page_actions = (
        PageAction(
            gettext_lazy("Create placement group"),
            "placement-group-create",
            dialog=True,
            permission="compute.create_placement_group",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No placement group yet"),
        gettext_lazy("A placement group keeps VMs on different hosts, or together on one."),
        icon="layout-grid",
        action_label=gettext_lazy("Create placement group"),
        action_url_name="placement-group-create",
        action_permission="compute.create_placement_group",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.groups(_region_of(self.request))


def _named(vm: VM) -> Any:
    """A VM's name and id; one in the recycle bin has no page."""
    if vm.status == VmStatus.BINNED:
        return ui.two(vm.name, ui.ident(vm.pk))
    return ui.link(vm.name, reverse("vm-detail", args=[vm.pk]), ui.ident(vm.pk))


class PlacementGroupDetail(DetailListView):
    """A group with its VMs."""

    # Columns and saved views are its own, not those of the list of VMs.
    kind = "placement_group_vm"
    title = gettext_lazy("VMs")
    permission = "compute.view_placement_group"
    columns = (
        Column("name", gettext_lazy("Name / ID"), value=_named, sort="name", export="name",
               main=True),
        Column("status", gettext_lazy("Status"), value=vm_status,
               export=lambda vm: vm_status(vm).label),
        Column("size", gettext_lazy("Size"), value="spec_label", sort=("vcpus", "memory_mib")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    search_fields = ("id", "name", "remark")
    empty = EmptyState(
        gettext_lazy("No VM yet"),
        gettext_lazy(
            "Choose the group when you create a VM, or change the placement group of one that is "
            "there."
        ),
        icon="server-2",
    )

    def group(self) -> Any:
        return queries.group_named(self.kwargs["pk"])

    def get_queryset(self) -> QuerySet[VM]:
        return queries.vms_of(self.group())

    def page_context(self) -> dict[str, Any]:
        group = self.group()
        return {
            "object": group,
            "status": kept_view(group),
            "crumbs": [(_("Placement groups"), reverse("placement-group-list")), (group.name, "")],
            "actions": menu("placement_group", group, self.actor),
            "facts": [
                (_("ID"), group.pk, group.pk),
                (_("Region"), group.region.name),
                (_("Policy"), group.rule_words),
                (_("VMs"), f"{group.vm_count} / {VMS_PER_GROUP}"),
                (_("Remark"), group.remark),
                (_("Created"), ui.moment(group.created_at)),
            ],
        }


class PlacementGroupForm(forms.Form):
    """A new group."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=300)
    policy = forms.ChoiceField(
        label=gettext_lazy("Policy"), choices=GroupPolicy.choices, widget=forms.RadioSelect
    )
    required = forms.BooleanField(
        label=gettext_lazy("Required"),
        initial=True,
        required=False,
        help_text=gettext_lazy(
            "A VM for which no host fits is not created or started. Otherwise the policy is kept "
            "where possible."
        ),
    )
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=1000, required=False)


class PlacementGroupCreate(ActionView):
    title = gettext_lazy("Create placement group")
    verb = gettext_lazy("Create")
    form_class = PlacementGroupForm
    success_text = gettext_lazy("The placement group was created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> PlacementGroup:
        """Create it in the region that the user works in."""
        return placement.create_placement_group(
            actor=self.actor, region=_region_of(self.request), **data
        )

    def success_url(self, obj: Any) -> Any:
        """Stay on the list, where the row appears."""
        return None if self.request.htmx else reverse("placement-group-list")


register(
    Pages(
        kind="placement_group",
        prefix="placement-groups",
        one=lambda request, pk, binned: queries.group_named(pk),
        several=lambda request, ids: queries.groups().filter(pk__in=ids),
        names=NAMES,
        home=lambda group: reverse("placement-group-list"),
    )
)


class ChosenGroupForm(forms.Form):
    """The placement group of a VM; empty is none."""

    group = forms.ModelChoiceField(
        PlacementGroup.objects.none(),
        label=gettext_lazy("Placement group"),
        required=False,
        empty_label=gettext_lazy("None"),
    )

    def __init__(self, *args: Any, groups: QuerySet[PlacementGroup], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["group"].queryset = groups  # type: ignore[attr-defined]  # ModelChoiceField


@dialog("vm", "change_placement_group")
class VmPlacementGroup(VerbDialog):
    """Another placement group, or none."""

    form_class = ChosenGroupForm

    def get_form_kwargs(self, obj: VM) -> dict[str, Any]:
        """The tenant's groups of the region, with the present one chosen."""
        rows: QuerySet[PlacementGroup] = PlacementGroup.objects.filter(region=obj.region)
        return {"groups": rows.order_by("name"), "initial": {"group": obj.placement_group_id}}
