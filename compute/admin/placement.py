"""Placement in Django admin: groups, what VMs are to operators, and why a host is not chosen."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import placement as actions
from compute.hosts import placement
from compute.models import VM, Cluster, PlacementGroup, Spec
from compute.rules.catalogue import GPU_COUNTS
from compute.states.vms import FailoverPriority, VmStatus
from scloud.lib.errors import ScloudError
from scloud.tenancy.admintools import ModelAdmin, administrator


class GroupForm(forms.ModelForm[PlacementGroup]):
    """A group of the operators; only name and remark change later."""

    class Meta:
        model = PlacementGroup
        fields = ("region", "name", "policy", "required", "remark")


@admin.register(PlacementGroup)
class PlacementGroupAdmin(ModelAdmin):
    """Groups of the operators, for VMs of any tenants, and those of tenants to look at."""

    form = GroupForm
    list_display = ("name", "id", "tenant", "region", "rule_in_words", "vms_in_it", "created_at")
    list_filter = (
        ("tenant", admin.EmptyFieldListFilter), "policy", "required", "region",
    )  # fmt: skip
    list_select_related = ("tenant", "region")
    search_fields = ("name", "id", "remark", "tenant__name")
    fields = ("tenant", "region", "name", "policy", "required", "remark", "created_at")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlacementGroup]:
        """With the number of their VMs, those of the operators' groups included."""
        living = ~Q(vms__status=VmStatus.DESTROYED)
        placed = ~Q(placed_vms__status=VmStatus.DESTROYED)
        rows: QuerySet[PlacementGroup] = super().get_queryset(request)
        counted: QuerySet[Any] = rows.annotate(
            own=Count("vms", filter=living, distinct=True),
            placed=Count("placed_vms", filter=placed, distinct=True),
        )
        return counted

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A policy never changes under the VMs that it has placed."""
        fixed = ("tenant", "created_at")
        return fixed if obj is None else (*fixed, "region", "policy", "required")

    @admin.display(description=gettext_lazy("rule"), ordering="policy")
    def rule_in_words(self, group: PlacementGroup) -> str:
        """The policy, and whether it is a condition."""
        return group.rule_words

    @admin.display(description=gettext_lazy("VMs"))
    def vms_in_it(self, group: Any) -> int:
        return int(group.own + group.placed)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those of tenants are theirs."""
        return (obj is None or obj.tenant_id is None) and super().has_change_permission(
            request, obj
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those of tenants are theirs, and one with VMs stays."""
        free = obj is None or (obj.tenant_id is None and not self._used(obj))
        return free and super().has_delete_permission(request, obj)

    @staticmethod
    def _used(group: PlacementGroup) -> int:
        return int(getattr(group, "own", 0) + getattr(group, "placed", 0))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Through the actions, which check and log."""
        actor = administrator(request, None)
        if change:
            actions.rename_operators_group(actor=actor, group=obj, name=obj.name, remark=obj.remark)
            return
        made = actions.create_operators_group(
            actor=actor,
            region=obj.region,
            name=obj.name,
            policy=obj.policy,
            required=obj.required,
            remark=obj.remark,
        )
        obj.pk, obj.created_at = made.pk, made.created_at
        obj._state.adding = False

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Through the action. One that has got VMs meanwhile stays, and says so."""
        try:
            actions.delete_operators_group(actor=administrator(request, None), group=obj)
        except ScloudError as error:
            self.message_user(request, error.for_operators(), messages.ERROR)


class VmPlacementForm(forms.Form):
    """What a VM is to operators."""

    priority = forms.TypedChoiceField(
        choices=FailoverPriority.choices,
        coerce=int,
        label=gettext_lazy("Priority in a failover"),
        help_text=gettext_lazy("Who is started again first when a host has failed."),
    )
    operators_group = forms.ModelChoiceField(
        PlacementGroup.objects.none(),
        required=False,
        empty_label=gettext_lazy("None"),
        label=gettext_lazy("Operators' placement group"),
        help_text=gettext_lazy("It counts beside the tenant's own. The tenant does not see it."),
    )

    def __init__(self, data: Any, *, vm: VM) -> None:
        initial = {"priority": vm.failover_priority, "operators_group": vm.operators_group_id}
        super().__init__(data, initial=initial)
        rows = PlacementGroup.objects.filter(tenant=None, region=vm.region)
        self.fields["operators_group"].queryset = rows  # type: ignore[attr-defined]  # ModelChoiceField


def vm_placement_page(owner: Any, request: HttpRequest, vm: VM | None) -> HttpResponse:
    """Show (GET) or change (POST) priority and operators' group of a VM. Raises Http404."""
    if vm is None:
        raise Http404
    back = reverse("admin:compute_vm_change", args=[vm.pk])
    form = VmPlacementForm(request.POST or None, vm=vm)
    if request.method == "POST" and form.is_valid():
        try:
            actions.change_vm_placement(
                actor=administrator(request, None),
                vm=vm,
                priority=form.cleaned_data["priority"],
                operators_group=form.cleaned_data["operators_group"],
            )
        except ScloudError as error:
            form.add_error(None, error.for_operators())
        else:
            owner.message_user(request, _("Saved."), messages.SUCCESS)
            return HttpResponseRedirect(back)
    context = {
        **owner.admin_site.each_context(request),
        "title": _("Placement of %(name)s") % {"name": vm.name},
        "opts": VM._meta,
        "object": vm,
        "form": form,
        "back": back,
    }
    return TemplateResponse(request, "compute/admin/vm_placement.html", context)


class WhyNotForm(forms.Form):
    """What would be placed."""

    spec = forms.ModelChoiceField(Spec.objects.none(), label=gettext_lazy("Size"), empty_label=None)
    gpus = forms.TypedChoiceField(coerce=int, label=gettext_lazy("GPUs"), required=False)
    group = forms.ModelChoiceField(
        PlacementGroup.objects.none(),
        required=False,
        empty_label=gettext_lazy("None"),
        label=gettext_lazy("Placement group"),
    )

    def __init__(self, *args: Any, cluster: Cluster, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        counts = (0, *GPU_COUNTS) if cluster.gpu_type else (0,)
        groups = PlacementGroup.objects.filter(region=cluster.region)
        fields: Any = self.fields
        fields["spec"].queryset = Spec.objects.filter(cluster=cluster)
        fields["gpus"].choices = [(one, str(one)) for one in counts]
        fields["group"].queryset = groups.order_by("name", "pk")


def why_not_page(owner: Any, request: HttpRequest, cluster: Cluster | None) -> HttpResponse:
    """Say of each host why it would or would not take a new VM; places nothing. Raises Http404."""
    if cluster is None:
        raise Http404
    form = WhyNotForm(request.GET or None, cluster=cluster)
    found = None
    if form.is_valid():
        group = form.cleaned_data["group"]
        found = placement.explain(
            cluster,
            group.tenant if group is not None else None,
            spec=form.cleaned_data["spec"],
            gpus=form.cleaned_data["gpus"] or 0,
            group=group,
        )
    context = {
        **owner.admin_site.each_context(request),
        "title": _("Why not? %(cluster)s") % {"cluster": cluster.alias},
        "opts": Cluster._meta,
        "object": cluster,
        "form": form,
        "found": found,
        "back": reverse("admin:compute_cluster_change", args=[cluster.pk]),
    }
    return TemplateResponse(request, "compute/admin/why_not.html", context)
