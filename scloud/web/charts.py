"""Small charts that need no script: lines in rows of a list, and bars over days or months."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_SPARK_HEIGHT: Final = 14
_BARS_HEIGHT: Final = 100
#: Of the room of a bar, 10 wide, that it fills.
_BAR_WIDTH: Final = 8


def spark(points: Sequence[float | None], *, top: float, css_class: str = "") -> SafeString:
    """Return a line through the points from 0 to ``top``; where a point is None it is broken.

    It says nothing to screen readers: what it means has to stand beside it.
    """
    steps: list[str] = []
    for place, point in enumerate(points):
        if point is None:
            continue
        height = _SPARK_HEIGHT - 1 - (_SPARK_HEIGHT - 2) * min(1.0, max(0.0, point / top))
        broken = place == 0 or points[place - 1] is None
        # A line to the place itself makes a dot of a point that stands alone.
        steps.append(f"{'M' if broken else 'L'}{place} {height:.1f}" + ("h0" if broken else ""))
    return format_html(
        '<svg class="spark {}" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}"></path></svg>',
        css_class,
        max(1, len(points) - 1),
        _SPARK_HEIGHT,
        "".join(steps),
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: what it stands for, in words, and how long it is; less than nothing points down."""

    label: str
    value: Decimal


def bars(label: str, entries: Sequence[Bar], show: Callable[[Decimal], str]) -> SafeString:
    """Return bars with their labels and values as titles, and the highest value at the axis.

    There is at least one. ``label`` says what they are of, ``show`` writes a value. The values have
    to stand in a table beside it for those who cannot see it.
    """
    values = [Decimal(0), *(entry.value for entry in entries)]
    top, low = max(values), min(values)
    span = float(top - low) or 1.0
    zero = _BARS_HEIGHT * float(top) / span
    drawn = []
    for place, entry in enumerate(entries):
        length = _BARS_HEIGHT * abs(float(entry.value)) / span
        drawn.append(
            (
                10 * place + (10 - _BAR_WIDTH) / 2,
                f"{zero - length if entry.value > 0 else zero:.2f}",
                _BAR_WIDTH,
                f"{length:.2f}",
                f"{entry.label}: {show(entry.value)}",
            )
        )
    named = [entries[place].label for place in sorted({0, len(entries) // 2, len(entries) - 1})]
    return format_html(
        '<div class="bars"><div class="bars-top">{}</div>'
        '<svg class="bars-svg" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}<path class="bars-zero" d="M0 {}H{}"></path></svg>'
        '<div class="bars-foot" aria-hidden="true">{}</div></div>',
        show(top),
        10 * len(entries),
        _BARS_HEIGHT,
        label,
        format_html_join(
            "",
            '<rect class="bars-bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            drawn,
        ),
        f"{zero:.2f}",
        10 * len(entries),
        format_html_join("", "<span>{}</span>", ((name,) for name in named)),
    )
