"""Price lists."""

from typing import Any

from rest_framework import serializers


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
