"""What something would cost."""

from typing import Any

from rest_framework import serializers


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
