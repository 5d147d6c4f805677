"""Sums of charges, so that nobody adds up a year's of them to show a page.

A trigger on the charges keeps them in the transaction that charges, whatever code does (migration
0016); the replay compares them with the charges. Days and months are those of the billing time zone
at the instant of the charge.
"""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class DayCost(models.Model):
    """What a tenant was charged on a day, refunds taken off."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    day = models.DateField(_("day"))
    amount_minor = models.BigIntegerField(_("amount (minor units)"))

    objects: ClassVar[models.Manager["DayCost"]] = TenantManager()

    class Meta:
        verbose_name = _("cost of a day")
        verbose_name_plural = _("costs of days")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "day"], name="day_cost_once"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day}: {self.amount_minor}"


class MonthCost(models.Model):
    """What a resource was charged in a month, given by its first day; refunds taken off."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    month = models.DateField(_("month"))
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))

    objects: ClassVar[models.Manager["MonthCost"]] = TenantManager()

    class Meta:
        verbose_name = _("cost of a resource in a month")
        verbose_name_plural = _("costs of resources in months")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "month", "resource_id", "resource_kind"],
                name="month_cost_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} {self.month:%Y-%m}: {self.amount_minor}"
