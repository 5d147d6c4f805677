"""VPCs and their subnets."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from network.models import cidr
from network.models.base import FabricResource
from network.models.cidr import StaticRoute
from scloud.lib.errors import ScloudError
from scloud.lib.ids import new_id


def vpc_id() -> str:
    return new_id("vpc")


def subnet_id() -> str:
    return new_id("subnet")


class Vpc(FabricResource):
    """A tenant's isolated network. Ranges of different VPCs may overlap."""

    KIND: ClassVar[str] = "vpc"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=vpc_id, editable=False)
    cidr = models.CharField(_("address range"), max_length=18)
    #: Given to it when the first of its subnets turns IPv6 on, and kept from then on.
    ipv6_cidr = models.CharField(
        _("IPv6 range"), max_length=43, blank=True, default="", db_default="", editable=False
    )
    is_default = models.BooleanField(_("default"), default=False, editable=False)

    class Meta(FabricResource.Meta):
        ordering = ["-created_at", "id"]
        verbose_name = _("VPC")
        verbose_name_plural = _("VPCs")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "region"],
                condition=models.Q(is_default=True),
                name="network_one_default_vpc",
            ),
            models.UniqueConstraint(
                fields=["ipv6_cidr"],
                condition=~models.Q(ipv6_cidr=""),
                name="network_vpc_ipv6_once",
            ),
            models.CheckConstraint(
                name="network_vpc_ipv6_mask",
                condition=models.Q(ipv6_cidr="")
                | models.Q(ipv6_cidr__startswith="fd", ipv6_cidr__endswith="/48"),
            ),
        ]

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(self.cidr)

    @property
    def ipv6_network(self) -> IPv6Network | None:
        """The private IPv6 range; None while none of its subnets ever had IPv6."""
        return IPv6Network(self.ipv6_cidr) if self.ipv6_cidr else None

    def clean(self) -> None:
        """Refuse a range that a VPC cannot have."""
        try:
            cidr.check_vpc_range(cidr.parse_ipv4_network(self.cidr))
        except ScloudError as error:
            raise ValidationError({"cidr": error.message}) from error


class Subnet(FabricResource):
    """A part of a VPC's range: one broadcast domain with gateway and DHCP."""

    KIND: ClassVar[str] = "subnet"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=subnet_id, editable=False
    )
    vpc = models.ForeignKey(Vpc, models.PROTECT, verbose_name=_("VPC"), related_name="subnets")
    cidr = models.CharField(_("address range"), max_length=18)
    dns_servers = ArrayField(
        models.GenericIPAddressField(protocol="ipv4"),
        verbose_name=_("DNS servers"),
        default=list,
        blank=True,
        size=3,
    )

    #: Empty while IPv6 is off. The NICs' addresses in it follow from their MACs.
    ipv6_cidr = models.CharField(
        _("IPv6 range"), max_length=43, blank=True, default="", db_default="", editable=False
    )
    #: A column of their own: processes of earlier releases read ``dns_servers`` as IPv4.
    ipv6_dns_servers = ArrayField(
        models.GenericIPAddressField(protocol="ipv6"),
        verbose_name=_("IPv6 DNS servers"),
        default=list,
        db_default=[],
        blank=True,
        size=3,
    )

    #: "192.0.2.0/24 via 10.0.0.9"; read by ``static_routes``.
    routes = ArrayField(
        models.CharField(max_length=40),
        verbose_name=_("static routes"),
        default=list,
        db_default=[],
        blank=True,
        size=20,
        editable=False,
    )

    class Meta(FabricResource.Meta):
        ordering = ["vpc", "created_at", "id"]
        verbose_name = _("subnet")
        verbose_name_plural = _("subnets")
        constraints = [
            models.UniqueConstraint(fields=["vpc", "cidr"], name="network_subnet_range_once"),
            models.UniqueConstraint(
                fields=["ipv6_cidr"],
                condition=~models.Q(ipv6_cidr=""),
                name="network_subnet_ipv6_once",
            ),
            models.CheckConstraint(
                name="network_subnet_ipv6_mask",
                condition=models.Q(ipv6_cidr="")
                | models.Q(ipv6_cidr__startswith="fd", ipv6_cidr__endswith="/64"),
            ),
        ]

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(self.cidr)

    @property
    def gateway(self) -> IPv4Address:
        return cidr.gateway_of(self.network)

    @property
    def ipv6_network(self) -> IPv6Network | None:
        """The private IPv6 range; None while IPv6 is off."""
        return IPv6Network(self.ipv6_cidr) if self.ipv6_cidr else None

    @property
    def ipv6_gateway(self) -> IPv6Address | None:
        """The router's address in it; None while IPv6 is off."""
        network = self.ipv6_network
        return None if network is None else cidr.ipv6_gateway_of(network)

    @property
    def name_servers(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The DNS servers of both IP versions, those of IPv4 first."""
        return tuple(ip_address(one) for one in (*self.dns_servers, *self.ipv6_dns_servers))

    @property
    def static_routes(self) -> tuple[StaticRoute, ...]:
        return tuple(StaticRoute.parse(text) for text in self.routes)

    def clean(self) -> None:
        """Refuse a range that does not fit into the VPC."""
        others = [s.network for s in self.vpc.subnets.exclude(pk=self.pk)]
        outer, inner = self.vpc.ipv6_network, self.ipv6_network
        if inner is not None and (outer is None or not inner.subnet_of(outer)):
            raise ValidationError({"ipv6_cidr": _("It is not within the VPC's IPv6 range.")})
        try:
            network = cidr.parse_ipv4_network(self.cidr)
            cidr.check_subnet_range(network, self.vpc.network, others)
        except ScloudError as error:
            raise ValidationError({"cidr": error.message}) from error
