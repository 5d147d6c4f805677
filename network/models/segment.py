"""External segments: ranges of addresses outside the platform that VMs can be reached at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar, Final

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network.models import outside
from network.models.base import Applied
from network.models.outside import IpAddress, IpRange
from scloud.lib.errors import ScloudError
from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager, scopes_disabled

HIGHEST_VLAN: Final = 4094
FASTEST_MBPS: Final = 10_000
#: What may not change under addresses that guests have configured.
FROZEN: Final = (
    "region_id",
    "ip_version",
    "cidr",
    "gateway",
    "physical_network",
    "vlan",
    "route_policy",
    "destinations",
    "mtu_bytes",
)


def segment_id() -> str:
    """Return a fresh segment id."""
    return new_id("seg")


def switch_id(region_id: str, physical_network: str, vlan: int | None) -> str:
    """Return the id of the switch that is bridged to a VLAN of a physical network.

    One switch for each, however many segments lie on it: a NIC has one port, and its addresses may
    be of all of them.
    """
    digest = hashlib.sha256(f"{region_id}/{physical_network}/{vlan or ''}".encode()).hexdigest()
    return f"ext-{digest[:12]}"


class IpVersion(models.IntegerChoices):
    """The versions of IP."""

    V4 = 4, "IPv4"
    V6 = 6, "IPv6"


class RoutePolicy(models.TextChoices):
    """What a guest is told to reach through the gateway of a segment."""

    DEFAULT = "default", gettext_lazy("Default route")
    SPECIFIED = "specified", gettext_lazy("Specified routes")
    NONE = "none", gettext_lazy("No route")


class ExternalSegment(Applied):
    """A range of external addresses on a VLAN of a physical network. The platform's own."""

    KIND: ClassVar[str] = "segment"

    id = models.CharField(
        gettext_lazy("ID"), primary_key=True, max_length=20, default=segment_id, editable=False
    )
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=gettext_lazy("region"), related_name="segments"
    )
    name = models.CharField(gettext_lazy("name"), max_length=60)
    description = models.CharField(gettext_lazy("description"), max_length=200, blank=True)
    ip_version = models.PositiveSmallIntegerField(
        gettext_lazy("IP version"), choices=IpVersion.choices, default=IpVersion.V4
    )
    cidr = models.CharField(gettext_lazy("address range"), max_length=43)
    gateway = models.GenericIPAddressField(
        gettext_lazy("gateway"),
        null=True,
        blank=True,
        help_text=gettext_lazy("May be left empty only without routes."),
    )
    physical_network = models.CharField(
        gettext_lazy("physical network"),
        max_length=32,
        validators=[RegexValidator(r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z")],
        help_text=gettext_lazy("As the hosts' bridge mappings name it."),
    )
    vlan = models.PositiveSmallIntegerField(
        gettext_lazy("VLAN"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(HIGHEST_VLAN)],
    )
    route_policy = models.CharField(
        gettext_lazy("routes"),
        max_length=9,
        choices=RoutePolicy.choices,
        default=RoutePolicy.DEFAULT,
    )
    destinations = ArrayField(
        models.CharField(max_length=43),
        verbose_name=gettext_lazy("destinations"),
        default=list,
        blank=True,
        size=50,
        help_text=gettext_lazy("Ranges separated by commas; for specified routes only."),
    )
    held_back = ArrayField(
        models.CharField(max_length=90),
        verbose_name=gettext_lazy("addresses held back"),
        default=list,
        blank=True,
        size=50,
        help_text=gettext_lazy(
            "Never given to tenants: 203.0.113.2-203.0.113.9, 203.0.113.64/28, separated by commas."
        ),
    )
    bandwidth_min_mbps = models.PositiveIntegerField(
        gettext_lazy("lowest bandwidth in Mb/s"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(FASTEST_MBPS)],
    )
    bandwidth_max_mbps = models.PositiveIntegerField(
        gettext_lazy("highest bandwidth in Mb/s"),
        default=1000,
        validators=[MinValueValidator(1), MaxValueValidator(FASTEST_MBPS)],
    )
    mtu_bytes = models.PositiveIntegerField(
        gettext_lazy("MTU"),
        default=1500,
        validators=[MinValueValidator(1280), MaxValueValidator(9216)],
    )
    serves_vnc = models.BooleanField(
        gettext_lazy("gives the VNC address"),
        default=False,
        help_text=gettext_lazy("VNC clients reach the screens of VMs at an address of it."),
    )
    #: The platform's own, as what is held back is: see ``reserved_role``. Empty unless it serves.
    vnc_address = models.GenericIPAddressField(
        gettext_lazy("VNC address"),
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "Never given to tenants. The machine of the VNC gateway must have it. "
            "Empty: the lowest free address."
        ),
    )
    tenants = models.ManyToManyField(
        Tenant,
        verbose_name=gettext_lazy("tenants"),
        blank=True,
        related_name="+",
        help_text=gettext_lazy("Empty: offered to all."),
    )
    enabled = models.BooleanField(gettext_lazy("enabled"), default=True)
    position = models.PositiveSmallIntegerField(gettext_lazy("position in the list"), default=0)
    #: See :func:`switch_id`; written with every save.
    switch_id = models.CharField(
        gettext_lazy("switch"), max_length=20, editable=False, db_index=True
    )
    created_at = models.DateTimeField(gettext_lazy("created"), default=timezone.now, editable=False)

    #: Nobody's: events and jobs of it are the platform's.
    tenant: ClassVar[None] = None
    tenant_id: ClassVar[None] = None

    class Meta:
        ordering = ["position", "name", "id"]
        verbose_name = gettext_lazy("external segment")
        verbose_name_plural = gettext_lazy("external segments")
        constraints = [
            models.CheckConstraint(
                name="network_segment_bandwidths",
                condition=Q(
                    bandwidth_min_mbps__gte=1, bandwidth_max_mbps__gte=F("bandwidth_min_mbps")
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.cidr})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the switch that the segment lies on."""
        self.switch_id = switch_id(self.region_id, self.physical_network, self.vlan)
        super().save(*args, **kwargs)

    @property
    def fabric_id(self) -> str:
        """The switch, which other segments may share."""
        return self.switch_id

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The range as a value."""
        return outside.parse_range(self.cidr, int(self.ip_version))

    @property
    def held_ranges(self) -> list[IpRange]:
        """What is never given to tenants, without network, gateway and broadcast address."""
        return [outside.parse_held(text, self.network) for text in self.held_back]

    @property
    def destination_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """What guests reach through the gateway, where the routes are specified."""
        version = int(self.ip_version)
        return tuple(outside.parse_range(text, version) for text in self.destinations)

    @property
    def sku(self) -> str:
        """The name under which the price list knows a Mb/s of it."""
        return f"mbps:{self.pk}"

    @property
    def gives_default_route(self) -> bool:
        """Whether an address of it can be a VM's default egress."""
        return self.route_policy == RoutePolicy.DEFAULT

    def reserved_role(self, address: IpAddress) -> str:
        """Return why an address of the range is nobody's to have; empty when it can be had."""
        network = self.network
        if self.gateway and address == ip_address(self.gateway):
            return _("the gateway")
        if address == network.network_address:
            return _("the network address")
        if isinstance(network, IPv4Network) and address == network.broadcast_address:
            return _("the broadcast address")
        if any(low <= int(address) <= high for low, high in self.held_ranges):
            return _("held back by the platform")
        if self.vnc_address and address == ip_address(self.vnc_address):
            return _("the platform's address for VNC clients")
        return ""

    @property
    def kept_ranges(self) -> list[IpRange]:
        """What nobody can have: held back, the gateway, and the address for VNC clients."""
        single = [int(ip_address(one)) for one in (self.gateway, self.vnc_address) if one]
        return [*self.held_ranges, *((one, one) for one in single)]

    def clean(self) -> None:
        """Refuse what cannot work, and what would pull addresses from under guests."""
        errors: dict[str, str] = {}
        network = self._clean_range(errors)
        if network is not None:
            self._clean_gateway(network, errors)
            self._clean_held(network, errors)
            self._clean_overlaps(network, errors)
            if not errors:
                self._clean_vnc(network, errors)
        self._clean_destinations(errors)
        low, high = self.bandwidth_min_mbps, self.bandwidth_max_mbps
        if low is not None and high is not None and low > high:
            errors["bandwidth_max_mbps"] = _("It must not be below the lowest bandwidth.")
        self._clean_frozen(errors)
        if errors:
            raise ValidationError(errors)

    def _clean_range(self, errors: dict[str, str]) -> IPv4Network | IPv6Network | None:
        try:
            network = outside.parse_range(
                self.cidr, int(self.ip_version), check=outside.check_range
            )
        except ScloudError as error:
            errors["cidr"] = f"{error.message} {error.remedy or ''}".strip()
            return None
        self.cidr = str(network)
        return network

    def _clean_gateway(self, network: IPv4Network | IPv6Network, errors: dict[str, str]) -> None:
        if not self.gateway:
            if self.route_policy != RoutePolicy.NONE:
                errors["gateway"] = _("Routes need a gateway.")
            return
        gateway = ip_address(self.gateway)
        ends = {network.network_address}
        if isinstance(network, IPv4Network):
            ends.add(network.broadcast_address)
        if gateway not in network or gateway in ends:
            errors["gateway"] = _("It must be a usable address of %(network)s.") % {
                "network": network
            }

    def _clean_held(self, network: IPv4Network | IPv6Network, errors: dict[str, str]) -> None:
        try:
            for text in self.held_back or ():
                outside.parse_held(text, network)
        except ScloudError as error:
            errors["held_back"] = error.message

    def _clean_overlaps(self, network: IPv4Network | IPv6Network, errors: dict[str, str]) -> None:
        others = ExternalSegment.objects.filter(
            region_id=self.region_id,
            switch_id=switch_id(self.region_id, self.physical_network, self.vlan),
        ).exclude(pk=self.pk)
        for other in others:
            if other.network.version == network.version and other.network.overlaps(network):
                errors["cidr"] = _(
                    "%(network)s overlaps %(other)s on the same VLAN of the same physical network."
                ) % {"network": network, "other": other}
                return

    def _clean_vnc(self, network: IPv4Network | IPv6Network, errors: dict[str, str]) -> None:
        """Check the address for VNC clients, or choose the lowest free one."""
        if not self.serves_vnc:
            self.vnc_address = None
            return
        others = ExternalSegment.objects.filter(region_id=self.region_id, serves_vnc=True)
        other = others.exclude(pk=self.pk).first()
        if other is not None:
            errors["serves_vnc"] = _("%(other)s gives the VNC address of this region.") % {
                "other": other
            }
            return
        if not self.vnc_address:
            self.vnc_address = self._lowest_unallocated(network)
            if self.vnc_address is None:
                errors["vnc_address"] = _("The segment has no free address.")
            return
        address = ip_address(self.vnc_address)
        first, last = outside.usable_span(network)
        if address.version != network.version or not first <= int(address) <= last:
            errors["vnc_address"] = _("It must be a usable address of %(network)s.") % {
                "network": network
            }
        elif self.gateway and address == ip_address(self.gateway):
            errors["vnc_address"] = _("It is the gateway.")
        elif address in self._allocated():
            errors["vnc_address"] = _("It is allocated.")

    def _allocated(self) -> set[IpAddress]:
        with scopes_disabled():
            rows = ExternalAddress.objects.filter(segment_id=self.pk)
            return {ip_address(text) for text in rows.values_list("address", flat=True)}

    def _lowest_unallocated(self, network: IPv4Network | IPv6Network) -> str | None:
        kind = IPv4Address if network.version == 4 else IPv6Address
        taken = {int(address) for address in self._allocated()}
        for first, last in outside.free_spans(network, self.kept_ranges):
            # One of so many is free.
            for number in range(first, min(last, first + len(taken)) + 1):
                if number not in taken:
                    return str(kind(number))
        return None

    def _clean_destinations(self, errors: dict[str, str]) -> None:
        given: Sequence[str] = self.destinations or ()
        if (self.route_policy == RoutePolicy.SPECIFIED) != bool(given):
            errors["destinations"] = (
                _("Specified routes need a destination.")
                if not given
                else _("Only specified routes have destinations.")
            )
            return
        cleaned = []
        for text in given:
            try:
                found = outside.parse_range(
                    text, int(self.ip_version), check=outside.check_destination
                )
            except ScloudError as error:
                errors["destinations"] = f"{error.message} {error.remedy or ''}".strip()
                return
            cleaned.append(str(found))
        self.destinations = list(dict.fromkeys(cleaned))

    def _clean_frozen(self, errors: dict[str, str]) -> None:
        before = ExternalSegment.objects.filter(pk=self.pk).first()
        if before is None or not self.in_use:
            return
        for name in FROZEN:
            if getattr(before, name) != getattr(self, name):
                field = name.removesuffix("_id")
                errors[field] = _("It cannot be changed while an address is allocated.")

    @property
    def in_use(self) -> bool:
        """Whether somebody holds an address of it, whoever that is."""
        with scopes_disabled():
            return ExternalAddress.objects.filter(segment_id=self.pk).exists()


class ExternalAddress(models.Model):
    """An address of a segment that somebody holds: an external IP, or an external NIC of its own.

    It lives as long as it is held, in the recycle bin too. The constraint is the last line of
    defence against giving it away twice.
    """

    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=gettext_lazy("tenant"), related_name="+"
    )
    segment = models.ForeignKey(
        ExternalSegment,
        models.PROTECT,
        verbose_name=gettext_lazy("external segment"),
        related_name="addresses",
    )
    address = models.GenericIPAddressField(
        gettext_lazy("address"),
    )
    external_ip = models.OneToOneField(
        "network.ExternalIp",
        models.CASCADE,
        verbose_name=gettext_lazy("external IP"),
        null=True,
        blank=True,
        related_name="held",
    )
    nic = models.OneToOneField(
        "network.Nic",
        models.CASCADE,
        verbose_name=gettext_lazy("network interface"),
        null=True,
        blank=True,
        related_name="external_address",
    )
    created_at = models.DateTimeField(gettext_lazy("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = gettext_lazy("external address")
        verbose_name_plural = gettext_lazy("external addresses")
        ordering = ["segment", "address"]
        constraints = [
            models.UniqueConstraint(
                fields=["segment", "address"], name="network_external_address_once"
            ),
            models.CheckConstraint(
                name="network_external_address_has_holder",
                condition=Q(external_ip__isnull=False, nic__isnull=True)
                | Q(external_ip__isnull=True, nic__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.address)
