"""Payments of tenants through a provider, their refunds, and what the provider said."""

from typing import ClassVar, Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models.decisions import Decided
from billing.models.ledger import LedgerTransaction
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def payment_id() -> str:
    return new_id("pay")


def payment_refund_id() -> str:
    return new_id("payback")


class PaymentStatus(models.TextChoices):
    """Where a payment stands here."""

    CREATED = "created", _("Created")
    PENDING = "pending", _("Awaiting payment")
    PAID = "paid", _("Paid")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    REFUNDED = "refunded", _("Refunded")
    PARTLY_REFUNDED = "partly_refunded", _("Partly refunded")


class Payment(models.Model):
    """Money that a tenant pays through a provider.

    ``transaction`` is the movement that booked it; it exists exactly where the money came in.
    ``provider_name`` and ``page_url`` are what the provider calls it and where it is paid; both are
    empty until the provider has answered. ``asked_at`` is when it was asked last by itself.
    """

    KIND: ClassVar[str] = "payment"
    OPEN: Final = (PaymentStatus.CREATED, PaymentStatus.PENDING)
    BOOKED: Final = (
        PaymentStatus.PAID,
        PaymentStatus.REFUNDED,
        PaymentStatus.PARTLY_REFUNDED,
    )

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=payment_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="payments"
    )
    provider = models.CharField(_("provider"), max_length=20)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    refunded_minor = models.BigIntegerField(_("refunded (minor units)"), default=0)
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(
        _("status"),
        max_length=16,
        choices=PaymentStatus.choices,
        default=PaymentStatus.CREATED,
    )
    provider_name = models.CharField(_("name at the provider"), max_length=120, blank=True)
    page_url = models.CharField(_("page of the provider"), max_length=500, blank=True)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    started_by = models.CharField(_("started by"), max_length=320)
    transaction = models.OneToOneField(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("transaction"),
        null=True,
        blank=True,
        related_name="payment",
    )
    idempotency_key = models.CharField(_("idempotency key"), max_length=160, unique=True)
    created_at = models.DateTimeField(_("started"), default=timezone.now)
    paid_at = models.DateTimeField(_("paid"), null=True, blank=True)
    asked_at = models.DateTimeField(_("provider asked"), null=True, blank=True)

    objects: ClassVar[models.Manager["Payment"]] = TenantManager()

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_minor__gt=0), name="payment_positive"),
            models.CheckConstraint(
                condition=models.Q(
                    refunded_minor__gte=0, refunded_minor__lte=models.F("amount_minor")
                ),
                name="payment_refunded_within",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["paid", "refunded", "partly_refunded"], transaction__isnull=False
                )
                | models.Q(
                    status__in=["created", "pending", "failed", "cancelled"],
                    transaction__isnull=True,
                ),
                name="payment_booked_with_transaction",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="payment_tenant_at"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(status__in=["created", "pending"]),
                name="payment_open",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class PaymentRefundStatus(models.TextChoices):
    """Where a refund of a payment stands here."""

    PENDING = "pending", _("Awaiting a second administrator")
    REJECTED = "rejected", _("Rejected")
    SENT = "sent", _("At the provider")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class PaymentRefund(Decided):
    """Money that an administrator pays back through the provider it came from.

    ``transaction`` takes it from the account before the provider is asked; ``reversal`` puts it
    back where the provider did not pay it.
    """

    # What still counts, or may, against what the payment brought.
    COUNTED: Final = (
        PaymentRefundStatus.PENDING,
        PaymentRefundStatus.SENT,
        PaymentRefundStatus.DONE,
    )

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=payment_refund_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    payment = models.ForeignKey(
        Payment, models.PROTECT, verbose_name=_("payment"), related_name="refunds"
    )
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    remark = models.CharField(_("note"), max_length=200)
    status = models.CharField(
        _("status"),
        max_length=8,
        choices=PaymentRefundStatus.choices,
        default=PaymentRefundStatus.PENDING,
    )
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    transaction = models.OneToOneField(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("transaction"),
        null=True,
        blank=True,
        related_name="payment_refund",
    )
    reversal = models.OneToOneField(
        LedgerTransaction,
        models.PROTECT,
        verbose_name=_("reversal"),
        null=True,
        blank=True,
        related_name="reversed_payment_refund",
    )
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    objects: ClassVar[models.Manager["PaymentRefund"]] = TenantManager()

    class Meta:
        verbose_name = _("refund of a payment")
        verbose_name_plural = _("refunds of payments")
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_minor__gt=0), name="payment_refund_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["sent", "done", "failed"], transaction__isnull=False)
                | models.Q(status__in=["pending", "rejected"], transaction__isnull=True),
                name="payment_refund_taken",
            ),
            models.CheckConstraint(
                condition=models.Q(status="failed", reversal__isnull=False)
                | (~models.Q(status="failed") & models.Q(reversal__isnull=True)),
                name="payment_refund_given_back",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class EventOutcome(models.TextChoices):
    """What news of a provider did."""

    APPLIED = "applied", _("Applied")
    NOTHING_NEW = "nothing_new", _("Nothing new")
    DIFFERS = "differs", _("Differs from our books")
    REPEATED = "repeated", _("Repeated")


class PaymentEvent(models.Model):
    """News of a provider that was taken in; what keeps the same news from counting twice."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    payment = models.ForeignKey(
        Payment, models.PROTECT, verbose_name=_("payment"), related_name="events"
    )
    provider = models.CharField(_("provider"), max_length=20)
    event_id = models.CharField(_("event"), max_length=120)
    said = models.CharField(_("what it says"), max_length=200)
    outcome = models.CharField(_("outcome"), max_length=12, choices=EventOutcome.choices)
    received_at = models.DateTimeField(_("received"), default=timezone.now)

    objects: ClassVar[models.Manager["PaymentEvent"]] = TenantManager()

    class Meta:
        verbose_name = _("event of a payment provider")
        verbose_name_plural = _("events of payment providers")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="payment_event_once"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"


class ProviderSecret(models.Model):
    """The secret by which a provider signs its news, sealed with the site's key."""

    provider = models.CharField(_("provider"), max_length=20, primary_key=True)
    sealed = models.TextField(_("sealed secret"), default="")

    class Meta:
        verbose_name = _("secret of a payment provider")
        verbose_name_plural = _("secrets of payment providers")

    def __str__(self) -> str:
        return self.provider


# --- the books of the sandbox, which stand for those of a provider somewhere else


class SandboxPayment(models.Model):
    """A payment in the sandbox's books. ``token`` is the unguessable part of its page's URL."""

    token = models.CharField(max_length=40, primary_key=True)
    reference = models.CharField(max_length=20, unique=True)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    text = models.CharField(max_length=200)
    return_url = models.CharField(max_length=500)
    state = models.CharField(max_length=10, default="open")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("payment of the sandbox")
        verbose_name_plural = _("payments of the sandbox")

    def __str__(self) -> str:
        return f"{self.reference}: {self.state}"


class SandboxRefund(models.Model):
    """A refund in the sandbox's books."""

    refund = models.CharField(max_length=20, primary_key=True)
    payment = models.ForeignKey(SandboxPayment, models.CASCADE, related_name="refunds")
    amount_minor = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("refund of the sandbox")
        verbose_name_plural = _("refunds of the sandbox")

    def __str__(self) -> str:
        return self.refund


class SandboxEvent(models.Model):
    """News that the sandbox sends until it was taken in."""

    id = models.CharField(max_length=40, primary_key=True)
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("event of the sandbox")
        verbose_name_plural = _("events of the sandbox")
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=models.Q(delivered_at__isnull=True),
                name="sandbox_event_waits",
            )
        ]

    def __str__(self) -> str:
        return self.id
