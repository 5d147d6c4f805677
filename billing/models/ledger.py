"""The prepaid account and the double-entry ledger behind it. Money is whole minor units."""

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import TenantManager


def transaction_id() -> str:
    """Return a fresh transaction id."""
    return new_id("trans")


class Account(models.Model):
    """What a tenant has: cash and gift, both never below zero.

    The two balances are the sums of the tenant's ledger entries in those pockets, kept here so
    that nobody has to add them up. They change only by ``balance = balance + x``.
    """

    tenant = models.OneToOneField(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        primary_key=True,
        related_name="billing_account",
    )
    cash_minor = models.BigIntegerField(_("cash"), default=0, editable=False)
    gift_minor = models.BigIntegerField(_("gift"), default=0, editable=False)
    # Whether what is bought from now on renews by itself; empty for the platform's default.
    auto_renew = models.BooleanField(_("auto-renew by default"), null=True, blank=True)
    # Below what balance people are warned; empty for the platform's default, 0 for never.
    low_balance_minor = models.BigIntegerField(
        _("warn below (minor units)"), null=True, blank=True, editable=False
    )
    # Since when the balance is low. Set when people are told, empty again once it is not.
    low_since = models.DateTimeField(_("low since"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    # The end of the last month that is closed, where the ledger has locked the row; no column.
    closed_until: datetime | None = None

    objects: ClassVar[models.Manager["Account"]] = TenantManager()

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        ordering = ["tenant"]
        constraints = [
            models.CheckConstraint(condition=models.Q(cash_minor__gte=0), name="cash_not_negative"),
            models.CheckConstraint(condition=models.Q(gift_minor__gte=0), name="gift_not_negative"),
            models.CheckConstraint(
                condition=models.Q(low_balance_minor__gte=0), name="low_balance_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"account of {self.tenant_id}"

    @property
    def balance_minor(self) -> int:
        """Cash and gift together."""
        return self.cash_minor + self.gift_minor

    @property
    def renews_by_default(self) -> bool:
        """Whether what is bought renews by itself where nobody says otherwise."""
        if self.auto_renew is None:
            return PlatformSettings.load().auto_renew
        return self.auto_renew


class TransactionKind(models.TextChoices):
    """Why money moved."""

    RECHARGE = "recharge", _("Top up")
    GIFT = "gift", _("Gift")
    DEDUCTION = "deduction", _("Deduction")
    REFUND = "refund", _("Refund")
    EXPIRY = "expiry", _("Gift expired")
    PAYOUT = "payout", _("Paid back")


class LedgerTransaction(models.Model):
    """One movement with its reason and the balances after it. Never updated, never deleted.

    ``amount_minor`` is what the tenant's balance changed by: positive for money that came in.
    ``idempotency_key`` names the cause; the same cause cannot move money twice.
    """

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=transaction_id, editable=False
    )
    # An account has the key of its tenant.
    account = models.ForeignKey(
        Account,
        models.PROTECT,
        verbose_name=_("account"),
        related_name="transactions",
        db_index=False,
    )
    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        related_name="+",
        db_index=False,  # transaction_tenant_at
    )
    kind = models.CharField(_("type"), max_length=10, choices=TransactionKind.choices)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    cash_after_minor = models.BigIntegerField(_("cash after (minor units)"))
    gift_after_minor = models.BigIntegerField(_("gift after (minor units)"))
    order = models.ForeignKey(
        "billing.Order",
        models.PROTECT,
        verbose_name=_("order"),
        null=True,
        related_name="transactions",
    )
    note = models.CharField(_("note"), max_length=300, blank=True)
    actor = models.CharField(_("performed by"), max_length=320)
    idempotency_key = models.CharField(_("idempotency key"), max_length=160, unique=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["LedgerTransaction"]] = TenantManager()

    class Meta:
        verbose_name = _("ledger transaction")
        verbose_name_plural = _("ledger transactions")
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="transaction_tenant_at")]

    def __str__(self) -> str:
        return self.id


class Pocket(models.TextChoices):
    """Where money lies, for one tenant. The entries of a transaction add up to zero."""

    CASH = "cash", _("Cash")
    GIFT = "gift", _("Gift")
    # The other side of the movements: money received, gifts granted, services sold.
    FUNDING = "funding", _("Funding")
    PROMOTION = "promotion", _("Promotion")
    REVENUE = "revenue", _("Revenue")


class LedgerEntry(models.Model):
    """One side of a transaction. Never updated, never deleted."""

    transaction = models.ForeignKey(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("transaction"),
        related_name="entries",
        db_index=False,  # entry_per_pocket
    )
    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        related_name="+",
        db_index=False,  # entry_tenant_pocket
    )
    pocket = models.CharField(_("pocket"), max_length=10, choices=Pocket.choices)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))

    objects: ClassVar[models.Manager["LedgerEntry"]] = TenantManager()

    class Meta:
        verbose_name = _("ledger entry")
        ordering = ["id"]
        verbose_name_plural = _("ledger entries")
        constraints = [
            models.UniqueConstraint(fields=["transaction", "pocket"], name="entry_per_pocket"),
            models.CheckConstraint(
                condition=~models.Q(amount_minor=0), name="entry_moves_something"
            ),
        ]
        indexes = [models.Index(fields=["tenant", "pocket"], name="entry_tenant_pocket")]

    def __str__(self) -> str:
        return f"{self.pocket} {self.amount_minor:+d}"


class GiftLot(models.Model):
    """A gift with a date after which what is left of it is taken back.

    ``left_minor`` is the sum of its moves, kept here so that nobody has to add them up. Gifts
    without a date have no lot: they are what the gift balance holds beyond the lots.
    """

    account = models.ForeignKey(
        Account, models.PROTECT, verbose_name=_("account"), related_name="gift_lots"
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    granted_minor = models.BigIntegerField(_("granted (minor units)"))
    left_minor = models.BigIntegerField(_("left (minor units)"))
    expires_at = models.DateTimeField(_("expires"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["GiftLot"]] = TenantManager()

    class Meta:
        verbose_name = _("gift with expiry")
        verbose_name_plural = _("gifts with expiry")
        ordering = ["expires_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(left_minor__gte=0, left_minor__lte=models.F("granted_minor")),
                name="gift_lot_left",
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "expires_at"],
                condition=models.Q(left_minor__gt=0),
                name="gift_lot_with_money",
            ),
        ]

    def __str__(self) -> str:
        return f"gift until {self.expires_at:%F %T}"


class GiftMove(models.Model):
    """What a transaction moved of a gift with expiry. Never updated, never deleted.

    Positive for what was granted or came back. ``order`` is the order that spent it, also where it
    came back from there.
    """

    lot = models.ForeignKey(GiftLot, models.PROTECT, verbose_name=_("gift"), related_name="moves")
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    transaction = models.ForeignKey(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("transaction"),
        related_name="gift_moves",
    )
    order = models.ForeignKey(
        "billing.Order", models.PROTECT, verbose_name=_("order"), null=True, related_name="+"
    )
    amount_minor = models.BigIntegerField(_("amount (minor units)"))

    objects: ClassVar[models.Manager["GiftMove"]] = TenantManager()

    class Meta:
        verbose_name = _("move of a gift")
        verbose_name_plural = _("moves of gifts")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(amount_minor=0), name="gift_move_moves_something"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.transaction_id}: {self.amount_minor}"
