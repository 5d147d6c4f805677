"""The picture of a region's network: VPCs, subnets, VMs, addresses, security groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from network.models import Nic, Vpc
from network.queries import topology as queries
from network.queries.reach import addresses_of
from network.queries.topology import SubnetNode, VpcNode
from network.views import owners
from network.views.common import region_of
from network.views.drawing import Part, Thing, picture
from scloud.lib.errors import NotFound
from scloud.web.views import ConsoleView

#: The page of a 1280 pixel screen beside the navigation, and a telephone's.
WIDE: Final = 1012
NARROW: Final = 340


class TopologyPage(ConsoleView):
    """What is connected to what."""

    permission = "network.view_vpc"
    title = gettext_lazy("Topology")

    def get(self, request: HttpRequest) -> HttpResponse:
        """Draw the region's VPCs, or one of them."""
        region = region_of(self.request)
        chosen = request.GET.get("vpc", "")
        nodes = queries.topology(region, vpc_id=chosen)
        if chosen and not nodes:
            raise NotFound(_("There is no VPC %(vpc_id)s.") % {"vpc_id": chosen[:60]})
        nics = [nic for node in nodes for subnet in node.subnets for nic in subnet.nics]
        names = owners.names(nic.vm_id for nic in nics)
        parts = [_vpc(node, names) for node in nodes]
        return self.render(
            "network/topology.html",
            {
                "vpcs": Vpc.objects.filter(region=region).order_by("-is_default", "name", "pk"),
                "chosen": chosen,
                "pictures": [
                    ("wide", picture(parts, WIDE)),
                    ("narrow", picture(parts, NARROW)),
                ]
                if parts
                else [],
                "summary": _summary(nodes, nics),
            },
        )


def _summary(nodes: list[VpcNode], nics: list[Nic]) -> str:
    subnets = sum(len(node.subnets) for node in nodes)
    vms = len({nic.vm_id for nic in nics})
    said: tuple[str, ...] = (
        ngettext("%(n)s VPC", "%(n)s VPCs", len(nodes)) % {"n": len(nodes)},
        ngettext("%(n)s subnet", "%(n)s subnets", subnets) % {"n": subnets},
        ngettext("%(n)s VM", "%(n)s VMs", vms) % {"n": vms},
    )
    unfiltered = sum(nic.security_group is None for nic in nics)
    if unfiltered:
        text = ngettext("%(n)s not filtered", "%(n)s not filtered", unfiltered)
        said = (*said, text % {"n": unfiltered})
    return " · ".join(said)


def _vpc(node: VpcNode, names: Mapping[str, str]) -> Part:
    vpc = node.vpc
    return Part(
        url=reverse("vpc-detail", args=[vpc.pk]),
        label=_("VPC %(name)s, %(cidr)s") % {"name": vpc.name, "cidr": vpc.cidr},
        name=vpc.name,
        detail=vpc.cidr,
        note="" if node.subnets else _("No subnets"),
        parts=[_subnet(one, names) for one in node.subnets],
    )


def _subnet(node: SubnetNode, names: Mapping[str, str]) -> Part:
    subnet = node.subnet
    ranges = ", ".join(one for one in (subnet.cidr, subnet.ipv6_cidr) if one)
    note = ""
    if node.more:
        note = ngettext("%(n)s more VM", "%(n)s more VMs", node.more) % {"n": node.more}
    elif not node.nics:
        note = _("No VMs")
    return Part(
        url=reverse("subnet-detail", args=[subnet.pk]),
        label=_("Subnet %(name)s, %(cidr)s") % {"name": subnet.name, "cidr": ranges},
        name=subnet.name,
        detail=subnet.cidr,
        note=note,
        things=[_thing(nic, names, node.outside.get(str(nic.vm_id), ())) for nic in node.nics],
    )


def _thing(nic: Nic, names: Mapping[str, str], outside: Sequence[Nic]) -> Thing:
    vm_id = str(nic.vm_id)
    name = names.get(vm_id, vm_id)
    inside = [str(one) for one in addresses_of(nic)]
    addresses = ", ".join(inside)
    group = nic.security_group
    said = [_("VM %(name)s") % {"name": name}, addresses, _filtered(nic)]
    external: list[str] = []
    for one in outside:
        external += map(str, addresses_of(one))
    if external:
        said.append(_("external IPs %(addresses)s") % {"addresses": ", ".join(external)})
        said += sorted({_filtered(one) for one in outside if addresses_of(one)})
    return Thing(
        url=owners.url(vm_id),
        label=", ".join(said),
        name=name,
        # A tile has room for one; IPv4 comes first.
        address=inside[0] if inside else "",
        external=", ".join(external),
        group=group.name if group else _("Not filtered"),
        filtered=group is not None,
    )


def _filtered(nic: Nic) -> str:
    group = nic.security_group
    if group is None:
        return _("not filtered")
    return _("security group %(name)s") % {"name": group.name}
