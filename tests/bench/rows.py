"""A measured goal, and the small arithmetic of measuring."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the report. ``met`` is None where no goal was set: a figure for orientation."""

    what: str
    goal: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """The last column."""
        if self.met is None:
            return "–"
        return "met" if self.met else "**missed**"


def p50(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile by nearest rank: a value that was measured, never a guess."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(0.95 * len(ordered)) - 1)]


def seconds(value: float) -> str:
    """Write a duration in seconds."""
    return f"{value:.2f} s"


def milliseconds(value_s: float) -> str:
    """Write a duration, given in seconds, in milliseconds; a near miss must not look met."""
    return f"{value_s * 1000:.4g} ms"


def spread(values_s: Sequence[float]) -> str:
    """Write median and 95th percentile of durations in milliseconds."""
    return f"p50 {milliseconds(p50(values_s))}, p95 {milliseconds(p95(values_s))}"
