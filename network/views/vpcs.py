"""VPCs and subnets."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network import actions
from network.models import PrivateAddress, Subnet, Vpc, cidr
from network.queries import vpcs as vpc_queries
from network.rules import verbs
from network.views import presentation
from network.views.common import (
    NetworkDetail,
    away,
    dialog,
    found,
    name_column,
    owner_link,
    region_of,
    status_column,
)
from network.views.forms import NameForm, SubnetForm, VpcForm
from scloud.web import ui
from scloud.web.http import ConsoleRequest
from scloud.web.lists import Column, EmptyState, ListView, PageAction, RowAction
from scloud.web.views import ActionView


def usage_of(subnet: Subnet) -> str:
    """How many addresses of a subnet are free, of how many."""
    usable = cidr.usable_addresses(subnet.network)
    free = usable - subnet.address_count  # type: ignore[attr-defined]  # annotated by the query
    return _("%(free)s of %(usable)s") % {"free": f"{free:,}", "usable": f"{usable:,}"}


class VpcListView(ListView):
    """All VPCs of the region."""

    kind = "vpc"
    title = gettext_lazy("VPCs")
    text = gettext_lazy("Isolated private networks. Ranges of different VPCs may overlap.")
    permission = "network.view_vpc"
    columns = (
        name_column("vpc-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("cidr", gettext_lazy("Address range"), render=ui.ident, sort="cidr"),
        Column("subnets", gettext_lazy("Subnets"), value="subnet_count", sort="subnet_count",
               align="end"),
        Column("addresses", gettext_lazy("Addresses in use"), value="address_count",
               sort="address_count", align="end"),
        status_column(gettext_lazy("Status")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    search_fields = ("id", "name", "remark", "cidr")
    search_placeholder = gettext_lazy("Search by name, ID or range")
    has_row_menu = True
    page_actions = (
        PageAction(
            gettext_lazy("Create VPC"), "vpc-create", dialog=True, permission="network.create_vpc"
        ),
    )
    empty = EmptyState(
        gettext_lazy("No VPC yet"),
        gettext_lazy("A VPC is a private network of your own. VMs live in its subnets."),
        icon="sitemap",
        action_label=gettext_lazy("Create VPC"),
        action_url_name="vpc-create",
        action_permission="network.create_vpc",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        """Return the region's VPCs."""
        return vpc_queries.vpcs(region_of(self.request))

    def row_actions(self, obj: Vpc) -> list[RowAction]:
        """Return what can be done with a VPC."""
        return vpc_actions(self.request, obj)


def vpc_actions(request: ConsoleRequest, vpc: Vpc) -> list[RowAction]:
    """The menu of a VPC."""
    can = verbs.of_vpc(request.actor, vpc)
    pk = vpc.pk
    return [
        dialog(gettext_lazy("Create subnet"), "plus", "subnet-create", pk, can["create_subnet"]),
        dialog(gettext_lazy("Rename"), "pencil", "vpc-rename", pk, can["rename_vpc"]),
        dialog(
            gettext_lazy("Delete"), "trash", "vpc-delete", pk, can["delete_vpc"],
            danger=True, separator=True,
        ),
    ]  # fmt: skip


class VpcDetailView(NetworkDetail):
    """A VPC with its subnets."""

    kind = "subnet"
    title = gettext_lazy("Subnets")
    permission = "network.view_vpc"
    columns = (
        name_column("subnet-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("cidr", gettext_lazy("Address range"), render=ui.ident, sort="cidr"),
        Column("gateway", gettext_lazy("Gateway"), value=lambda subnet: str(subnet.gateway),
               render=ui.ident),
        Column("free", gettext_lazy("Free addresses"), value=usage_of, sort="-address_count",
               align="end"),
        status_column(gettext_lazy("Status")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    search_fields = ("id", "name", "remark", "cidr")
    has_row_menu = True
    empty = EmptyState(
        gettext_lazy("No subnet yet"),
        gettext_lazy("VMs get their addresses from a subnet. Create one within the VPC's range."),
        icon="network",
    )

    def vpc(self) -> Vpc:
        """The VPC of the page."""
        row: Vpc = found(vpc_queries.vpcs(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        """Return its subnets."""
        return vpc_queries.subnets(vpc=self.vpc())

    def row_actions(self, obj: Subnet) -> list[RowAction]:
        """Return what can be done with a subnet."""
        return subnet_actions(self.request, obj)

    def page_context(self) -> dict[str, Any]:
        """Return the head of the page."""
        vpc = self.vpc()
        create, *others = vpc_actions(self.request, vpc)
        return {
            "object": vpc,
            "status": presentation.status_view(vpc),
            "crumbs": [(_("VPCs"), reverse("vpc-list")), (vpc.name, "")],
            "primary": create,
            "actions": others,
            "facts": [
                (_("ID"), vpc.pk, vpc.pk),
                (_("Address range"), vpc.cidr, vpc.cidr),
                (_("Region"), vpc.region.name),
                (_("Remark"), vpc.remark),
                (_("Created"), ui.moment(vpc.created_at)),
            ],
        }


def subnet_actions(request: ConsoleRequest, subnet: Subnet) -> list[RowAction]:
    """The menu of a subnet."""
    can = verbs.of_subnet(request.actor, subnet)
    pk = subnet.pk
    return [
        dialog(gettext_lazy("Rename"), "pencil", "subnet-rename", pk, can["rename_subnet"]),
        dialog(
            gettext_lazy("Delete"), "trash", "subnet-delete", pk, can["delete_subnet"],
            danger=True, separator=True,
        ),
    ]  # fmt: skip


class SubnetDetailView(NetworkDetail):
    """A subnet with the addresses that are in use."""

    kind = "address"
    title = gettext_lazy("Addresses in use")
    permission = "network.view_subnet"
    columns = (
        Column("address", gettext_lazy("Address"), render=ui.ident, sort="address", main=True),
        Column("vm", gettext_lazy("VM"), value="nic.vm_id", render=owner_link, sort="nic__vm_id"),
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

    def subnet(self) -> Subnet:
        """The subnet of the page."""
        row: Subnet = found(vpc_queries.subnets(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        """Return the addresses that NICs hold."""
        rows: QuerySet[Any] = PrivateAddress.objects.filter(subnet=self.subnet())
        return rows.select_related("nic__security_group").order_by("address")

    def page_context(self) -> dict[str, Any]:
        """Return the head of the page."""
        subnet = self.subnet()
        return {
            "object": subnet,
            "status": presentation.status_view(subnet),
            "crumbs": [
                (_("VPCs"), reverse("vpc-list")),
                (subnet.vpc.name, reverse("vpc-detail", args=[subnet.vpc_id])),
                (subnet.name, ""),
            ],
            "actions": subnet_actions(self.request, subnet),
            "facts": [
                (_("ID"), subnet.pk, subnet.pk),
                (_("Address range"), subnet.cidr, subnet.cidr),
                (_("Gateway"), str(subnet.gateway), str(subnet.gateway)),
                (_("Free addresses"), usage_of(subnet)),
                (_("DNS servers"), ", ".join(subnet.dns_servers)),
                (_("Remark"), subnet.remark),
                (_("Created"), ui.moment(subnet.created_at)),
            ],
        }


class CreateVpcView(ActionView):
    """Create a VPC."""

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


class VpcActionView(ActionView):
    """A dialog about one VPC."""

    live_kind = "vpc"

    def get_object(self) -> Vpc:
        """Return the VPC."""
        row: Vpc = found(vpc_queries.vpcs(), self.kwargs["pk"])
        return row


class RenameVpcView(VpcActionView):
    """Rename a VPC."""

    title = gettext_lazy("Rename VPC")
    verb = gettext_lazy("Save")
    form_class = NameForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Vpc) -> dict[str, Any]:
        """Begin with what it is called now."""
        return {"initial": {"name": obj.name, "remark": obj.remark}}

    def perform(self, obj: Vpc, data: dict[str, Any]) -> Vpc:
        """Rename it."""
        return actions.rename_vpc(actor=self.actor, vpc=obj, **data)


class DeleteVpcView(VpcActionView):
    """Delete a VPC."""

    title = gettext_lazy("Delete VPC")
    text = gettext_lazy("Only a VPC without subnets can be deleted. It cannot be restored.")
    verb = gettext_lazy("Delete")
    danger = True
    success_text = gettext_lazy("The VPC was deleted.")

    def perform(self, obj: Vpc, data: dict[str, Any]) -> None:
        """Delete it."""
        actions.delete_vpc(actor=self.actor, vpc=obj)

    def success_url(self, obj: Any) -> Any:
        """Its own page is gone now."""
        return away(self.request, self.kwargs["pk"], reverse("vpc-list"))


class CreateSubnetView(VpcActionView):
    """Create a subnet in a VPC."""

    title = gettext_lazy("Create subnet")
    verb = gettext_lazy("Create")
    form_class = SubnetForm
    success_text = gettext_lazy("The subnet is being created.")

    def get_form_kwargs(self, obj: Vpc) -> dict[str, Any]:
        """Offer the first range that is still free."""
        used = [subnet.network for subnet in Subnet.objects.filter(vpc=obj)]
        free = cidr.first_free_range(obj.network, used)
        return {"initial": {"cidr": str(free) if free else ""}}

    def get_dialog_context(self, obj: Vpc) -> dict[str, Any]:
        """Say within what it must lie."""
        return {"lines": [(_("Range of the VPC"), obj.cidr)]}

    def perform(self, obj: Vpc, data: dict[str, Any]) -> Subnet:
        """Create it."""
        return actions.create_subnet(actor=self.actor, vpc=obj, **data)

    def success_url(self, obj: Vpc) -> Any:
        """Stay on the page, where the row appears."""
        return None if self.request.htmx else reverse("vpc-detail", args=[obj.pk])


class SubnetActionView(ActionView):
    """A dialog about one subnet."""

    live_kind = "subnet"

    def get_object(self) -> Subnet:
        """Return the subnet."""
        row: Subnet = found(vpc_queries.subnets(), self.kwargs["pk"])
        return row


class RenameSubnetView(SubnetActionView):
    """Rename a subnet."""

    title = gettext_lazy("Rename subnet")
    verb = gettext_lazy("Save")
    form_class = NameForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Subnet) -> dict[str, Any]:
        """Begin with what it is called now."""
        return {"initial": {"name": obj.name, "remark": obj.remark}}

    def perform(self, obj: Subnet, data: dict[str, Any]) -> Subnet:
        """Rename it."""
        return actions.rename_subnet(actor=self.actor, subnet=obj, **data)


class DeleteSubnetView(SubnetActionView):
    """Delete a subnet."""

    title = gettext_lazy("Delete subnet")
    text = gettext_lazy(
        "Only a subnet that no VM uses can be deleted, the recycle bin included. "
        "It cannot be restored."
    )
    verb = gettext_lazy("Delete")
    danger = True
    success_text = gettext_lazy("The subnet was deleted.")

    def perform(self, obj: Subnet, data: dict[str, Any]) -> str:
        """Delete it; remember where its VPC's page is."""
        back = reverse("vpc-detail", args=[obj.vpc_id])
        self.back = back
        actions.delete_subnet(actor=self.actor, subnet=obj)
        return back

    def success_url(self, obj: Any) -> Any:
        """Its own page is gone now."""
        return away(self.request, self.kwargs["pk"], self.back)
