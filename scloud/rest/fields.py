"""Fields of serializers that are stricter than DRF's."""

from typing import Any

from rest_framework import serializers


class WholeNumber(serializers.IntegerField):
    """A whole number in ASCII digits; Python would take those of every script."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises DRF's ValidationError."""
        if isinstance(data, str) and not data.isascii():
            self.fail("invalid")
        return super().to_internal_value(data)
