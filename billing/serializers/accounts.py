"""The account: balances, movements, payments."""

from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import money, queries
from billing.models import Account, LedgerTransaction, Payment
from billing.serializers.amounts import AMOUNT, AMOUNT_OR_NULL, MinorUnitsField
from scloud.rest.fields import PlainDecimal
from scloud.rest.shown import ShownSerializer


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

    @extend_schema_field(AMOUNT_OR_NULL)
    def get_low_balance_below(self, account: Account) -> str | None:
        """The tenant's choice."""
        chosen = account.low_balance_minor
        return None if chosen is None else money.show(chosen)

    @extend_schema_field(AMOUNT_OR_NULL)
    def get_warns_below(self, account: Account) -> str | None:
        """The choice, or the platform's."""
        below = self._outlook.warns_below
        return None if below is None else str(below)

    @extend_schema_field(AMOUNT)
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


class DefaultAutoRenewInput(serializers.Serializer[Any]):
    """On, off, or null for the platform's default."""

    auto_renew = serializers.BooleanField(allow_null=True)


class LowBalanceInput(serializers.Serializer[Any]):
    """An amount in whole currency units, 0 for never, or null for the platform's default."""

    below = PlainDecimal(max_digits=20, decimal_places=6, allow_null=True)


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
