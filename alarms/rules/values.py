"""Values and thresholds in the units that people use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.catalogue import METRICS, Metric, Unit
from alarms.states.alarms import SIGNS
from alarms.store.base import MAX_VALUE
from scloud.lib.errors import InvalidInput
from scloud.lib.sizes import size_bytes

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit in which a threshold may be given: ``factor`` of the metric's own unit."""

    key: str
    label: str | Promise
    factor: float


#: By the unit of the metric; the first is offered first.
SCALES: Final[Mapping[Unit, tuple[Scale, ...]]] = {
    Unit.RATIO: (Scale("percent", "%", 0.01),),
    Unit.BYTES: (Scale("mb", "MB", MIB), Scale("gb", "GB", 1024 * MIB)),
    Unit.BYTES_PER_SECOND: (
        Scale("mbit_per_second", "Mb/s", 125_000),
        Scale("kb_per_second", "KB/s", 1024),
        Scale("mb_per_second", "MB/s", MIB),
    ),
    Unit.PER_SECOND: (Scale("per_second", gettext_lazy("per second"), 1.0),),
    Unit.COUNT: (Scale("count", gettext_lazy("number"), 1.0),),
}
_TYPED: Final = re.compile(r"(?P<number>[0-9]{1,30}(\.[0-9]{1,10})?)(?P<unit>\s*\D[^0-9]{0,19}|)")
SCALE_KEYS: Final = tuple(scale.key for scales in SCALES.values() for scale in scales)


def scale_of(metric: Metric, key: str) -> Scale:
    """Return a unit of a metric by its key, the usual one for an empty key.

    Raises InvalidInput (``unit_invalid``).
    """
    scales = SCALES[metric.unit]
    if not key:
        return scales[0]
    for scale in scales:
        if scale.key == key:
            return scale
    raise InvalidInput(
        _("%(metric)s is not measured in this unit.") % {"metric": metric.label},
        code="unit_invalid",
        field="unit",
        remedy=_("Choose one of %(choices)s.") % {"choices": ", ".join(one.key for one in scales)},
        numbers={"allowed": [one.key for one in scales]},
    )


def checked_threshold(metric: Metric, number: float, *, unit: str = "") -> float:
    """Return a threshold in the metric's own unit.

    Raises InvalidInput (``threshold_invalid``, ``unit_invalid``): no measurement is infinite or not
    a number, and none of a share lies outside of 0 and 100 %.
    """
    value = number * scale_of(metric, unit).factor if math.isfinite(number) else math.nan
    highest = 1.0 if metric.unit is Unit.RATIO else MAX_VALUE
    if not 0 <= value <= highest:
        raise InvalidInput(
            _("This is not a threshold of %(metric)s.") % {"metric": metric.label},
            code="threshold_invalid",
            field="threshold",
            remedy=_("Enter a number from 0 to 100.")
            if metric.unit is Unit.RATIO
            else _("Enter a number that is not negative."),
        )
    return value


def parsed_threshold(metric: Metric, text: str) -> tuple[float, str]:
    """Return number and unit of a threshold that was typed, such as ``90 %`` or ``20 Mb/s``.

    Raises InvalidInput (``threshold_invalid``, ``unit_invalid``).
    """
    found = _TYPED.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            _("“%(text)s” is not a threshold.") % {"text": text.strip()[:30]},
            code="threshold_invalid",
            field="threshold",
            remedy=_("Enter a number with its unit, such as %(example)s.")
            % {"example": f"10 {SCALES[metric.unit][0].label}"},
        )
    number, unit = float(found["number"]), found["unit"].strip()
    if not unit:
        return number, ""
    for scale in SCALES[metric.unit]:
        # Mb/s and MB/s are eight apart: only what differs by nothing else is taken as it is.
        if unit == str(scale.label) or unit == scale.key:
            return number, scale.key
    folded = [one for one in SCALES[metric.unit] if str(one.label).lower() == unit.lower()]
    if len(folded) == 1:
        return number, folded[0].key
    labels = ", ".join(str(one.label) for one in SCALES[metric.unit])
    raise InvalidInput(
        _("%(metric)s is not measured in %(unit)s.") % {"metric": metric.label, "unit": unit[:20]},
        code="unit_invalid",
        field="threshold",
        remedy=_("Use one of %(choices)s.") % {"choices": labels},
    )


def in_scale(metric: Metric, value: float) -> tuple[str, Scale]:
    """Return a threshold as it is typed, with the unit in which it is shortest."""
    shown = [(f"{round(value / scale.factor, 4):.10g}", scale) for scale in SCALES[metric.unit]]
    return min(shown, key=lambda one: len(one[0]))


def value_text(name: str, value: float | None) -> str:
    """Return a value of a metric with its unit, such as ``95.3 %``."""
    metric = METRICS.get(name)
    if value is None or metric is None:
        return "—"
    if metric.unit is Unit.RATIO:
        return f"{_plain(100 * value)} %"
    if metric.unit is Unit.BYTES:
        return size_bytes(value)
    if metric.unit is Unit.BYTES_PER_SECOND:
        return f"{size_bytes(value)}/s"
    if metric.unit is Unit.PER_SECOND:
        return f"{_plain(value)}/s"
    return _plain(value)


def _plain(value: float) -> str:
    # A share times 100 misses the whole number that was typed by the last digit of a float.
    value = round(value, 9)
    if value == int(value):
        return number_format(int(value), force_grouping=True)
    digits = 1 if abs(value) >= 1 else 3
    return number_format(round(value, digits), force_grouping=True)


def metric_label(name: str) -> str:
    """Return what people call a metric; its name where this release does not know it."""
    metric = METRICS.get(name)
    return str(metric.label) if metric is not None else name


def condition_text(name: str, comparison: str, threshold: float | None) -> str:
    """Return what a rule looks for, such as ``CPU usage > 90 %``."""
    sign = SIGNS.get(comparison, comparison)
    return f"{metric_label(name)} {sign} {value_text(name, threshold)}"
