"""The shapes of billing in the API. Money is text in whole currency units, such as "12.30"."""

from typing import Any, Final

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import budgets, money, queries, quotas
from billing.models import (
    ADDRESS_CHARACTERS,
    ADDRESS_LINES,
    MOST_PERCENT,
    STEPS_PER_BUDGET,
    Account,
    BillingAddress,
    Budget,
    Charge,
    LedgerTransaction,
    Order,
    OrderLine,
    Payment,
    QuotaItem,
    QuotaRequest,
    Statement,
    StatementLine,
    StatementMove,
    Subscription,
)
from scloud.rest.fields import Lines, PlainDecimal, PlainQuantity, WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.verbs import refusals

_AMOUNT: Final = {"type": "string", "format": "decimal"}
_AMOUNT_OR_NULL: Final = {**_AMOUNT, "nullable": True}


@extend_schema_field(_AMOUNT)
class MinorUnitsField(serializers.Field[int, str, str, Any]):
    """Whole minor units, shown as money."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["read_only"] = True
        super().__init__(**kwargs)

    def to_representation(self, value: int) -> str:
        return money.show(value)


class GiftShape(serializers.Serializer[Any]):
    """What is left of a gift, and when it expires."""

    left = serializers.CharField()
    expires_at = serializers.DateTimeField()


class AccountSerializer(ShownSerializer[Account]):
    """The balances of the tenant, and whether what it buys renews by itself.

    ``auto_renew`` is the tenant's choice, null where it leaves that to the platform;
    ``renews_by_default`` is what comes of it. ``gifts`` are the parts of the gift balance that
    expire, the next first. ``lasts_until`` is the first automatic renewal that the balance does not
    cover at today's prices, null where that is more than a year away or nothing renews.
    ``low_balance_below`` is the tenant's choice below what balance it is warned, null where it
    leaves that to the platform; ``warns_below`` is what comes of it, null for never. ``low_since``
    is since when it is below. ``usage_owed`` is owed for metered usage of past days, which the
    balance does not cover yet.
    """

    currency = serializers.SerializerMethodField()
    cash = MinorUnitsField(source="cash_minor")
    gift = MinorUnitsField(source="gift_minor")
    balance = MinorUnitsField(source="balance_minor")
    renews_by_default = serializers.BooleanField()
    gifts = serializers.SerializerMethodField()
    lasts_until = serializers.SerializerMethodField()
    low_balance_below = serializers.SerializerMethodField()
    warns_below = serializers.SerializerMethodField()
    usage_owed = serializers.SerializerMethodField()

    class Meta:
        model = Account
        fields = (
            "currency",
            "cash",
            "gift",
            "balance",
            "gifts",
            "auto_renew",
            "renews_by_default",
            "lasts_until",
            "low_balance_below",
            "warns_below",
            "low_since",
            "usage_owed",
        )

    @cached_property
    def _outlook(self) -> queries.Outlook:
        """Computed once for the fields that are of it."""
        assert isinstance(self.instance, Account)
        return queries.outlook(self.instance, timezone.now())

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_lasts_until(self, account: Account) -> str | None:
        """The first renewal that the balance does not cover."""
        found = self._outlook.lasts_until
        return None if found is None else serializers.DateTimeField().to_representation(found)

    @extend_schema_field(_AMOUNT_OR_NULL)
    def get_low_balance_below(self, account: Account) -> str | None:
        """The tenant's choice."""
        chosen = account.low_balance_minor
        return None if chosen is None else money.show(chosen)

    @extend_schema_field(_AMOUNT_OR_NULL)
    def get_warns_below(self, account: Account) -> str | None:
        """The choice, or the platform's."""
        below = self._outlook.warns_below
        return None if below is None else str(below)

    @extend_schema_field(_AMOUNT)
    def get_usage_owed(self, account: Account) -> str:
        """What is owed for past days."""
        return str(self._outlook.owed)

    @extend_schema_field(GiftShape(many=True))
    def get_gifts(self, account: Account) -> Any:
        """Gifts that expire."""
        found = queries.gifts(account.tenant_id, timezone.now())
        shown = [{"left": str(left), "expires_at": at} for left, at in found]
        return GiftShape(shown, many=True).data

    def get_currency(self, account: Account) -> str:
        """The currency of all figures."""
        return money.currency()


class OrderLineSerializer(ShownSerializer[OrderLine]):
    """One SKU of a charge with the figures that explain its amount.

    It is for the units above the first ``above`` of the resource. Over several tiers of the price,
    ``unit_price`` is the average.
    """

    amount = MinorUnitsField(source="amount_minor")
    quantity = PlainQuantity(max_digits=18, decimal_places=6)
    above = PlainQuantity(max_digits=18, decimal_places=6)
    periods = PlainQuantity(max_digits=12, decimal_places=6)

    class Meta:
        model = OrderLine
        fields = (
            "label",
            "sku",
            "quantity",
            "above",
            "unit_price",
            "periods",
            "discount",
            "amount",
        )


class ChargeSerializer(ShownSerializer[Charge]):
    """What one resource paid for a period."""

    amount = MinorUnitsField(source="amount_minor")
    gift = MinorUnitsField(source="gift_minor")
    price_list_version = serializers.IntegerField(source="price_list.version")
    periods = PlainQuantity(max_digits=12, decimal_places=6)
    lines = OrderLineSerializer(many=True)

    class Meta:
        model = Charge
        fields = (
            "resource_kind",
            "resource_id",
            "resource_name",
            "begin",
            "end",
            "periods",
            "price_list_version",
            "amount",
            "gift",
            "lines",
        )


class OrderSerializer(ShownSerializer[Order]):
    """An order with its charges."""

    total = MinorUnitsField(source="total_minor")
    gift = MinorUnitsField(source="gift_minor")
    charges = ChargeSerializer(many=True)

    class Meta:
        model = Order
        fields = (
            "id",
            "kind",
            "region",
            "method",
            "currency",
            "total",
            "gift",
            "actor",
            "note",
            "created_at",
            "charges",
        )


class ExplanationStepShape(serializers.Serializer[Any]):
    """One sentence, and what it is about."""

    key = serializers.ChoiceField(
        choices=["order", "period", "prices", "tier", "line", "total", "payment", "check"]
    )
    title = serializers.CharField()
    text = serializers.CharField()


class ExplanationShape(serializers.Serializer[Any]):
    """A charge with the sentences that lead from its order to its amount.

    ``adds_up`` says whether the same amount came out when it was computed again now.
    """

    order = serializers.CharField()
    number = serializers.IntegerField()
    currency = serializers.CharField()
    charge = ChargeSerializer()
    steps = ExplanationStepShape(many=True)
    adds_up = serializers.BooleanField()


class TransactionSerializer(ShownSerializer[LedgerTransaction]):
    """A movement of money with the balances after it."""

    amount = MinorUnitsField(source="amount_minor")
    cash_after = MinorUnitsField(source="cash_after_minor")
    gift_after = MinorUnitsField(source="gift_after_minor")

    class Meta:
        model = LedgerTransaction
        fields = (
            "id",
            "kind",
            "amount",
            "cash_after",
            "gift_after",
            "order",
            "note",
            "actor",
            "created_at",
        )


class SubscriptionLineShape(serializers.Serializer[Any]):
    """What the next period costs for one SKU."""

    sku = serializers.CharField()
    quantity = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        # "label" is an attribute of every serializer, so it cannot be declared as a field.
        return {**super().get_fields(), "label": serializers.CharField()}


class UpcomingShape(serializers.Serializer[Any]):
    """What will happen to a resource by itself, and when.

    ``unbinding`` is that a disk, an external IP or an ENI is taken off the VM that it is bound to.
    """

    kind = serializers.ChoiceField(
        choices=["renewal", "reminder", "expiry", "unbinding", "bin", "destruction"]
    )
    at = serializers.DateTimeField()


class SubscriptionSerializer(ShownSerializer[Subscription]):
    """What a resource pays for and until when; ``month_cost`` is what it cost this month.

    ``upcoming`` is what will happen by itself if nobody does anything, the next first.
    """

    month_cost = MinorUnitsField(source="month_minor")
    lines = SubscriptionLineShape(many=True)
    upcoming = serializers.SerializerMethodField()

    class Meta:
        model = Subscription
        fields = (
            "resource_kind",
            "resource_id",
            "resource_name",
            "region",
            "method",
            "status",
            "auto_renew",
            "period_start",
            "paid_until",
            "month_cost",
            "lines",
            "upcoming",
        )

    @cached_property
    def _platform(self) -> PlatformSettings:
        """Read once for all rows of a list."""
        return PlatformSettings.load()

    @extend_schema_field(UpcomingShape(many=True))
    def get_upcoming(self, row: Subscription) -> Any:
        """What will happen by itself."""
        found = queries.upcoming(row, self._platform, timezone.now())
        return UpcomingShape(found, many=True).data


class RenewalQuoteInput(serializers.Serializer[Any]):
    """How many periods: 1-24 hours, 1-11 months or 1-5 years, as the resource is billed."""

    periods = WholeNumber(min_value=1, max_value=24)


class RenewInput(RenewalQuoteInput):
    """The periods and the token of the quote that was accepted."""

    quote_token = serializers.CharField(max_length=2000)


class TogetherQuoteInput(serializers.Serializer[Any]):
    """Which resources, and either ``periods`` or ``until``.

    With ``until``, a date, all are paid until the beginning of that day in the billing time zone.
    """

    resources = serializers.ListField(
        child=serializers.CharField(max_length=40), min_length=1, max_length=100
    )
    periods = WholeNumber(min_value=1, max_value=24, required=False, allow_null=True, default=None)
    until = serializers.DateField(required=False, allow_null=True, default=None)


class TogetherInput(TogetherQuoteInput):
    """The same, and the token of the quote that was accepted."""

    quote_token = serializers.CharField(max_length=2000)


class TogetherPartShape(serializers.Serializer[Any]):
    """What one of the resources pays, and until when it is paid then."""

    resource_kind = serializers.CharField()
    resource_id = serializers.CharField()
    resource_name = serializers.CharField(allow_blank=True)
    billing_method = serializers.CharField()
    paid_until = serializers.DateTimeField()
    total = serializers.CharField()


class TogetherQuoteShape(serializers.Serializer[Any]):
    """What renewing all of them costs. ``token`` renews at this price for ten minutes, once."""

    currency = serializers.CharField()
    resources = TogetherPartShape(many=True)
    total = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()


class DefaultAutoRenewInput(serializers.Serializer[Any]):
    """On, off, or null for the platform's default."""

    auto_renew = serializers.BooleanField(allow_null=True)


class LowBalanceInput(serializers.Serializer[Any]):
    """An amount in whole currency units, 0 for never, or null for the platform's default."""

    below = PlainDecimal(max_digits=20, decimal_places=6, allow_null=True)


class BudgetSerializer(ShownSerializer[Budget]):
    """A budget and what is spent of it in the month of its time zone.

    ``tag`` is null for one of all resources. ``percent`` is how much of ``amount`` is spent,
    ``forecast`` what the month will have cost with the renewals that are still due.
    ``block_percent`` is from where on it stops purchases and larger sizes, null for never.
    """

    amount = MinorUnitsField(source="amount_minor")
    spent = serializers.SerializerMethodField()
    forecast = serializers.SerializerMethodField()
    percent = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields = (
            "id",
            "name",
            "tag",
            "amount",
            "time_zone",
            "warn_percents",
            "block_percent",
            "spent",
            "forecast",
            "percent",
            "created_at",
            "allowed_actions",
        )

    @cached_property
    def _standings(self) -> dict[str, budgets.Standing]:
        """Read once for all rows of a list."""
        tenant: Tenant = self.context["view"].tenant
        rows = list(Budget.objects.filter(tenant=tenant))
        return {one.budget.pk: one for one in budgets.standings(tenant, rows, timezone.now())}

    def _standing(self, row: Budget) -> budgets.Standing:
        """That of a row; one that was deleted since the list was read is read by itself."""
        found = self._standings.get(row.pk)
        return found or budgets.standings(row.tenant, [row], timezone.now())[0]

    @extend_schema_field(_AMOUNT)
    def get_spent(self, row: Budget) -> str:
        """What was charged, refunds taken off."""
        return str(self._standing(row).spent)

    @extend_schema_field(_AMOUNT)
    def get_forecast(self, row: Budget) -> str:
        """The same with what still renews."""
        return str(self._standing(row).forecast)

    def get_percent(self, row: Budget) -> int:
        """How much is spent."""
        return self._standing(row).percent

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed_actions(self, row: Budget) -> list[str]:
        """The verbs that nothing is known against."""
        found = refusals.allowed_actions(self.context["view"].actor, Budget.KIND, row)
        return [verb for verb, reason in found if not reason]


class BudgetInput(serializers.Serializer[Any]):
    """A budget as a whole; ``amount`` is for a month, in whole currency units."""

    name = serializers.CharField(max_length=60)
    amount = PlainDecimal(max_digits=20, decimal_places=6)
    tag = serializers.CharField(max_length=120, allow_blank=True, default="")
    warn_percents = serializers.ListField(
        child=WholeNumber(min_value=1, max_value=MOST_PERCENT),
        max_length=STEPS_PER_BUDGET,
        default=[80, 100],
    )
    block_percent = WholeNumber(min_value=1, max_value=MOST_PERCENT, allow_null=True, default=None)
    time_zone = serializers.CharField(max_length=60, allow_blank=True, default="")


class AutoRenewInput(serializers.Serializer[Any]):
    """On or off."""

    auto_renew = serializers.BooleanField()


class TierShape(serializers.Serializer[Any]):
    """Units of a line in one tier of its price: ``quantity`` above the first ``above``."""

    above = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()


class QuoteLineShape(serializers.Serializer[Any]):
    """A line of a quote. Where its price has ``tiers``, ``unit_price`` is the average."""

    part = serializers.CharField()
    sku = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()
    discount = serializers.CharField()
    amount = serializers.CharField()
    total = serializers.CharField()
    tiers = TierShape(many=True)

    def get_fields(self) -> dict[str, Any]:
        # "label" is an attribute of every serializer, so it cannot be declared as a field.
        return {**super().get_fields(), "label": serializers.CharField()}


class QuoteShape(serializers.Serializer[Any]):
    """What it costs. ``token`` buys at exactly this price for ten minutes, once."""

    currency = serializers.CharField()
    billing_method = serializers.CharField()
    periods = serializers.IntegerField()
    count = serializers.IntegerField()
    lines = QuoteLineShape(many=True)
    total = serializers.CharField()
    per_period = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()


class EndQuoteShape(serializers.Serializer[Any]):
    """What destroying a resource gives back and charges.

    ``due`` is for hours that were held at a larger size than they were paid at.
    """

    currency = serializers.CharField()
    refund = serializers.CharField()
    due = serializers.CharField()


class RechargeInput(serializers.Serializer[Any]):
    """An amount in whole currency units."""

    amount = PlainDecimal(max_digits=20, decimal_places=6)


class PaymentSerializer(ShownSerializer[Payment]):
    """A payment through the provider. ``page_url`` is where it is paid while it is open."""

    amount = MinorUnitsField(source="amount_minor")
    refunded = MinorUnitsField(source="refunded_minor")

    class Meta:
        model = Payment
        fields = (
            "id",
            "status",
            "amount",
            "refunded",
            "currency",
            "reason",
            "page_url",
            "transaction",
            "created_at",
            "paid_at",
        )


class PaymentInput(serializers.Serializer[Any]):
    """What is to be paid through the provider, in whole currency units."""

    amount = PlainDecimal(max_digits=20, decimal_places=6)


class QuotaShape(serializers.Serializer[Any]):
    """One quota of the tenant in a region."""

    item = serializers.ChoiceField(choices=QuotaItem.choices)
    used = serializers.IntegerField()
    limit = serializers.IntegerField()
    left = serializers.IntegerField()
    limit_afterwards = serializers.IntegerField(
        help_text="The limit after `expires_at`; the same as `limit` where nothing expires."
    )
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when a raise is in force, if one is."
    )
    limit_source = serializers.ChoiceField(
        choices=quotas.Source.choices, source="source", help_text="Where the limit comes from."
    )


class QuotaRequestSerializer(ShownSerializer[QuotaRequest]):
    """A request for a higher limit and its answer."""

    class Meta:
        model = QuotaRequest
        fields = (
            "id",
            "region",
            "item",
            "limit_before",
            "limit_wanted",
            "reason",
            "status",
            "answer",
            "decided_at",
            "expires_at",
            "created_at",
        )


class QuotaRequestInput(serializers.Serializer[Any]):
    """Which quota in which region, and how much."""

    region = serializers.CharField(max_length=30)
    item = serializers.ChoiceField(choices=QuotaItem.choices)
    limit_wanted = WholeNumber(min_value=1, max_value=10**9)
    reason = Lines(max_length=1000, required=False, allow_blank=True, default="")


class PriceShape(serializers.Serializer[Any]):
    """The price of one unit of a SKU for one period, before the tenant's discount.

    It is that of each unit of a resource above ``above``. A price with tiers has several entries,
    the first with ``above`` 0.
    """

    sku = serializers.CharField()
    method = serializers.CharField()
    above = serializers.IntegerField()
    unit_price = serializers.DecimalField(max_digits=18, decimal_places=6)
    discount = serializers.DecimalField(max_digits=5, decimal_places=4)


class PriceListShape(serializers.Serializer[Any]):
    """The price list in force in a region."""

    region = serializers.CharField()
    version = serializers.IntegerField()
    effective_from = serializers.DateTimeField()
    currency = serializers.CharField()
    prices = PriceShape(many=True)


class ChangeLineShape(serializers.Serializer[Any]):
    """The difference of one SKU for the rest of the paid time. Where its price has ``tiers``,
    ``unit_price`` is the average."""

    sku = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()
    periods = serializers.CharField()
    discount = serializers.CharField()
    amount = serializers.CharField()
    tiers = TierShape(many=True)


class ChangeQuoteShape(serializers.Serializer[Any]):
    """What a change costs now (``total``) and for a period from then on.

    ``begun_hour`` is what it adds to the hour that has begun, for hourly resources: it is charged
    with the first hour at a smaller size, or when the resource is destroyed. Where it adds
    something, ``already_open`` is what resources of the tenant left open in the same way before.
    ``affordable`` says whether the balance covers both, too. ``next_period`` is what the next
    period will cost: more than ``per_period`` where hours before are charged with it.
    """

    currency = serializers.CharField()
    billing_method = serializers.CharField()
    lines = ChangeLineShape(many=True)
    total = serializers.CharField()
    effective = serializers.CharField()
    per_period_before = serializers.CharField()
    per_period = serializers.CharField()
    begun_hour = serializers.CharField()
    already_open = serializers.CharField()
    next_period = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    paid_until = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()


class StatementSerializer(ShownSerializer[Statement]):
    """A month of the tenant in figures; ``month`` is such as ``2026-10``.

    ``number`` is null while the month goes on. ``charged`` is what was charged, refunds taken off;
    ``tax`` is in it where ``tax_included``, and ``net`` is the rest. Without ``tax_percent`` no tax
    was set up.
    """

    month = serializers.CharField(source="month_text")
    number = serializers.SerializerMethodField()
    opening_cash = MinorUnitsField(source="opening_cash_minor")
    opening_gift = MinorUnitsField(source="opening_gift_minor")
    closing_cash = MinorUnitsField(source="closing_cash_minor")
    closing_gift = MinorUnitsField(source="closing_gift_minor")
    charged = MinorUnitsField(source="charged_minor")
    net = MinorUnitsField(source="net_minor")
    tax = MinorUnitsField(source="tax_minor")

    class Meta:
        model = Statement
        fields = (
            "month",
            "number",
            "begin",
            "end",
            "currency",
            "opening_cash",
            "opening_gift",
            "closing_cash",
            "closing_gift",
            "charged",
            "net",
            "tax",
            "tax_name",
            "tax_percent",
            "tax_included",
            "buyer",
            "buyer_tax_id",
            "seller",
            "seller_tax_id",
            "created_at",
        )

    @extend_schema_field({"type": "string", "nullable": True})
    def get_number(self, row: Statement) -> str | None:
        """The number of a closed month."""
        return row.number or None


class StatementMoveSerializer(ShownSerializer[StatementMove]):
    """What movements of one kind changed."""

    cash = MinorUnitsField(source="cash_minor")
    gift = MinorUnitsField(source="gift_minor")

    class Meta:
        model = StatementMove
        fields = ("kind", "cash", "gift")


class StatementLineSerializer(ShownSerializer[StatementLine]):
    """``count`` charges of a resource, each of ``unit_price``; ``gift`` is the part from gifts.

    ``order`` is null where they belong to several orders. One of a month whose details have been
    deleted is not there any more.
    """

    order = serializers.CharField(source="order_id", allow_null=True, read_only=True)
    unit_price = MinorUnitsField(source="unit_minor")
    amount = MinorUnitsField(source="amount_minor")
    gift = MinorUnitsField(source="gift_minor")

    class Meta:
        model = StatementLine
        fields = (
            "resource_kind",
            "resource_id",
            "resource_name",
            "order_kind",
            "order",
            "method",
            "begin",
            "end",
            "count",
            "unit_price",
            "amount",
            "gift",
            "tags",
        )


class StatementSumShape(serializers.Serializer[Any]):
    """What is charged under a name: a kind of resource, or a tag."""

    name = serializers.CharField()
    amount = serializers.CharField()


class StatementProjectShape(serializers.Serializer[Any]):
    """What is charged under a project; ``name`` is null for what belongs to none."""

    name = serializers.CharField(allow_null=True)
    amount = serializers.CharField()


class StatementResourceShape(serializers.Serializer[Any]):
    """What is charged for a resource."""

    resource_kind = serializers.CharField(source="kind")
    resource_id = serializers.CharField(source="id")
    resource_name = serializers.CharField(source="name")
    amount = MinorUnitsField(source="amount_minor")


class StatementPaperShape(serializers.Serializer[Any]):
    """A statement with its movements, sums and lines.

    A resource counts under each of its tags, which are those that it had when the month was
    closed; while it goes on, those that it has now. It belongs to one project: the value of its
    tag with the key ``project``, the first in order of several. ``by_project`` adds up to
    ``charged``. ``by_resource`` has the 200 resources that cost most.
    """

    statement = StatementSerializer()
    moves = StatementMoveSerializer(many=True)
    by_kind = StatementSumShape(many=True)
    by_tag = StatementSumShape(many=True)
    by_project = StatementProjectShape(many=True)
    by_resource = StatementResourceShape(many=True)
    lines = StatementLineSerializer(many=True)


class AddressSerializer(ShownSerializer[BillingAddress]):
    """Whom statements are for."""

    class Meta:
        model = BillingAddress
        fields = ("name", "lines", "country", "tax_number", "updated_at")


class AddressInput(serializers.Serializer[Any]):
    """A billing address as a whole."""

    name = serializers.CharField(max_length=ADDRESS_CHARACTERS)
    lines = serializers.ListField(
        child=serializers.CharField(max_length=ADDRESS_CHARACTERS),
        max_length=ADDRESS_LINES,
        default=[],
    )
    country = serializers.CharField(max_length=60, allow_blank=True, default="")
    tax_number = serializers.CharField(max_length=40, allow_blank=True, default="")
