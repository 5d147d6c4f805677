"""Statements: what a month of a tenant was, as the ledger has it. Money is whole minor units."""

from datetime import date
from typing import ClassVar, Final

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import TransactionKind
from billing.models.orders import OrderKind
from billing.models.prices import MethodChoice
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

ADDRESS_LINES: Final = 6
# Of a line of an address, and of the name above it.
ADDRESS_CHARACTERS: Final = 100


class BillingAddress(models.Model):
    """Whom statements are for, as the tenant says it; those that are closed keep what they have."""

    tenant = models.OneToOneField(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        primary_key=True,
        related_name="billing_address",
    )
    name = models.CharField(_("name"), max_length=ADDRESS_CHARACTERS)
    lines = ArrayField(
        models.CharField(max_length=ADDRESS_CHARACTERS), verbose_name=_("address"), default=list
    )
    country = models.CharField(_("country"), max_length=60, blank=True)
    tax_number = models.CharField(_("tax number"), max_length=40, blank=True)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)

    objects: ClassVar[models.Manager["BillingAddress"]] = TenantManager()

    class Meta:
        verbose_name = _("billing address")
        verbose_name_plural = _("billing addresses")
        ordering = ["tenant"]

    def __str__(self) -> str:
        return self.name

    @property
    def text(self) -> str:
        """All of it but the tax number, a line each."""
        return "\n".join(part for part in (self.name, *self.lines, self.country) if part)


def statement_id() -> str:
    return new_id("statement")


class Statement(models.Model):
    """A closed month of a tenant. Never updated, never deleted.

    ``month`` is its first day, [``begin``, ``end``) its time. A tenant's statements follow each
    other without a gap from ``sequence`` 1 on: each opens with what the one before closed with.
    ``charged_minor`` is what was charged, refunds taken off; tax is a part of it. Names,
    addresses and tax are those of the day on which the month was closed.

    The rows that belong to it are written before it, and none afterwards: the database compares
    the sums when the statement comes.
    """

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=statement_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="statements"
    )
    month = models.DateField(_("month"))
    sequence = models.PositiveIntegerField(_("sequence"))
    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"))
    currency = models.CharField(_("currency"), max_length=3)
    opening_cash_minor = models.BigIntegerField(_("opening cash (minor units)"))
    opening_gift_minor = models.BigIntegerField(_("opening gift (minor units)"))
    closing_cash_minor = models.BigIntegerField(_("closing cash (minor units)"))
    closing_gift_minor = models.BigIntegerField(_("closing gift (minor units)"))
    charged_minor = models.BigIntegerField(_("charged (minor units)"))
    # Empty where no tax was set up.
    tax_name = models.CharField(_("name of the tax"), max_length=30, blank=True)
    tax_percent = models.DecimalField(
        _("tax rate in percent"), max_digits=6, decimal_places=3, null=True, blank=True
    )
    tax_included = models.BooleanField(_("prices include tax"), default=True)
    tax_minor = models.BigIntegerField(_("tax (minor units)"), default=0)
    buyer = models.TextField(_("customer"))
    buyer_tax_id = models.CharField(_("tax number of the customer"), max_length=40, blank=True)
    seller = models.TextField(_("provider"), blank=True)
    seller_tax_id = models.CharField(_("tax number of the provider"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["Statement"]] = TenantManager()

    class Meta:
        verbose_name = _("statement")
        verbose_name_plural = _("statements")
        ordering = ["-month", "tenant"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month"], name="statement_once"),
            models.UniqueConstraint(fields=["tenant", "sequence"], name="statement_sequence"),
            models.CheckConstraint(
                condition=models.Q(end__gt=models.F("begin")), name="statement_period"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.month_text}"

    @property
    def month_text(self) -> str:
        """The month as it is named in URLs and in the number, such as ``2026-10``."""
        return month_text(self.month)

    @property
    def number(self) -> str:
        """Such as ``2026-10-0001``; empty while the month goes on."""
        return f"{self.month_text}-{self.sequence:04d}" if self.sequence else ""

    @property
    def opening_minor(self) -> int:
        """Cash and gift together."""
        return self.opening_cash_minor + self.opening_gift_minor

    @property
    def closing_minor(self) -> int:
        """Cash and gift together."""
        return self.closing_cash_minor + self.closing_gift_minor

    @property
    def is_pruned(self) -> bool:
        """True if the orders and charges of the month have been deleted."""
        return bool(self.sequence) and getattr(self, "pruned", None) is not None

    @property
    def net_minor(self) -> int:
        """What was charged, without tax."""
        return self.charged_minor - self.tax_minor


def month_text(first_day: date) -> str:
    """A month such as ``2026-10``."""
    return f"{first_day:%Y-%m}"


class StatementMove(models.Model):
    """What movements of one kind changed in a month. Never updated, never deleted."""

    statement = models.ForeignKey(
        Statement, models.PROTECT, verbose_name=_("statement"), related_name="moves"
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    kind = models.CharField(_("type"), max_length=10, choices=TransactionKind.choices)
    cash_minor = models.BigIntegerField(_("cash (minor units)"))
    gift_minor = models.BigIntegerField(_("gift (minor units)"))

    objects: ClassVar[models.Manager["StatementMove"]] = TenantManager()

    class Meta:
        verbose_name = _("movement of a statement")
        verbose_name_plural = _("movements of statements")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["statement", "kind"], name="statement_move_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_minor:+d}"

    @property
    def amount_minor(self) -> int:
        """Cash and gift together."""
        return self.cash_minor + self.gift_minor


class StatementLine(models.Model):
    """Charges of a month that one resource paid at one amount. Never updated, never deleted.

    ``count`` charges of ``unit_minor`` each, for the time from ``begin`` to ``end``. ``order_id``
    is empty where they belong to several; the order itself may have been deleted since. ``tags``
    are those of the resource when it was closed.
    """

    statement = models.ForeignKey(
        Statement, models.PROTECT, verbose_name=_("statement"), related_name="lines"
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40)
    resource_name = models.CharField(_("resource name"), max_length=100, blank=True)
    order_kind = models.CharField(_("type"), max_length=8, choices=OrderKind.choices)
    # Nothing refers to the order, so that a statement outlives it.
    order_id = models.CharField(_("order"), max_length=20, null=True)
    method = models.CharField(_("billing method"), max_length=5, choices=MethodChoice.choices)
    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"))
    count = models.PositiveIntegerField(_("charges"))
    unit_minor = models.BigIntegerField(_("each (minor units)"))
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    gift_minor = models.BigIntegerField(_("from gift (minor units)"))
    tags = ArrayField(models.CharField(max_length=60), verbose_name=_("tags"), default=list)

    objects: ClassVar[models.Manager["StatementLine"]] = TenantManager()

    class Meta:
        verbose_name = _("line of a statement")
        verbose_name_plural = _("lines of statements")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_minor=models.F("unit_minor") * models.F("count")),
                name="statement_line_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} {self.amount_minor:+d}"


class PrunedMonth(models.Model):
    """A closed month whose details were deleted. Never updated, never deleted.

    Inserting it is what deletes them: the database refuses it where they must stay, and fills in
    the figures. ``orders`` and ``charges`` are how many went, also of earlier months, where they
    had been needed longer. ``cash_minor``, ``gift_minor`` and ``revenue_minor`` are what their
    entries had added up to: with them the balances go on to be what the entries say.
    """

    statement = models.OneToOneField(
        Statement,
        models.PROTECT,
        verbose_name=_("statement"),
        primary_key=True,
        related_name="pruned",
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    month = models.DateField(_("month"))
    orders = models.PositiveBigIntegerField(_("orders"))
    charges = models.PositiveBigIntegerField(_("charges"))
    cash_minor = models.BigIntegerField(_("cash (minor units)"))
    gift_minor = models.BigIntegerField(_("gift (minor units)"))
    revenue_minor = models.BigIntegerField(_("revenue (minor units)"))
    pruned_at = models.DateTimeField(_("deleted"), default=timezone.now)

    objects: ClassVar[models.Manager["PrunedMonth"]] = TenantManager()

    class Meta:
        verbose_name = _("month without details")
        verbose_name_plural = _("months without details")
        ordering = ["-month", "tenant"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month"], name="pruned_month_once"),
            models.CheckConstraint(
                condition=models.Q(
                    cash_minor=0 - models.F("gift_minor") - models.F("revenue_minor")
                ),
                name="pruned_month_balanced",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {month_text(self.month)}"
