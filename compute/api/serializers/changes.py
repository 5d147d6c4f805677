"""The price of a change."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ChangeLineShape(serializers.Serializer[Any]):
    """The difference of one SKU for the rest of the paid time."""

    sku = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()
    periods = serializers.CharField()
    discount = serializers.CharField()
    amount = serializers.CharField()


class ChangeQuoteShape(serializers.Serializer[Any]):
    """What a change costs now (``total``) and for a period from then on."""

    currency = serializers.CharField()
    billing_method = serializers.CharField()
    lines = ChangeLineShape(many=True)
    total = serializers.CharField()
    effective = serializers.CharField()
    per_period_before = serializers.CharField()
    per_period = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    paid_until = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()
