"""Orders, their charges, and why a charge is what it is."""

from typing import Any

from rest_framework import serializers

from billing.models import Charge, Order, OrderLine
from billing.serializers.amounts import MinorUnitsField
from scloud.rest.fields import PlainQuantity
from scloud.rest.shown import ShownSerializer


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
