"""Prometheus' text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ says how it looks and
https://prometheus.io/docs/practices/naming/ what names are like: base units, the unit last, a
counter ends in ``_total``. A name that breaks the form, or one that comes twice with the same
labels, is a defect and raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


class Type(StrEnum):
    """What a family of series is: what it is at the moment, or a sum that only grows."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass
class Family:
    """A metric with all its series: ``samples`` has value and time (ms since 1970) by labels."""

    name: str
    help: str
    type: Type = Type.GAUGE
    samples: dict[tuple[tuple[str, str], ...], tuple[float, int | None]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Raise ValueError for a name that Prometheus or its conventions would not take."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a metric.")
        if (self.type is Type.COUNTER) != self.name.endswith("_total"):
            raise ValueError(f"{self.name} is a {self.type}: counters end in _total, gauges never.")

    def add(
        self,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        at_ms: int | None = None,
    ) -> Family:
        """Add a series. Raises ValueError for bad names of labels and for labels given before."""
        found = labels or {}
        for name in found:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a label.")
        key = tuple(found.items())
        if key in self.samples:
            raise ValueError(f"{self.name} has two values for {dict(key)}.")
        self.samples[key] = (value, at_ms)
        return self


def document(families: Iterable[Family]) -> str:
    """Return the families as text, by name; one without series is left out."""
    lines: list[str] = []
    for family in sorted(families, key=lambda one: one.name):
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for labels, (value, at_ms) in family.samples.items():
            named = ",".join(f'{name}="{_text(text)}"' for name, text in labels)
            series = f"{family.name}{{{named}}}" if named else family.name
            time = "" if at_ms is None else f" {at_ms}"
            lines.append(f"{series} {number(value)}{time}")
    return "".join(f"{line}\n" for line in lines)


def number(value: float) -> str:
    """Return a number as Go's ParseFloat reads it; whole ones without a point."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if float(value).is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(float(value))


def _text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
