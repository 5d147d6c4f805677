"""External IPs: the list, the page of one, buying, and the dialogs of their verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models.prices import MethodChoice
from billing.views.dialogs import (
    RENEW_TOGETHER,
    PaidForm,
    PricedView,
    RenewView,
    expiry,
    expiry_of_bound,
    method_label,
    paid_of,
)
from billing.views.upcoming import upcoming
from network.actions.common import tenant_of
from network.actions.external_addresses import free_counts
from network.actions.external_ips import (
    create_external_ips,
    quote_bandwidth,
    quote_external_ips,
)
from network.models import ExternalIp, ExternalSegment, IpVersion
from network.queries import external_ips as queries
from network.rules import targets
from network.rules.external_orders import MOST_AT_ONCE, ExternalIpOrder, segments_for
from network.states import external_ips as states
from network.states.external_ips import ExternalIpStatus
from network.verbs.external_ips import EXTERNAL_IPS
from network.views.common import owner_link, region_of
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
_SHOWN = (
    ExternalIpStatus.FREE,
    ExternalIpStatus.BOUND,
    ExternalIpStatus.EXPIRED,
    ExternalIpStatus.FAILED,
)
_UPCOMING_WORDS = {"destruction": gettext_lazy("The address is given back for good")}
AT_NEXT_BOOT = gettext_lazy("Applies at the next boot of the VM.")


def status_view(row: ExternalIp) -> StatusView:
    """Return the state as the pages show it, with the last failure."""
    return StatusView(
        label=EXTERNAL_IPS.label(row.status, row.task),
        tone=_TONES.get(states.external_ip_tone(row.status, row.task), "off"),
        detail="" if row.task else row.failure,
    )


def bound_since(row: ExternalIp) -> Any:
    """Return since when it is bound, and below it what the guest has still to do."""
    if row.bound_at is None:
        return ui.NONE
    later = AT_NEXT_BOOT if row.at_next_boot and not row.task else ""
    return ui.two(ui.reltime(row.bound_at), later)


def address_and_segment(row: ExternalIp) -> Any:
    """Return the address, with the segment below."""
    return ui.two(ui.ident(row.address), row.segment.name if row.segment else "")


def egress_word(row: ExternalIp) -> str:
    """Return whether it is the default egress, in words."""
    return _("Default egress") if row.egress else ""


def route_word(row: ExternalIp) -> str:
    """Return what its segment's gateway is for, in words."""
    return str(row.segment.get_route_policy_display()) if row.segment else ""


COLUMNS = (
    Column(
        "name",
        gettext_lazy("Name / ID"),
        value=lambda row: ui.link(
            row.name, reverse("external-ip-detail", args=[row.pk]), ui.ident(row.pk)
        ),
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
    Column(
        "address",
        gettext_lazy("IP / segment"),
        value=address_and_segment,
        sort="address",
        export="address",
        nowrap=True,
    ),
    Column(
        "version",
        gettext_lazy("Version"),
        value="get_ip_version_display",
        sort="ip_version",
        nowrap=True,
    ),
    Column("egress", gettext_lazy("Egress"), value=egress_word, sort="egress", nowrap=True),
    Column(
        "bandwidth",
        gettext_lazy("Bandwidth"),
        value="bandwidth_mbps",
        render=ui.mbps,
        sort="bandwidth_mbps",
        align="end",
        nowrap=True,
    ),
    Column("routes", gettext_lazy("Routes"), value=route_word, nowrap=True),
    Column(
        "target",
        gettext_lazy("Bound to"),
        value="target_id",
        render=owner_link,
        sort="target_id",
        nowrap=True,
    ),
    Column(
        "bound",
        gettext_lazy("Bound since"),
        value=bound_since,
        sort="bound_at",
        export="bound_at",
    ),
    Column(
        "billing",
        gettext_lazy("Billing"),
        value=lambda row: method_label(row.billing_method),
        sort="billing_method",
        nowrap=True,
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


class ExternalIpList(VerbList):
    """All external IPs of the tenant in the chosen region."""

    kind = "external_ip"
    permission = "network.view_external_ip"
    title = gettext_lazy("External IPs")
    text = gettext_lazy("Addresses by which VMs are reached from outside.")
    search_placeholder = gettext_lazy("Search by address, name, remark or ID")
    search_fields = ("id", "name", "remark", "address", "target_id")
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
        Filter(
            "version",
            gettext_lazy("Version"),
            choices=[(str(value), label) for value, label in IpVersion.choices],
            lookup="ip_version__in",
        ),
        Filter(
            "segment",
            gettext_lazy("Segment"),
            choices=lambda request: _segment_choices(request),
            lookup="segment__in",
        ),
        Filter(
            "billing",
            gettext_lazy("Billing"),
            choices=MethodChoice.choices,
            apply=lambda rows, values: rows.filter(billing_method__in=values),
        ),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Buy external IP"),
            "external-ip-create",
            dialog=True,
            permission="network.create_external_ip",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No external IPs yet"),
        gettext_lazy(
            "An external IP makes a VM reachable from outside. You see the price before you pay."
        ),
        icon="world",
        action_label=gettext_lazy("Buy your first external IP"),
        action_url_name="external-ip-create",
        action_permission="network.create_external_ip",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[ExternalIp]:
        """The region's external IPs with what a row shows."""
        return queries.external_ips(region_of(self.request))


def _segment_choices(request: Any) -> list[tuple[str, str]]:
    if not request.region or request.actor.tenant is None:
        return []
    rows = segments_for(request.actor.tenant, request.region)
    return [(one.pk, one.name) for one in rows]


class ExternalIpDetail(VerbList, DetailListView):
    """One external IP, with all that its VM has."""

    kind = "external_ip"
    permission = "network.view_external_ip"
    title = gettext_lazy("External IPs of the same VM")
    columns = COLUMNS
    search_fields = ("id", "name", "address")
    more_batches = (RENEW_TOGETHER,)
    empty = EmptyState(
        gettext_lazy("It is not bound"),
        gettext_lazy("Bind it to a VM to have the VM reached from outside."),
        icon="world",
    )

    @cached_property
    def external_ip(self) -> Any:
        """The external IP of the page, also while it is in the recycle bin."""
        return queries.external_ip(self.kwargs["pk"], binned=True)

    def get_queryset(self) -> QuerySet[ExternalIp]:
        """What its target has; nothing while it is bound to nothing."""
        row = self.external_ip
        if not row.target_id:
            return queries.external_ips().none()
        return queries.external_ips_of(row.target_kind, row.target_id)

    def page_context(self) -> dict[str, Any]:
        """Return the head and the facts of the page."""
        row = self.external_ip
        facts: list[tuple[Any, ...]] = [
            (_("ID"), row.pk, row.pk),
            (_("Address"), row.address, row.address),
            (_("Segment"), row.segment.name if row.segment else None),
            (_("Version"), row.get_ip_version_display()),
            (_("Routes"), route_word(row)),
            (_("Bandwidth"), ui.mbps(row.bandwidth_mbps)),
            (_("Bound to"), owner_link(row.target_id)),
            (_("Bound since"), bound_since(row)),
            (_("Default egress"), ui.boolean(row.egress)),
            (_("Billing"), method_label(row.billing_method)),
            (_("Expires"), expiry_of_bound(row, bound=row.nic_id is not None)),
            (_("Tags"), ui.tags(row.tags)),
            (_("Remark"), row.remark),
            (_("Region"), row.region.name),
            (_("Created"), ui.moment(row.created_at)),
        ]
        return {
            "object": row,
            "status": status_view(row),
            "crumbs": [(_("External IPs"), reverse("external-ip-list")), (row.name, "")],
            "actions": menu("external_ip", row, self.actor),
            "facts": facts,
            "upcoming": upcoming(row, _UPCOMING_WORDS, bound=row.nic_id is not None),
        }


def free_words(segments: Sequence[ExternalSegment]) -> dict[str, str]:
    """What choices say of the free addresses of segments."""
    counts = free_counts(segments)
    return {pk: _("%(free)s free") % {"free": f"{free:,}"} for pk, free in counts.items()}


class ExternalIpForm(PaidForm):
    """External IPs that are to be bought."""

    field_order = (
        "segment",
        "bandwidth_mbps",
        "count",
        "address",
        "name",
        "duration",
        "auto_renew",
        "remark",
        "tags",
    )

    segment = forms.ChoiceField(label=gettext_lazy("Segment"))
    bandwidth_mbps = PlainIntegerField(
        label=gettext_lazy("Bandwidth in Mb/s"), min_value=1, max_value=100_000, initial=5
    )
    count = PlainIntegerField(
        label=gettext_lazy("Number"), min_value=1, max_value=MOST_AT_ONCE, initial=1
    )
    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=45,
        required=False,
        help_text=gettext_lazy("Leave it empty for an automatic one."),
    )
    name = forms.CharField(label=gettext_lazy("Name"), max_length=30, initial="eip")
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=200, required=False)
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        max_length=1000,
        required=False,
        help_text=gettext_lazy("Separated by commas: web, env=production"),
    )

    def __init__(self, *args: Any, segments: list[ExternalSegment], **more: Any) -> None:
        super().__init__(*args, **more)
        free = free_words(segments)
        choices = [
            (
                one.pk,
                (
                    f"{one.name} ({one.get_ip_version_display()}, "
                    f"{one.get_route_policy_display()}, "
                    f"{one.bandwidth_min_mbps}–{one.bandwidth_max_mbps} Mb/s, {free[one.pk]})"
                ),
            )
            for one in segments
        ]
        self.fields["segment"].choices = choices  # type: ignore[attr-defined]  # ChoiceField

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


class ExternalIpCreate(PricedView):
    """Buying external IPs."""

    permission = "network.create_external_ip"
    title = gettext_lazy("Buy external IP")
    text = gettext_lazy("Bind it to a VM afterwards.")
    verb = gettext_lazy("Buy now")
    success_text = gettext_lazy("The external IP is yours.")
    sold_out = Instead(gettext_lazy("No external segment is available to you in this region."))

    def _segments(self) -> QuerySet[ExternalSegment]:
        assert self.actor.tenant is not None
        return segments_for(self.actor.tenant, region_of(self.request))

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The segments of the region."""
        return ExternalIpForm(data, segments=list(self._segments()), tenant=tenant_of(self.actor))

    def _order(self, data: dict[str, Any]) -> ExternalIpOrder:
        paid = paid_of(data)
        return ExternalIpOrder(
            region=region_of(self.request),
            segment=pick(self._segments(), data["segment"], field="segment", what="segment"),
            bandwidth_mbps=data["bandwidth_mbps"],
            count=data["count"],
            addresses=[data["address"]] if data["address"] else [],
            name=data["name"],
            remark=data["remark"],
            tags=data["tags"],
            method=paid.method,
            periods=paid.periods,
            auto_renew=paid.auto_renew,
        )

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the external IPs."""
        return quote_external_ips(actor=self.actor, order=self._order(data))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Buy them."""
        return create_external_ips(
            actor=self.actor, order=self._order(data), quote_token=self.token
        )

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "external-ip-list"


def _lines(verb: str, row: Any) -> Lines:
    """Return what a verb is about to change, as it is now."""
    if verb in ("bind_external_ip", "unbind_external_ip", "set_default_egress"):
        return [(_("Address"), row.address)]
    if verb == "resize_external_ip":
        return [(_("Bandwidth now"), ui.mbps(row.bandwidth_mbps))]
    return []


register(
    Pages(
        kind="external_ip",
        prefix="external-ips",
        permission="network.view_external_ip",
        one=lambda request, pk, binned: queries.external_ip(pk, binned=binned),
        several=lambda request, ids: queries.external_ips().filter(pk__in=ids),
        names=Names(longest=300, longest_remark=300, tags=True),
        lines=_lines,
        home=lambda row: reverse("external-ip-list"),
    )
)


class BindForm(forms.Form):
    """Which VM."""

    target = forms.ChoiceField(label=gettext_lazy("VM"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["target"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


@dialog("external_ip", "bind_external_ip")
class ExternalIpBind(VerbDialog):
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
        return {"target": targets.find("vm", data["target"])}


class BandwidthForm(forms.Form):
    """The new bandwidth."""

    bandwidth_mbps = PlainIntegerField(
        label=gettext_lazy("Bandwidth in Mb/s"), min_value=1, max_value=100_000
    )


@dialog("external_ip", "resize_external_ip")
class ExternalIpResize(VerbDialog, PricedView):
    """More or less bandwidth."""

    form_class = BandwidthForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Twice of what it has now, as far as its segment offers that."""
        most = obj.segment.bandwidth_max_mbps if obj.segment else obj.bandwidth_mbps
        return {"initial": {"bandwidth_mbps": min(2 * obj.bandwidth_mbps, most)}}

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the difference."""
        return quote_bandwidth(
            actor=self.actor, external_ip=obj, bandwidth_mbps=data["bandwidth_mbps"]
        )

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the bandwidth, at the price that was shown."""
        return {"bandwidth_mbps": data["bandwidth_mbps"], "quote_token": self.token}


@dialog("external_ip", "renew_external_ip")
class ExternalIpRenew(RenewView, VerbDialog):
    """Paying for more time."""
