"""Fields of serializers that are stricter than DRF's."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from scloud.lib.decimals import is_plain, is_whole, plain
from scloud.lib.text import unix_lines


class WholeNumber(serializers.IntegerField):
    """A whole number in plain digits; Python would take blanks and the digits of every script."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises DRF's ValidationError."""
        if not is_whole(data):
            self.fail("invalid")
        return super().to_internal_value(data)


class PlainDecimal(serializers.DecimalField):
    """An amount in plain digits; Python would take exponents and the digits of every script.

    Nothing is null, where that is allowed; DRF would take an empty text for it.
    """

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        """Tell whether the value is settled already, and return it."""
        return serializers.Field.validate_empty_values(self, data)

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the number. Raises DRF's ValidationError."""
        if not is_plain(data):
            self.fail("invalid")
        return super().to_internal_value(data)


class PlainQuantity(serializers.DecimalField):
    """A number for reading: ``"40"``, neither ``"4E+1"`` nor ``"40.000000"``."""

    def to_representation(self, value: Any) -> str:
        """Return the text."""
        return plain(Decimal(value))


class Lines(serializers.CharField):
    """A text of several lines, whose ends count as one character each."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raises DRF's ValidationError."""
        return unix_lines(super().to_internal_value(data))
