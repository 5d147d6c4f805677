"""VPCs and subnets."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network import actions
from network.models import PrivateAddress, Subnet, Vpc, cidr
from network.queries import vpcs as vpc_queries
from network.queries.nics import nics_with_ipv6
from network.views import presentation
from network.views.common import (
    NAMES,
    NetworkDetail,
    found,
    name_column,
    owner_link,
    region_of,
    status_column,
)
from network.views.forms import SubnetForm, SubnetOptionsForm, VpcForm
from scloud.lib import search
from scloud.web import ui
from scloud.web.lists import Column, EmptyState, PageAction
from scloud.web.verbs import Pages, VerbDialog, VerbList, menu, register
from scloud.web.verbs import dialog as verb_dialog
from scloud.web.views import ActionView


def usage_of(subnet: Subnet) -> str:
    """How many addresses of a subnet are free, of how many."""
    usable = cidr.usable_addresses(subnet.network)
    free = vpc_queries.free_addresses(subnet)
    return _("%(free)s of %(usable)s") % {"free": f"{free:,}", "usable": f"{usable:,}"}


class VpcList(VerbList):
    kind = "vpc"
    title = gettext_lazy("VPCs")
    text = gettext_lazy("Isolated private networks. Ranges of different VPCs may overlap.")
    permission = "network.view_vpc"
    columns = (
        name_column("vpc-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("cidr", gettext_lazy("Address range"), render=ui.ident, sort="cidr"),
        Column("ipv6", gettext_lazy("IPv6 range"), value="ipv6_cidr", render=ui.ident,
               sort="ipv6_cidr", default=False),
        Column("subnets", gettext_lazy("Subnets"), value="subnet_count", sort="subnet_count",
               align="end"),
        Column("addresses", gettext_lazy("Addresses in use"), value="address_count",
               sort="address_count", align="end"),
        status_column(gettext_lazy("Status")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    search_fields = ("id", "name", "remark", "cidr", "ipv6_cidr")
    search_placeholder = gettext_lazy("Search by name, ID or range")
    page_actions = (
        PageAction(
            gettext_lazy("Create VPC"), "vpc-create", dialog=True, permission="network.create_vpc"
        ),
    )
    empty = EmptyState(
        gettext_lazy("No VPC yet"),
        gettext_lazy("A VPC is a private network of your own. VMs are connected to its subnets."),
        icon="sitemap",
        action_label=gettext_lazy("Create VPC"),
        action_url_name="vpc-create",
        action_permission="network.create_vpc",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return vpc_queries.vpcs(region_of(self.request))


class VpcDetail(VerbList, NetworkDetail):
    kind = "subnet"
    title = gettext_lazy("Subnets")
    permission = "network.view_vpc"
    columns = (
        name_column("subnet-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("cidr", gettext_lazy("Address range"), render=ui.ident, sort="cidr"),
        Column("ipv6", gettext_lazy("IPv6 range"), value="ipv6_cidr", render=ui.ident,
               sort="ipv6_cidr"),
        Column("gateway", gettext_lazy("Gateway"), value=lambda subnet: str(subnet.gateway),
               render=ui.ident),
        Column("free", gettext_lazy("Free addresses"), value=usage_of, sort="-address_count",
               align="end"),
        status_column(gettext_lazy("Status")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    search_fields = ("id", "name", "remark", "cidr", "ipv6_cidr")
    empty = EmptyState(
        gettext_lazy("No subnet yet"),
        gettext_lazy("VMs get their addresses from a subnet. Create one within the VPC's range."),
        icon="network",
    )

    def vpc(self) -> Vpc:
        row: Vpc = found(vpc_queries.vpcs(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        return vpc_queries.subnets(vpc=self.vpc())

    def page_context(self) -> dict[str, Any]:
        vpc = self.vpc()
        create, *others = menu("vpc", vpc, self.actor)
        return {
            "object": vpc,
            "status": presentation.status_view(vpc),
            "crumbs": [(_("VPCs"), reverse("vpc-list")), (vpc.name, "")],
            "primary": create,
            "actions": others,
            "facts": [
                (_("ID"), vpc.pk, vpc.pk),
                (_("Address range"), vpc.cidr, vpc.cidr),
                (_("IPv6 range"), vpc.ipv6_cidr, vpc.ipv6_cidr),
                (_("Region"), vpc.region.name),
                (_("Remark"), vpc.remark),
                (_("Created"), ui.moment(vpc.created_at)),
            ],
        }


def _holder_of(held: PrivateAddress) -> Any:
    """The VM that has the address; of one that is being released, who had it."""
    if held.nic is not None:
        return owner_link(held.nic.vm_id)
    assert held.leaving is not None
    return ui.two(owner_link(held.leaving.vm_id), _("Being released"))


def _ipv6_word(held: PrivateAddress) -> str:
    """The IPv6 address of who has the address, for a workbook."""
    found = held.nic.ipv6 if held.nic is not None else None
    return "" if found is None else str(found)


class SubnetDetail(NetworkDetail):
    kind = "address"
    title = gettext_lazy("Addresses in use")
    permission = "network.view_subnet"
    columns = (
        Column("address", gettext_lazy("Address"), render=ui.ident, sort="address", main=True),
        Column(
            "vm",
            gettext_lazy("VM"),
            value=_holder_of,
            sort="nic__vm_id",
            export=lambda held: (held.nic or held.leaving).vm_id,
        ),
        Column(
            "ipv6",
            gettext_lazy("IPv6 address"),
            value="nic.ipv6",
            render=ui.ident,
            export=_ipv6_word,
        ),
        Column("device", gettext_lazy("Interface"), value="nic.device"),
        Column("mac", gettext_lazy("MAC"), value="nic.mac", render=ui.ident, sort="nic__mac"),
        Column("group", gettext_lazy("Security group"), value="nic.security_group.name"),
        Column("since", gettext_lazy("Since"), value="created_at", sort="created_at"),
    )
    search_fields = ("address", "nic__vm_id", "nic__mac")
    search_placeholder = gettext_lazy("Search by address, VM or MAC")
    empty = EmptyState(
        gettext_lazy("No address is in use"),
        gettext_lazy("The VMs that you create in this subnet appear here."),
        icon="network",
    )

    def match(self, model: type[Model]) -> search.Match:
        """Find IPv6 addresses too, which no column has."""
        plain = super().match(model)
        return lambda word: plain(word) | Q(nic__in=nics_with_ipv6(word))

    def subnet(self) -> Subnet:
        row: Subnet = found(vpc_queries.subnets(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        """Return the addresses that NICs hold."""
        rows: QuerySet[Any] = PrivateAddress.objects.filter(subnet=self.subnet())
        return rows.select_related("nic__security_group", "nic__subnet", "leaving").order_by(
            "address"
        )

    def page_context(self) -> dict[str, Any]:
        subnet = self.subnet()
        six = str(subnet.ipv6_gateway or "")
        return {
            "object": subnet,
            "status": presentation.status_view(subnet),
            "crumbs": [
                (_("VPCs"), reverse("vpc-list")),
                (subnet.vpc.name, reverse("vpc-detail", args=[subnet.vpc_id])),
                (subnet.name, ""),
            ],
            "actions": menu("subnet", subnet, self.actor),
            "facts": [
                (_("ID"), subnet.pk, subnet.pk),
                (_("Address range"), subnet.cidr, subnet.cidr),
                (_("Gateway"), str(subnet.gateway), str(subnet.gateway)),
                (_("IPv6 range"), subnet.ipv6_cidr or _("Off"), subnet.ipv6_cidr),
                (_("IPv6 gateway"), six, six),
                (_("Free addresses"), usage_of(subnet)),
                (_("DNS servers"), ", ".join(map(str, subnet.name_servers))),
                (_("Static routes"), ", ".join(subnet.routes)),
                (_("Remark"), subnet.remark),
                (_("Created"), ui.moment(subnet.created_at)),
            ],
        }


class VpcCreate(ActionView):
    title = gettext_lazy("Create VPC")
    verb = gettext_lazy("Create")
    form_class = VpcForm
    success_text = gettext_lazy("The VPC is being created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Vpc:
        """Create it in the region that the user works in."""
        return actions.create_vpc(actor=self.actor, region=region_of(self.request), **data)

    def success_url(self, obj: Any) -> Any:
        """Stay on the list, where the row appears."""
        return None if self.request.htmx else reverse("vpc-list")


register(
    Pages(
        kind="vpc",
        prefix="network/vpcs",
        one=lambda request, pk, binned: found(vpc_queries.vpcs(), pk),
        several=lambda request, ids: vpc_queries.vpcs().filter(pk__in=ids),
        names=NAMES,
        home=lambda vpc: reverse("vpc-list"),
    )
)
register(
    Pages(
        kind="subnet",
        prefix="network/subnets",
        one=lambda request, pk, binned: found(vpc_queries.subnets(), pk),
        several=lambda request, ids: vpc_queries.subnets().filter(pk__in=ids),
        names=NAMES,
        home=lambda subnet: reverse("vpc-detail", args=[subnet.vpc_id]),
    )
)


@verb_dialog("vpc", "create_subnet")
class SubnetCreate(VerbDialog):
    form_class = SubnetForm

    def get_form_kwargs(self, obj: Vpc) -> dict[str, Any]:
        """Offer the first range that is still free."""
        used = [subnet.network for subnet in Subnet.objects.filter(vpc=obj)]
        free = cidr.first_free_range(obj.network, used)
        return {"initial": {"cidr": str(free) if free else ""}}

    def get_dialog_context(self, obj: Vpc) -> dict[str, Any]:
        """Say within what it must lie."""
        lines = [(_("VPC range"), obj.cidr)]
        return {**super().get_dialog_context(obj), "lines": lines}

    def success_url(self, obj: Vpc) -> Any:
        """Stay on the page, where the row appears."""
        return None if self.request.htmx else reverse("vpc-detail", args=[obj.pk])


@verb_dialog("subnet", "configure_subnet")
class SubnetOptions(VerbDialog):
    form_class = SubnetOptionsForm

    def get_form_kwargs(self, obj: Subnet) -> dict[str, Any]:
        """What guests are told now."""
        servers = ", ".join(map(str, obj.name_servers))
        now = {"dns_servers": servers, "routes": "\n".join(obj.routes)}
        return {"initial": now}

    def get_dialog_context(self, obj: Subnet) -> dict[str, Any]:
        """Say what the addresses must fit."""
        lines = [
            (_("Address range"), obj.cidr),
            (_("Gateway"), str(obj.gateway)),
            (_("VPC range"), obj.vpc.cidr),
        ]
        return {**super().get_dialog_context(obj), "lines": lines}
