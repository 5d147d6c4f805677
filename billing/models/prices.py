"""Price lists and discounts."""

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.pricing import Method, check_sku
from scloud.lib.errors import InvalidInput
from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def price_list_id() -> str:
    return new_id("prices")


def validate_sku(value: str) -> None:
    """Field validator: a well-formed SKU."""
    try:
        check_sku(value)
    except InvalidInput as error:
        raise ValidationError(error.message, code=error.code) from error


class MethodChoice(models.TextChoices):
    """Billing methods as people read them."""

    HOUR = Method.HOUR.value, _("Hourly")
    MONTH = Method.MONTH.value, _("Monthly")
    YEAR = Method.YEAR.value, _("Yearly")


class PriceList(models.Model):
    """The prices of a region from an instant on. Once published it never changes again.

    A correction is a new version. The list in force is the published one with the latest
    ``effective_from`` that is not in the future.
    """

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=price_list_id, editable=False
    )
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="price_lists"
    )
    version = models.PositiveIntegerField(_("version"), editable=False)
    effective_from = models.DateTimeField(_("effective from"))
    published_at = models.DateTimeField(_("published"), null=True, blank=True, editable=False)
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("price list")
        verbose_name_plural = _("price lists")
        ordering = ["region", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["region", "version"], name="price_list_version"),
            models.UniqueConstraint(
                fields=["region", "effective_from"],
                condition=models.Q(published_at__isnull=False),
                name="price_list_effective_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.region_id} v{self.version}"


class Price(models.Model):
    """The price of one unit of a SKU for one period: of each unit of a resource above ``above``.

    Rows of the same SKU and method are its tiers. There is always one with ``above`` 0; where that
    costs nothing, units are free up to the next.
    """

    price_list = models.ForeignKey(
        PriceList, models.CASCADE, verbose_name=_("price list"), related_name="prices"
    )
    sku = models.CharField("SKU", max_length=100, validators=[validate_sku])
    method = models.CharField(_("billing method"), max_length=5, choices=MethodChoice.choices)
    above = models.PositiveIntegerField(
        _("above"),
        default=0,
        db_default=0,
        help_text=_(
            "The price is that of each unit of a resource above this many. 0 is the first tier, "
            "which every price has; with price 0 there, units are free up to the next tier."
        ),
    )
    unit_price = models.DecimalField(
        _("unit price"), max_digits=18, decimal_places=6, validators=[MinValueValidator(0)]
    )

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering = ["sku", "method", "above"]
        constraints = [
            models.UniqueConstraint(
                fields=["price_list", "sku", "method", "above"], name="price_tier_once"
            ),
            models.CheckConstraint(
                condition=models.Q(unit_price__gte=0), name="price_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} per {self.method}" + (f" above {self.above}" if self.above else "")


class Discount(models.Model):
    """A part off the price for a tenant, on all SKUs or on those with a prefix.

    The longest matching prefix wins; of several with the same prefix the newest. It is never
    edited after use: end it and add another, so that a replay finds what was true then.
    """

    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="discounts"
    )
    sku_prefix = models.CharField(
        _("SKU prefix"), max_length=100, blank=True, help_text=_("Leave empty for everything.")
    )
    part_off = models.DecimalField(
        _("part off"),
        max_digits=5,
        decimal_places=4,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_("0.15 means 15 % off."),
    )
    effective_from = models.DateTimeField(_("from"))
    effective_until = models.DateTimeField(_("until"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=200, blank=True)

    objects: ClassVar[models.Manager["Discount"]] = TenantManager()

    class Meta:
        verbose_name = _("discount")
        verbose_name_plural = _("discounts")
        ordering = ["tenant", "sku_prefix", "-effective_from"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(part_off__gte=0, part_off__lte=1), name="discount_part"
            ),
            models.CheckConstraint(
                condition=models.Q(effective_until__isnull=True)
                | models.Q(effective_until__gt=models.F("effective_from")),
                name="discount_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.part_off:%} off {self.sku_prefix or 'everything'}"
