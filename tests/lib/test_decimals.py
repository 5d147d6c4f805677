"""Numbers in plain digits, for reading and for writing."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework import serializers

from scloud.lib.decimals import is_plain, is_whole, plain
from scloud.lib.form_fields import PlainDecimalField, PlainIntegerField
from scloud.rest.fields import PlainDecimal, PlainQuantity, WholeNumber

STRANGE = [
    "1e3",
    "1E3",
    "4E+1",
    "1_000",
    "1 000",
    " 1000",
    "1000 ",
    "1000\n",
    "+5",
    "\uff11\uff10\uff10",
    "\u0661\u0662",
    "\uff0b5",
    "\uff0d5",
    "\u22125",
    "1,5",
    "NaN",
    "Infinity",
    "-Infinity",
    ".5",
    "5.",
    "--5",
    "0x10",
    "\u00b2",
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("4E+1"), "40"),
        (Decimal("40.000000"), "40"),
        (Decimal("0.50"), "0.5"),
        (Decimal("-0"), "0"),
        (Decimal("1E-6"), "0.000001"),
        (Decimal("-1.50"), "-1.5"),
        (40, "40"),
    ],
)
def test_a_number_is_written_plainly(value: Decimal | int, text: str) -> None:
    assert plain(value) == text


# The first number may take seconds on a busy machine; what is looked at is the text.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_what_is_written_is_plain_and_the_same_number(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()


@pytest.mark.parametrize("text", STRANGE)
def test_fields_refuse_what_is_no_plain_number(text: str) -> None:
    assert not is_plain(text)
    with pytest.raises(ValidationError):
        PlainDecimalField().clean(text)
    with pytest.raises(serializers.ValidationError):
        PlainDecimal(max_digits=20, decimal_places=6).run_validation(text)


@pytest.mark.parametrize("text", ["1000", "12.50", "0", "-5"])
def test_fields_take_plain_numbers(text: str) -> None:
    assert PlainDecimalField().clean(text) == Decimal(text)
    field: Any = PlainDecimal(max_digits=20, decimal_places=6)
    assert field.run_validation(text) == Decimal(text)
    assert field.run_validation(5) == 5


@pytest.mark.parametrize("text", [*STRANGE, "5.0", "1.5", "5.", "0.0"])
def test_fields_refuse_what_is_no_plain_whole_number(text: str) -> None:
    assert not is_whole(text)
    with pytest.raises(ValidationError):
        PlainIntegerField().clean(text)
    with pytest.raises(serializers.ValidationError):
        WholeNumber().run_validation(text)


@pytest.mark.parametrize("text", ["40", "0", "-5", "007"])
def test_fields_take_plain_whole_numbers(text: str) -> None:
    assert PlainIntegerField().clean(text) == WholeNumber().run_validation(text) == int(text)
    assert WholeNumber().run_validation(5) == 5


def test_a_quantity_is_read_without_zeros() -> None:
    assert PlainQuantity(max_digits=18, decimal_places=6).to_representation("40.000000") == "40"
