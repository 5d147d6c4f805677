"""How an amount is split: to the last unit, and each part as near as it can be."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.orders import share


@pytest.mark.parametrize(
    ("whole", "weights", "parts"),
    [
        (10, [1, 1, 1], [3, 4, 3]),
        # A half goes to the one that comes first.
        (1, [1, 1], [1, 0]),
        (3, [1, 1], [2, 1]),
        (5, [3, 3], [3, 2]),
        (1, [1, 3], [0, 1]),
        (7, [0, 5, 0], [0, 7, 0]),
        (0, [4, 5], [0, 0]),
        (7, [7, 0], [7, 0]),
        (9, [0, 0], [0, 0]),
        (9, [], []),
    ],
)
def test_parts_are_rounded_where_they_end(whole: int, weights: list[int], parts: list[int]) -> None:
    assert share(whole, weights) == parts


# However slowly a busy machine draws.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_parts_add_up_and_differ_from_the_exact_ones_by_less_than_one(
    whole: int, weights: list[int]
) -> None:
    parts, total = share(whole, weights), sum(weights)
    assert sum(parts) == (whole if total else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * total - whole * weight) <= total
        assert part >= 0
