"""Top-ups that administrators enter, and the settings of billing."""

from decimal import Decimal
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.models.decisions import Decided
from billing.models.ledger import LedgerTransaction
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def top_up_id() -> str:
    return new_id("topup")


class BillingSettings(models.Model):
    """The administrator's settings of billing; one row."""

    id = models.PositiveSmallIntegerField(_("ID"), primary_key=True, default=1, editable=False)
    four_eyes_above = models.DecimalField(
        _("top-ups above this amount need a second administrator"),
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        default=Decimal(100_000),
        validators=[MinValueValidator(0)],
        help_text=_("Gifts count as well. 0 means every top-up, empty means none."),
    )
    low_balance_below = models.DecimalField(
        _("warn tenants whose balance is below"),
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        default=Decimal(100),
        validators=[MinValueValidator(0)],
        help_text=_("Each tenant can choose another amount. 0 or empty means never."),
    )
    seller = models.TextField(
        _("name and address on statements"),
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text=_("As many lines as it has."),
    )
    seller_tax_id = models.CharField(
        _("tax number on statements"), max_length=40, blank=True, default="", db_default=""
    )
    tax_name = models.CharField(
        _("name of the tax"),
        max_length=30,
        blank=True,
        default="",
        db_default="",
        help_text=_("Such as VAT."),
    )
    tax_percent = models.DecimalField(
        _("tax rate in percent"),
        max_digits=6,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Statements that are closed from now on show it. Empty: no tax is shown."),
    )
    prices_include_tax = models.BooleanField(
        _("prices include tax"),
        default=True,
        db_default=True,
        help_text=_(
            "On: statements show the tax that is in what was charged. Off: no tax is charged, and "
            "they say so."
        ),
    )

    payment_least = models.DecimalField(
        _("smallest payment of a tenant"),
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        default=Decimal(1),
        validators=[MinValueValidator(0)],
    )
    payment_most = models.DecimalField(
        _("largest payment of a tenant"),
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        default=Decimal(50_000),
        validators=[MinValueValidator(0)],
        help_text=_("Through a payment provider, each time."),
    )

    keep_details_years = models.PositiveSmallIntegerField(
        _("years to keep the details of closed months"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_(
            "Orders, charges and their movements of months that ended longer ago are deleted; "
            "statements, top-ups and gifts stay. Empty: they are kept for ever."
        ),
    )

    class Meta:
        verbose_name = _("billing settings")
        verbose_name_plural = _("billing settings")
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="one_billing_settings_row")
        ]

    def __str__(self) -> str:
        return gettext("Billing settings")

    @classmethod
    def load(cls) -> "BillingSettings":
        """Return the one row, or the defaults while it does not exist."""
        return cls.objects.filter(pk=1).first() or cls()


class TopUpStatus(models.TextChoices):
    """Where a top-up stands."""

    PENDING = "pending", _("Awaiting a second administrator")
    BOOKED = "booked", _("Booked")
    REJECTED = "rejected", _("Rejected")


class TopUp(Decided):
    """Money that an administrator puts into an account: what was received, or a gift.

    A receipt is booked once, whoever enters it. Above the limit of the settings a second
    administrator decides; until then no money has moved and ``transaction`` is empty.
    """

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=top_up_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="top_ups"
    )
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    gift = models.BooleanField(_("as a gift"), default=False)
    gift_expires_at = models.DateTimeField(_("gift expires"), null=True, blank=True)
    receipt = models.CharField(_("receipt number"), max_length=60, blank=True)
    remark = models.CharField(_("note"), max_length=200, blank=True)
    status = models.CharField(
        _("status"), max_length=8, choices=TopUpStatus.choices, default=TopUpStatus.PENDING
    )
    transaction = models.OneToOneField(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("transaction"),
        null=True,
        blank=True,
        related_name="top_up",
    )

    objects: ClassVar[models.Manager["TopUp"]] = TenantManager()

    class Meta:
        verbose_name = _("top-up")
        verbose_name_plural = _("top-ups")
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_minor__gt=0), name="top_up_positive"),
            models.UniqueConstraint(
                fields=["receipt"],
                condition=~models.Q(receipt="") & ~models.Q(status="rejected"),
                name="top_up_receipt_once",
            ),
            models.CheckConstraint(
                condition=models.Q(status="booked", transaction__isnull=False)
                | (~models.Q(status="booked") & models.Q(transaction__isnull=True)),
                name="top_up_booked_with_transaction",
            ),
            models.CheckConstraint(
                condition=models.Q(gift_expires_at__isnull=True) | models.Q(gift=True),
                name="top_up_only_gifts_expire",
            ),
        ]

    def __str__(self) -> str:
        return self.id
