"""Network interfaces of VMs and the private addresses that they hold."""

import secrets
import uuid
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from network.models import cidr
from network.models.base import FabricResource
from network.models.security import SecurityGroup
from network.models.segment import ExternalSegment
from network.models.vpc import Subnet
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def nic_id() -> str:
    return new_id("nic")


def random_mac() -> str:
    """Return a fresh MAC: 52:54 is unicast and locally administered, 2**32 follow."""
    return "52:54:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(4))


class NicKind(models.TextChoices):
    """Whether a NIC belongs to its VM for good (default) or can be moved (elastic)."""

    DEFAULT = "default", _("Default")
    ENI = "eni", _("Elastic")


#: The places of the two NICs that every VM has: eth0 inside, eth1 outside.
INTERNAL_INDEX: Final = 0
EXTERNAL_INDEX: Final = 1


class NicNetwork(models.TextChoices):
    """Which side a NIC looks to."""

    INTERNAL = "internal", _("Internal")
    EXTERNAL = "external", _("External")


class Nic(FabricResource):
    """A network interface. ``vm_id`` is opaque here; ``index`` N is ``ethN`` in the guest."""

    KIND: ClassVar[str] = "nic"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=nic_id, editable=False)
    kind = models.CharField(
        _("type"), max_length=7, choices=NicKind.choices, default=NicKind.DEFAULT
    )
    network = models.CharField(
        _("network"), max_length=8, choices=NicNetwork.choices, default=NicNetwork.INTERNAL
    )
    port_uuid = models.UUIDField(_("port UUID"), default=uuid.uuid4, unique=True, editable=False)
    mac = models.CharField(
        _("MAC address"), max_length=17, default=random_mac, unique=True, editable=False
    )
    vm_id = models.CharField(_("VM ID"), max_length=20, null=True, blank=True, db_index=True)
    index = models.PositiveSmallIntegerField(_("number"), null=True, blank=True)
    subnet = models.ForeignKey(
        Subnet, models.PROTECT, verbose_name=_("subnet"), null=True, blank=True, related_name="nics"
    )
    security_group = models.ForeignKey(
        SecurityGroup,
        models.PROTECT,
        verbose_name=_("security group"),
        null=True,
        blank=True,
        related_name="nics",
    )
    #: Of an external NIC: the segment whose switch its port is on. None while it has no address,
    #: and then it has no port either.
    segment = models.ForeignKey(
        ExternalSegment,
        models.PROTECT,
        verbose_name=_("external segment"),
        null=True,
        blank=True,
        related_name="nics",
    )
    #: Of an external ENI: its own bandwidth, and whether its address is its VM's default egress.
    bandwidth_mbps = models.PositiveIntegerField(_("bandwidth in Mb/s"), null=True, blank=True)
    egress = models.BooleanField(
        _("default egress"), default=False, db_default=False, editable=False
    )
    bound_at = models.DateTimeField(_("bound since"), null=True, editable=False)
    #: False from the moment on which the port is being taken away for good.
    port_wanted = models.BooleanField(_("port wanted"), default=True, editable=False)

    class Meta(FabricResource.Meta):
        ordering = ["vm_id", "index", "id"]
        verbose_name = _("network interface")
        verbose_name_plural = _("network interfaces")
        constraints = [
            models.UniqueConstraint(fields=["vm_id", "index"], name="network_one_nic_per_slot"),
            models.CheckConstraint(
                name="network_internal_nic_has_subnet",
                condition=models.Q(network=NicNetwork.EXTERNAL, subnet__isnull=True)
                | models.Q(network=NicNetwork.INTERNAL, subnet__isnull=False),
            ),
        ]

    @property
    def fabric_kind(self) -> str:
        return "port"

    @property
    def fabric_id(self) -> str:
        """The port's, which is also the interface's id on the host."""
        return str(self.port_uuid)

    @property
    def device(self) -> str:
        """The name of the interface in a Linux guest, or nothing while it is unbound."""
        return "" if self.index is None else f"eth{self.index}"

    @property
    def ipv6(self) -> IPv6Address | None:
        """Its private IPv6 address; None outside, and while its subnet has no IPv6.

        No row holds it: it follows from the subnet's range and the MAC, of which there is one.
        """
        network = self.subnet.ipv6_network if self.subnet is not None else None
        return None if network is None else cidr.eui64(network, self.mac)

    @property
    def private_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses of its subnet that it has, IPv4 first; reads ``addresses``."""
        held = tuple(ip_address(one.address) for one in self.addresses.all())
        six = self.ipv6
        return held if six is None else (*held, six)


class PrivateAddress(models.Model):
    """An IPv4 address of a subnet that a NIC holds. The constraint is the last line of defence.

    One that its NIC has given up is ``leaving`` until the network no longer has it at that NIC's
    port, and is given to nobody before.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    subnet = models.ForeignKey(
        Subnet, models.PROTECT, verbose_name=_("subnet"), related_name="addresses"
    )
    nic = models.ForeignKey(
        Nic,
        models.CASCADE,
        verbose_name=_("network interface"),
        null=True,
        related_name="addresses",
    )
    leaving = models.ForeignKey(
        Nic,
        models.CASCADE,
        verbose_name=_("being released by"),
        null=True,
        blank=True,
        related_name="leaving_addresses",
    )
    address = models.GenericIPAddressField(_("address"), protocol="ipv4")
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("private address")
        verbose_name_plural = _("private addresses")
        ordering = ["subnet", "address"]
        constraints = [
            models.UniqueConstraint(fields=["subnet", "address"], name="network_address_once"),
            models.CheckConstraint(
                name="network_address_of_one_nic",
                condition=models.Q(nic__isnull=False, leaving__isnull=True)
                | models.Q(nic__isnull=True, leaving__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.address)
