"""ENIs: the list, the page of one, making, and the dialogs of their verbs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.quotes import Quote
from billing.views.dialogs import (
    RENEW_TOGETHER,
    PaidForm,
    PricedView,
    RenewView,
    expiry,
    expiry_of_bound,
    method_label,
    money_at_end,
    paid_of,
)
from billing.views.upcoming import upcoming
from network.actions import enis as actions
from network.actions.common import tenant_of
from network.models import Eni, ExternalSegment, NicNetwork, SecurityGroup, Subnet
from network.queries import enis as queries
from network.queries import security as security_queries
from network.queries import vpcs as vpc_queries
from network.queries.nics import nics_with_ipv6
from network.rules import targets
from network.rules.eni_orders import EniOrder
from network.rules.external_orders import segments_for
from network.states import enis as states
from network.states.enis import EniStatus
from network.verbs.enis import ENIS
from network.views.common import owner_link, region_of
from network.views.external_ips import AT_NEXT_BOOT, free_words
from scloud.lib import search
from scloud.lib.errors import InvalidInput
from scloud.lib.form_fields import PlainIntegerField
from scloud.verbs.inputs import pick
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.lists import Column, EmptyState, Filter, PageAction
from scloud.web.status import StatusView, Tone
from scloud.web.verbs import (
    Lines,
    Names,
    Nothing,
    Pages,
    VerbDialog,
    VerbList,
    dialog,
    menu,
    register,
    split_tags,
)
from scloud.web.views import Instead

_TONES: dict[str, Tone] = {"ok": "ok", "busy": "busy", "warn": "warn", "bad": "error"}
_SHOWN = (EniStatus.FREE, EniStatus.BOUND, EniStatus.EXPIRED)
_UPCOMING_WORDS = {"destruction": gettext_lazy("Is deleted for good, with its address")}


def status_view(row: Eni) -> StatusView:
    """Return the state as the pages show it, with the last failure."""
    return StatusView(
        label=ENIS.label(row.status, row.task),
        tone=_TONES.get(states.eni_tone(row.status, row.task), "off"),
        detail="" if row.task else row.failure,
    )


def network_of(row: Eni) -> Any:
    """Return VPC and subnet, or the segment."""
    nic = row.nic
    if nic is None:
        return ui.NONE
    if nic.subnet is not None:
        return ui.two(nic.subnet.vpc.name, nic.subnet.name)
    return ui.two(nic.external_address.segment.name, nic.external_address.segment.cidr)


def network_word(row: Eni) -> str:
    """Return the same for a workbook."""
    nic = row.nic
    if nic is None:
        return ""
    if nic.subnet is not None:
        return f"{nic.subnet.vpc.name} / {nic.subnet.name}"
    return str(nic.external_address.segment.name)


def group_of(row: Eni) -> str:
    """Return the group's name, or that there is none."""
    nic = row.nic
    if nic is None:
        return ""
    return nic.security_group.name if nic.security_group else _("None: not filtered")


def bound_to(row: Eni) -> Any:
    """Return the VM with the device in it, and what its guest has still to do."""
    if not row.vm_id or row.nic is None:
        return ui.NONE
    later = AT_NEXT_BOOT if row.at_next_boot and not row.task else row.nic.device
    return ui.two(owner_link(row.vm_id), later)


COLUMNS = (
    Column(
        "name",
        gettext_lazy("Name / ID"),
        value=lambda row: ui.link(row.name, reverse("eni-detail", args=[row.pk]), ui.ident(row.pk)),
        sort="name",
        export="name",
        main=True,
    ),
    Column(
        "status",
        gettext_lazy("Status"),
        value=status_view,
        sort=("status", "task"),
        export=lambda row: str(status_view(row)),
        nowrap=True,
    ),
    Column("type", gettext_lazy("Type"), value="get_network_display", sort="network"),
    Column("network", gettext_lazy("Network"), value=network_of, export=network_word),
    Column("address", gettext_lazy("IP"), value="address", render=ui.ident, sort="address"),
    Column(
        "ipv6",
        gettext_lazy("IPv6 address"),
        value="nic.ipv6",
        render=ui.ident,
        export=lambda row: str(row.nic.ipv6 or "") if row.nic else "",
        default=False,
    ),
    Column("group", gettext_lazy("Security group"), value=group_of),
    Column(
        "bandwidth",
        gettext_lazy("Bandwidth"),
        value="nic.bandwidth_mbps",
        render=ui.mbps,
        align="end",
        nowrap=True,
    ),
    Column("vm", gettext_lazy("Bound to"), value=bound_to, sort="vm_id", export="vm_id"),
    Column("mac", gettext_lazy("MAC"), value="nic.mac", render=ui.ident, default=False),
    Column(
        "billing",
        gettext_lazy("Billing"),
        value=lambda row: method_label(row.billing_method),
        sort="billing_method",
        default=False,
    ),
    Column(
        "expires", gettext_lazy("Expires"), value=expiry, sort="paid_until", export="paid_until"
    ),
    Column(
        "created", gettext_lazy("Created"), value="created_at", sort="created_at", default=False
    ),
    Column("tags", gettext_lazy("Tags"), render=ui.tags, default=False),
    Column("remark", gettext_lazy("Remark"), default=False),
)


class EniList(VerbList):
    """All ENIs of the tenant in the chosen region."""

    kind = "eni"
    permission = "network.view_eni"
    title = gettext_lazy("ENIs")
    text = gettext_lazy("Network interfaces of their own, which move from VM to VM.")
    search_placeholder = gettext_lazy("Search by address, name, remark or ID")
    search_fields = ("id", "name", "remark", "address", "vm_id")
    default_sort = "-created"
    more_batches = (RENEW_TOGETHER,)
    columns = COLUMNS
    filters = (
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=(*((s.value, s.label) for s in _SHOWN), ("busy", gettext_lazy("In progress"))),
            apply=queries.by_state,
        ),
        Filter("network", gettext_lazy("Type"), choices=NicNetwork.choices),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Create ENI"), "eni-create", dialog=True, permission="network.create_eni"
        ),
    )
    empty = EmptyState(
        gettext_lazy("No ENIs yet"),
        gettext_lazy("An ENI gives a VM one more network interface, inside or outside."),
        icon="network",
        action_label=gettext_lazy("Create ENI"),
        action_url_name="eni-create",
        action_permission="network.create_eni",
        dialog=True,
    )

    def match(self, model: type[Model]) -> search.Match:
        """Find IPv6 addresses too, which no column has."""
        plain = super().match(model)
        return lambda word: plain(word) | Q(nic__in=nics_with_ipv6(word))

    def get_queryset(self) -> QuerySet[Eni]:
        """The region's ENIs with what a row shows."""
        return queries.enis(region_of(self.request))


class EniDetail(VerbList, DetailListView):
    """One ENI, with all that its VM has."""

    kind = "eni"
    permission = "network.view_eni"
    title = gettext_lazy("ENIs of the same VM")
    columns = COLUMNS
    search_fields = ("id", "name", "address")
    more_batches = (RENEW_TOGETHER,)
    empty = EmptyState(
        gettext_lazy("It is not bound"),
        gettext_lazy("Bind it to a VM to use it."),
        icon="network",
    )

    @cached_property
    def eni(self) -> Any:
        """The ENI of the page."""
        return queries.eni(self.kwargs["pk"])

    def get_queryset(self) -> QuerySet[Eni]:
        """What its VM has; nothing while it is bound to none."""
        vm_id = self.eni.vm_id
        return queries.enis_of(vm_id) if vm_id else queries.enis().none()

    def page_context(self) -> dict[str, Any]:
        """Return the head and the facts of the page."""
        row = self.eni
        nic = row.nic
        facts: list[tuple[Any, ...]] = [
            (_("ID"), row.pk, row.pk),
            (_("Type"), row.get_network_display()),
            (_("Address"), row.address, row.address),
            (_("IPv6 address"), nic.ipv6 if nic else None, str(nic.ipv6 or "") if nic else ""),
            (_("Network"), network_of(row)),
            (_("MAC"), nic.mac if nic else None, nic.mac if nic else ""),
            (_("Security group"), group_of(row)),
            (_("Bandwidth"), ui.mbps(nic.bandwidth_mbps) if nic else None),
            (_("Bound to"), bound_to(row)),
            (_("Bound since"), ui.moment(nic.bound_at) if nic and nic.bound_at else None),
            (_("Default egress"), ui.boolean(nic.egress) if nic else None),
            (_("Billing"), method_label(row.billing_method)),
            (_("Expires"), expiry_of_bound(row, bound=bool(row.vm_id))),
            (_("Tags"), ui.tags(row.tags)),
            (_("Remark"), row.remark),
            (_("Region"), row.region.name),
            (_("Created"), ui.moment(row.created_at)),
        ]
        return {
            "object": row,
            "status": status_view(row),
            "crumbs": [(_("ENIs"), reverse("eni-list")), (row.name, "")],
            "actions": menu("eni", row, self.actor),
            "facts": facts,
            "upcoming": upcoming(row, _UPCOMING_WORDS, bound=bool(row.vm_id)),
        }


class EniForm(PaidForm):
    """An ENI that is to be made."""

    field_order = (
        "where",
        "bandwidth_mbps",
        "address",
        "security_group",
        "name",
        "duration",
        "auto_renew",
        "remark",
        "tags",
    )

    where = forms.ChoiceField(label=gettext_lazy("Network"))
    bandwidth_mbps = PlainIntegerField(
        label=gettext_lazy("Bandwidth in Mb/s"),
        min_value=1,
        max_value=100_000,
        initial=5,
        required=False,
        help_text=gettext_lazy("Of an external ENI."),
    )
    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=45,
        required=False,
        help_text=gettext_lazy("Leave it empty for an automatic one."),
    )
    security_group = forms.ChoiceField(label=gettext_lazy("Security group"), required=False)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=30, initial="eni")
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=200, required=False)
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        max_length=1000,
        required=False,
        help_text=gettext_lazy("Separated by commas: web, env=production"),
    )

    def __init__(
        self,
        *args: Any,
        subnets: list[Subnet],
        segments: list[ExternalSegment],
        groups: list[SecurityGroup],
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        inside = [(one.pk, f"{one.vpc.name} · {vpc_queries.with_free(one)}") for one in subnets]
        free = free_words(segments)
        outside = [
            (one.pk, f"{one.name} · {one.get_ip_version_display()} · {free[one.pk]}")
            for one in segments
        ]
        self.fields["where"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            (_("Subnets"), inside),
            (_("External segments"), outside),
        ]
        self.fields["security_group"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            *((one.pk, f"{one.name} ({one.pk})") for one in groups),
            ("", _("None: not filtered")),
        ]
        self.fields["duration"].help_text = _("Of an external ENI; an internal one costs nothing.")

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


class EniCreate(PricedView):
    """Making an ENI."""

    permission = "network.create_eni"
    title = gettext_lazy("Create ENI")
    text = gettext_lazy("Bind it to a VM afterwards.")
    verb = gettext_lazy("Create")
    success_text = gettext_lazy("The ENI was created.")
    sold_out = Instead(gettext_lazy("There is no subnet and no external segment in this region."))

    def _subnets(self) -> QuerySet[Subnet]:
        rows: QuerySet[Subnet] = vpc_queries.subnets(region=region_of(self.request))
        return rows.order_by("-vpc__is_default", "vpc__name", "created_at")

    def _segments(self) -> QuerySet[ExternalSegment]:
        assert self.actor.tenant is not None
        return segments_for(self.actor.tenant, region_of(self.request))

    def _groups(self) -> QuerySet[SecurityGroup]:
        rows: QuerySet[SecurityGroup] = security_queries.security_groups(region_of(self.request))
        return rows.order_by("-is_default", "name")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The networks of the region; the default group, for without one nothing is filtered."""
        groups = list(self._groups())
        default = next((one.pk for one in groups if one.is_default), "")
        return EniForm(
            data,
            subnets=list(self._subnets()),
            segments=list(self._segments()),
            groups=groups,
            initial={"security_group": default},
            tenant=tenant_of(self.actor),
        )

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Say that there is no network, and where one is made."""
        found = super().instead(obj, form)
        if found is None or not self.actor.allows("network.create_vpc"):
            return found
        return Instead(found.text, _("Create VPC"), reverse("vpc-create"))

    def _order(self, data: dict[str, Any]) -> EniOrder:
        paid = paid_of(data)
        where, group = data["where"], data["security_group"]
        inside = where.startswith("subnet-")
        return EniOrder(
            region=region_of(self.request),
            subnet=pick(self._subnets(), where, field="where", what="subnet") if inside else None,
            segment=None
            if inside
            else pick(self._segments(), where, field="where", what="external segment"),
            bandwidth_mbps=0 if inside else data["bandwidth_mbps"] or 0,
            address=data["address"],
            group=pick(self._groups(), group, field="security_group", what="security group")
            if group
            else None,
            name=data["name"],
            remark=data["remark"],
            tags=data["tags"],
            method=paid.method,
            periods=paid.periods,
            auto_renew=paid.auto_renew,
        )

    def quote(self, obj: Any, data: dict[str, Any]) -> Quote:
        """The price of an external one."""
        found = actions.quote_eni(actor=self.actor, order=self._order(data))
        if found is None:
            raise InvalidInput(actions.free_of_charge(), code="nothing_to_price")
        return found

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Make it."""
        return actions.create_eni(actor=self.actor, order=self._order(data), quote_token=self.token)

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "eni-list"


def _lines(verb: str, eni: Any) -> Lines:
    """Return what a verb is about to change, and what becomes of the money."""
    if verb in ("bind_eni", "unbind_eni", "set_eni_egress"):
        return [(_("Address"), eni.address)]
    if verb == "resize_eni" and eni.nic is not None:
        return [(_("Bandwidth now"), ui.mbps(eni.nic.bandwidth_mbps))]
    # An internal ENI costs nothing.
    money = money_at_end(eni.tenant, eni.pk) if verb == "delete_eni" else ""
    return [(_("Money"), money)] if money else []


register(
    Pages(
        kind="eni",
        prefix="enis",
        permission="network.view_eni",
        one=lambda request, pk, binned: queries.eni(pk),
        several=lambda request, ids: queries.enis().filter(pk__in=ids),
        names=Names(longest=300, longest_remark=300, tags=True),
        home=lambda eni: reverse("eni-list"),
        lines=_lines,
    )
)


class BindForm(forms.Form):
    """Which VM."""

    vm = forms.ChoiceField(label=gettext_lazy("VM"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["vm"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


@dialog("eni", "bind_eni")
class EniBind(VerbDialog):
    """To a VM of its region."""

    nothing = Nothing(
        text=gettext_lazy("There is no VM in this region that can take it."),
        label=gettext_lazy("Create VM"),
        url_name="vm-create",
        permission="compute.create_vm",
        dialog=False,
    )

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The VMs of the region."""
        kind = targets.kind_named("vm")
        rows = kind.offered().filter(region=obj.region)[:500] if kind else ()
        return BindForm(data, choices=[(row.pk, f"{row.name} ({row.pk})") for row in rows])

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the VM of the form."""
        return {"vm": targets.find("vm", data["vm"]).row}


class GroupForm(forms.Form):
    """Which group."""

    group = forms.ChoiceField(label=gettext_lazy("Security group"), required=False)

    def __init__(self, *args: Any, groups: list[SecurityGroup], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["group"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            ("", _("None: not filtered")),
            *((one.pk, f"{one.name} ({one.pk})") for one in groups),
        ]


@dialog("eni", "change_eni_group")
class EniGroup(VerbDialog):
    """Another group, or none."""

    def _groups(self, obj: Eni) -> QuerySet[SecurityGroup]:
        rows: QuerySet[SecurityGroup] = security_queries.security_groups(obj.region)
        return rows.order_by("-is_default", "name")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The groups of the region."""
        now = obj.nic.security_group_id if obj.nic else ""
        return GroupForm(data, groups=list(self._groups(obj)), initial={"group": now or ""})

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the group of the form."""
        wanted = data["group"]
        return {
            "group": pick(self._groups(obj), wanted, field="group", what="security group")
            if wanted
            else None
        }


class BandwidthForm(forms.Form):
    """The new bandwidth."""

    bandwidth_mbps = PlainIntegerField(
        label=gettext_lazy("Bandwidth in Mb/s"), min_value=1, max_value=100_000
    )


@dialog("eni", "resize_eni")
class EniResize(VerbDialog, PricedView):
    """More or less bandwidth."""

    form_class = BandwidthForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Twice of what it has now."""
        now = (obj.nic.bandwidth_mbps if obj.nic else None) or 1
        return {"initial": {"bandwidth_mbps": 2 * now}}

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the difference."""
        return actions.quote_eni_bandwidth(
            actor=self.actor, eni=obj, bandwidth_mbps=data["bandwidth_mbps"]
        )

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the bandwidth, at the price that was shown."""
        return {"bandwidth_mbps": data["bandwidth_mbps"], "quote_token": self.token}


@dialog("eni", "renew_eni")
class EniRenew(RenewView, VerbDialog):
    """Paying for more time."""
