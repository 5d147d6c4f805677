"""The chart of a preview: what was measured, the threshold, and when alarms would have been open.

It is drawn on the server as SVG: the dialog that it stands in is fetched anew for each rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alarms.catalogue import METRICS, Unit
from alarms.models import AlarmRule
from alarms.queries.preview import Drawn, Preview
from alarms.rules.values import value_text
from alarms.states.alarms import Comparison
from scloud.lib import sparklines

WIDTH: Final = 480
HEIGHT: Final = 96
#: Lines that are drawn: those of which most alarms would have opened.
MOST: Final = 6
#: The highest value does not touch the upper edge.
_ROOM: Final = 1.1
_LOWEST: Final = frozenset({Comparison.BELOW.value, Comparison.AT_MOST.value})

Points = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Drawing:
    """One line: polylines, the height of the threshold, and where it would have been open.

    Lengths are those of the drawing, ``WIDTH`` by ``HEIGHT``; ``opened`` has begin and width.
    ``top`` is the value at the upper edge, in words.
    """

    resource: str
    device: str
    times: int
    lines: list[str]
    threshold_y: float
    opened: list[tuple[float, float]]
    top: str


def drawings(found: Preview, rule: AlarmRule, names: Mapping[str, str]) -> list[Drawing]:
    """Return what is drawn of a preview, the lines with most alarms first."""
    ordered = sorted(
        found.lines,
        key=lambda one: (
            -len(one.episodes),
            names.get(one.resource, one.resource),
            one.device,
        ),
    )
    return [_drawing(one, rule, names) for one in ordered[:MOST]]


def _drawing(line: Drawn, rule: AlarmRule, names: Mapping[str, str]) -> Drawing:
    known = [point for point in line.points if point is not None]
    peak = max([*known, rule.threshold])
    is_share = METRICS[rule.metric].unit is Unit.RATIO and peak <= 1
    top = 1.0 if is_share else peak * _ROOM or 1.0
    step = WIDTH / max(1, len(line.points))
    thinned = thin(line.points, WIDTH, min if rule.comparison in _LOWEST else max)
    return Drawing(
        names.get(line.resource, line.resource),
        line.device,
        len(line.episodes),
        sparklines.lines(thinned, width=WIDTH, height=HEIGHT, top=top),
        round(HEIGHT * (1 - rule.threshold / top), 1),
        [
            (round(one.first * step, 1), round((one.last - one.first + 1) * step, 1))
            for one in line.episodes
        ],
        value_text(rule.metric, top),
    )


def thin(points: Points, most: int, choose: Callable[[list[float]], float]) -> list[float | None]:
    """Return at most so many points: of several the one that decides. Gaps stay gaps."""
    length = max(1, math.ceil(len(points) / most))
    parts = [points[begin : begin + length] for begin in range(0, len(points), length)]
    known = [[point for point in part if point is not None] for part in parts]
    return [choose(part) if part else None for part in known]
