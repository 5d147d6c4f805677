"""What was measured to be charged afterwards, in whole hours."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models.orders import Charge
from billing.models.prices import PriceList
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class Usage(models.Model):
    """Hours of one day in which a resource held ``quantity`` units of a SKU at the same price.

    [``begin``, ``end``) lies within a day of the billing time zone. ``price_list`` and ``discount``
    are those in force at ``begin``. Open while ``charge`` is empty: the day goes on, or the balance
    did not cover it yet. A row that has been charged is never changed or deleted.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    price_list = models.ForeignKey(
        PriceList, models.PROTECT, verbose_name=_("price list"), related_name="+"
    )
    sku = models.CharField("SKU", max_length=100)
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40)
    resource_name = models.CharField(_("resource name"), max_length=100, blank=True)
    quantity = models.DecimalField(_("quantity"), max_digits=18, decimal_places=6)
    discount = models.DecimalField(_("discount"), max_digits=5, decimal_places=4)
    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"))
    charge = models.OneToOneField(
        Charge,
        models.PROTECT,
        verbose_name=_("charge"),
        null=True,
        blank=True,
        related_name="usage",
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["Usage"]] = TenantManager()

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["resource_id", "resource_kind", "begin"], name="usage_once"
            ),
            models.CheckConstraint(
                condition=models.Q(end__gt=models.F("begin")), name="usage_period"
            ),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="usage_has_units"),
        ]
        indexes = [
            models.Index(fields=["tenant", "end"], name="usage_tenant_end"),
            models.Index(
                fields=["tenant", "end"],
                condition=models.Q(charge__isnull=True),
                name="usage_open",
            ),
            models.Index(
                fields=["end"], condition=models.Q(charge__isnull=True), name="usage_open_end"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} {self.sku} x {self.quantity}, {self.begin:%F %T}"
