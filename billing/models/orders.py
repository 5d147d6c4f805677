"""Orders, what they charged for, and the subscriptions that renew.

A thousand hourly resources write nine million of most of these rows in a year. An index that
another one covers, or that nothing asks, is left out.
"""

from typing import ClassVar, Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models.prices import MethodChoice, PriceList
from billing.pricing import RefundRule
from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def order_id() -> str:
    return new_id("order")


class OrderKind(models.TextChoices):
    NEW = "new", _("New")
    RENEWAL = "renewal", _("Renewal")
    UPGRADE = "upgrade", _("Upgrade")
    REFUND = "refund", _("Refund")
    USAGE = "usage", _("Usage")


class Order(models.Model):
    """A paid action with its total. Never updated, never deleted.

    ``total_minor`` is what was paid, ``gift_minor`` the part of it that came from the gift
    balance; both are negative for refunds. ``quote_nonce`` makes a quote good for one order only.
    ``details`` holds what an upgrade changed, so that a failed one can be taken back, and the rule
    of refunds: that under which it was bought, or by which a refund was computed.
    """

    REFUND_RULE: Final = "refund_rule"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=order_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        related_name="orders",
        db_index=False,  # order_tenant_at
    )
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="+", db_index=False
    )
    kind = models.CharField(_("type"), max_length=8, choices=OrderKind.choices)
    method = models.CharField(_("billing method"), max_length=5, choices=MethodChoice.choices)
    total_minor = models.BigIntegerField(_("total (minor units)"))
    gift_minor = models.BigIntegerField(_("from gift (minor units)"))
    currency = models.CharField(_("currency"), max_length=3)
    quote_nonce = models.CharField(_("quote"), max_length=40, null=True, unique=True)
    actor = models.CharField(_("performed by"), max_length=320)
    note = models.CharField(_("note"), max_length=300, blank=True)
    details = models.JSONField(_("details"), default=dict)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["Order"]] = TenantManager()

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="order_tenant_at")]

    def __str__(self) -> str:
        return self.id

    @property
    def refund_rule(self) -> RefundRule:
        """The rule of refunds; orders of the first release know only one."""
        return RefundRule(self.details.get(self.REFUND_RULE, RefundRule.PRO_RATA))


class Charge(models.Model):
    """What one resource paid (or got back) for the period [``begin``, ``end``).

    It links the order, the price list, the period and the resource, so that a replay can compute
    every line again. Never updated, never deleted; ``refunds`` points at the charge that a refund
    gives back, which can happen once.
    """

    order = models.ForeignKey(
        Order, models.PROTECT, verbose_name=_("order"), related_name="charges"
    )
    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        related_name="+",
        db_index=False,  # charge_tenant_at
    )
    price_list = models.ForeignKey(
        PriceList, models.PROTECT, verbose_name=_("price list"), related_name="+"
    )
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40)
    resource_name = models.CharField(_("resource name"), max_length=100, blank=True)
    method = models.CharField(_("billing method"), max_length=5, choices=MethodChoice.choices)
    anchor_day = models.PositiveSmallIntegerField(_("anchor day"))
    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"))
    periods = models.DecimalField(_("periods"), max_digits=12, decimal_places=6)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    gift_minor = models.BigIntegerField(_("from gift (minor units)"))
    # The instant for which price list and discounts were looked up.
    priced_at = models.DateTimeField(_("priced"))
    refunds = models.OneToOneField(
        "self",
        models.PROTECT,
        verbose_name=_("refunded charge"),
        null=True,
        related_name="refunded_by",
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["Charge"]] = TenantManager()

    class Meta:
        verbose_name = _("charge")
        verbose_name_plural = _("charges")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(end__gte=models.F("begin")), name="charge_period"
            ),
        ]
        indexes = [
            models.Index(fields=["resource_id", "begin"], name="charge_resource"),
            models.Index(fields=["tenant", "created_at"], name="charge_tenant_at"),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} {self.begin:%F} to {self.end:%F}"

    def comes_back_by(self, rule: RefundRule) -> RefundRule:
        """The rule of its refund while ``rule`` is in force: never a worse one than it was bought
        under."""
        return rule if self.order.refund_rule is RefundRule.LESS_USED else RefundRule.PRO_RATA


class OrderLine(models.Model):
    """One SKU of a charge: the figures that explain its amount. Never updated, never deleted.

    It is for ``quantity`` units above the first ``above`` of the resource, which other lines paid
    for: the tiers of the price list follow from that. Over several tiers, ``unit_price`` is the
    average. Lines of earlier releases have 0 there; their price lists have no tiers.
    """

    order = models.ForeignKey(Order, models.PROTECT, verbose_name=_("order"), related_name="lines")
    charge = models.ForeignKey(
        Charge, models.PROTECT, verbose_name=_("charge"), related_name="lines"
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+", db_index=False
    )
    label = models.CharField(_("label"), max_length=120, blank=True)
    sku = models.CharField("SKU", max_length=100)
    quantity = models.DecimalField(_("quantity"), max_digits=18, decimal_places=6)
    above = models.DecimalField(
        _("above"), max_digits=18, decimal_places=6, default=0, db_default=0
    )
    unit_price = models.DecimalField(_("unit price"), max_digits=18, decimal_places=6)
    periods = models.DecimalField(_("periods"), max_digits=12, decimal_places=6)
    discount = models.DecimalField(_("discount"), max_digits=5, decimal_places=4)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))

    objects: ClassVar[models.Manager["OrderLine"]] = TenantManager()

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.sku} x {self.quantity}"


class SubscriptionStatus(models.TextChoices):
    ACTIVE = "active", _("Active")
    EXPIRED = "expired", _("Expired")
    ENDED = "ended", _("Ended")


class Subscription(models.Model):
    """What a resource pays for, until when, and how it goes on.

    ``lines`` is what the *next* period costs: ``[{"sku", "quantity", "label"}]``. What the current
    one paid for is in the charges. ``in_bin`` resources are not renewed by themselves.
    """

    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        related_name="subscriptions",
        db_index=False,  # subscription_tenant
    )
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="+", db_index=False
    )
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40, unique=True)
    resource_name = models.CharField(_("resource name"), max_length=100, blank=True)
    method = models.CharField(_("billing method"), max_length=5, choices=MethodChoice.choices)
    status = models.CharField(
        _("status"),
        max_length=8,
        choices=SubscriptionStatus.choices,
        default=SubscriptionStatus.ACTIVE,
    )
    auto_renew = models.BooleanField(_("auto-renew"), default=True)
    in_bin = models.BooleanField(_("in the recycle bin"), default=False)
    anchor_day = models.PositiveSmallIntegerField(_("anchor day"))
    period_start = models.DateTimeField(_("start of the period"))
    paid_until = models.DateTimeField(_("paid until"))
    expired_at = models.DateTimeField(_("expired"), null=True, blank=True)
    overdue_at = models.DateTimeField(_("overdue since"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    lines = models.JSONField(_("lines of the next period"), default=list)
    # The instant of the last change of configuration, up or down; empty once it has failed.
    changed_at = models.DateTimeField(_("changed"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["Subscription"]] = TenantManager()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["paid_until", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(paid_until__gt=models.F("period_start")),
                name="subscription_period",
            ),
        ]
        indexes = [
            models.Index(
                fields=["paid_until"],
                condition=models.Q(status="active"),
                name="subscription_due",
            ),
            models.Index(
                fields=["expired_at"],
                condition=models.Q(status="expired"),
                name="subscription_expired",
            ),
            models.Index(fields=["tenant", "status"], name="subscription_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} until {self.paid_until:%F %T}"


class HeldHour(models.Model):
    """Units that an hourly resource held in an hour which was paid at less.

    They are those above ``above`` up to ``upto``, priced as at ``priced_at``, when their change
    was quoted. Open while ``charge`` is empty; what was charged stays, so that a replay finds it.
    A change that failed takes its own open ones away again: ``changed_at`` says which they are.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    subscription = models.ForeignKey(
        Subscription,
        models.PROTECT,
        verbose_name=_("subscription"),
        related_name="held_hours",
    )
    label = models.CharField(_("label"), max_length=120, blank=True)
    sku = models.CharField("SKU", max_length=100)
    above = models.DecimalField(_("above"), max_digits=18, decimal_places=6)
    upto = models.DecimalField(_("up to"), max_digits=18, decimal_places=6)
    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"))
    priced_at = models.DateTimeField(_("priced"))
    changed_at = models.DateTimeField(_("changed"))
    charge = models.ForeignKey(
        Charge,
        models.PROTECT,
        verbose_name=_("charge"),
        null=True,
        blank=True,
        related_name="held_hours",
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["HeldHour"]] = TenantManager()

    class Meta:
        verbose_name = _("hour held at a larger size")
        verbose_name_plural = _("hours held at a larger size")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(upto__gt=models.F("above")), name="held_hour_has_units"
            ),
            models.CheckConstraint(
                condition=models.Q(end__gt=models.F("begin")), name="held_hour_period"
            ),
        ]
        indexes = [
            models.Index(
                fields=["subscription"],
                condition=models.Q(charge__isnull=True),
                name="held_hour_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.above} to {self.upto}, {self.begin:%F %T}"


class Reminder(models.Model):
    """That people were told that a resource runs out; what keeps them from being told again.

    ``days`` is how long before ``paid_until``: 7, 3 or 1. A renewal moves ``paid_until``, and
    reminders begin anew.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="+")
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, verbose_name=_("subscription"), related_name="reminders"
    )
    paid_until = models.DateTimeField(_("paid until"))
    days = models.PositiveSmallIntegerField(_("days before"))
    created_at = models.DateTimeField(_("reminded"), default=timezone.now)

    objects: ClassVar[models.Manager["Reminder"]] = TenantManager()

    class Meta:
        verbose_name = _("reminder")
        verbose_name_plural = _("reminders")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "paid_until", "days"], name="reminder_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.days} d before {self.paid_until:%F %T}"
