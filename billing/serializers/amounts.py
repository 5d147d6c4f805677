"""Money in answers."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import money

AMOUNT: Final = {"type": "string", "format": "decimal"}
AMOUNT_OR_NULL: Final = {**AMOUNT, "nullable": True}


@extend_schema_field(AMOUNT)
class MinorUnitsField(serializers.Field[int, str, str, Any]):
    """Whole minor units, shown as money."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["read_only"] = True
        super().__init__(**kwargs)

    def to_representation(self, value: int) -> str:
        return money.show(value)
