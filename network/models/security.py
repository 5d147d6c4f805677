"""Security groups and their rules."""

from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from network.models.base import FabricResource
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

RULES_PER_GROUP: Final = 200


def security_group_id() -> str:
    return new_id("sg")


def rule_id() -> str:
    return new_id("sgr")


class RuleDirection(models.TextChoices):
    """Which way the first packet of a connection goes, seen from the VM."""

    IN = "in", _("Inbound")
    OUT = "out", _("Outbound")


class RuleProtocol(models.TextChoices):
    TCP = "tcp", _("TCP")
    UDP = "udp", _("UDP")
    ICMP = "icmp", _("ICMP")
    ICMPV6 = "icmpv6", _("ICMPv6")
    ALL = "all", _("All")


class RuleAction(models.TextChoices):
    """What happens to a new connection that matches."""

    ACCEPT = "accept", _("Accept")
    DROP = "drop", _("Drop")


class RulePriority(models.TextChoices):
    """A higher priority decides; within one priority a drop beats an accept."""

    HIGH = "high", _("High")
    MEDIUM = "medium", _("Medium")
    LOW = "low", _("Low")


class SecurityGroup(FabricResource):
    """A stateful packet filter for NICs; what no rule matches is denied.

    A NIC without a group is not filtered, only kept to its own addresses.
    """

    KIND: ClassVar[str] = "security_group"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=security_group_id, editable=False
    )
    is_default = models.BooleanField(_("default"), default=False, editable=False)

    class Meta(FabricResource.Meta):
        ordering = ["-created_at", "id"]
        verbose_name = _("security group")
        verbose_name_plural = _("security groups")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "region"],
                condition=Q(is_default=True),
                name="network_one_default_security_group",
            )
        ]


class SecurityGroupRule(models.Model):
    """One rule. ``cidr`` is the other side: where it comes from or where it goes to."""

    KIND: ClassVar[str] = "security_group_rule"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=rule_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    group = models.ForeignKey(
        SecurityGroup, models.CASCADE, verbose_name=_("group"), related_name="rules"
    )
    direction = models.CharField(_("direction"), max_length=3, choices=RuleDirection.choices)
    protocol = models.CharField(_("protocol"), max_length=6, choices=RuleProtocol.choices)
    port_min = models.PositiveIntegerField(_("first port"), null=True, blank=True)
    port_max = models.PositiveIntegerField(_("last port"), null=True, blank=True)
    cidr = models.CharField(_("address or range"), max_length=43)
    action = models.CharField(_("action"), max_length=6, choices=RuleAction.choices)
    priority = models.CharField(_("priority"), max_length=6, choices=RulePriority.choices)
    description = models.CharField(_("description"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        ordering = ["direction", "created_at", "id"]
        verbose_name = _("security group rule")
        verbose_name_plural = _("security group rules")
        constraints = [
            models.CheckConstraint(
                name="network_rule_ports",
                condition=Q(port_min__isnull=True, port_max__isnull=True)
                | Q(
                    protocol__in=["tcp", "udp"],
                    port_min__gte=1,
                    port_max__lte=65_535,
                    port_min__lte=F("port_max"),
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.direction} {self.protocol} {self.ports or '*'} {self.cidr} {self.action}"

    @property
    def name(self) -> str:
        """What lists and the operation log call it: what it says."""
        return str(self)

    @property
    def ports(self) -> str:
        """The ports as people write them: empty for all, ``22``, ``8000-8100``."""
        if self.port_min is None:
            return ""
        if self.port_min == self.port_max:
            return str(self.port_min)
        return f"{self.port_min}-{self.port_max}"
