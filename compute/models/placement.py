"""Groups of VMs that are kept on different hosts, or on one."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.resources.models import Region, name_validator
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def placement_group_id() -> str:
    return new_id("pg")


class GroupPolicy(models.TextChoices):
    """Where the VMs of a group go."""

    SPREAD = "spread", _("On different hosts")
    TOGETHER = "together", _("On the same host")


class PlacementGroup(models.Model):
    """A group of VMs of a region. Without a tenant it is the operators' own, which no tenant sees.

    A ``required`` rule is a condition of placement; any other one is only a preference.
    """

    KIND: ClassVar[str] = "placement_group"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=placement_group_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    remark = models.CharField(_("remark"), max_length=200, blank=True)
    policy = models.CharField(_("policy"), max_length=10, choices=GroupPolicy.choices)
    required = models.BooleanField(_("required"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("placement group")
        verbose_name_plural = _("placement groups")
        indexes = [models.Index(fields=["tenant", "region"], name="placement_group_tenant")]

    def __str__(self) -> str:
        return self.name

    @property
    def rule_words(self) -> str:
        """The policy and whether it is a condition, in words."""
        words = {
            (GroupPolicy.SPREAD, True): _("On different hosts (required)"),
            (GroupPolicy.SPREAD, False): _("On different hosts (preferred)"),
            (GroupPolicy.TOGETHER, True): _("On the same host (required)"),
            (GroupPolicy.TOGETHER, False): _("On the same host (preferred)"),
        }
        return str(words[GroupPolicy(self.policy), self.required])
