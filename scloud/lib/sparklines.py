"""Small charts as points of SVG lines, for pages that are drawn on the server."""

from __future__ import annotations

from collections.abc import Sequence


def lines(points: Sequence[float | None], *, width: float, height: float, top: float) -> list[str]:
    """Return the ``points`` of polylines: one for each stretch without a gap.

    The values 0 to ``top`` become ``height`` to 0. A single value becomes a dash of one step.
    """
    if not points or top <= 0:
        return []
    step = width / max(1, len(points) - 1)
    found: list[str] = []
    stretch: list[tuple[float, float]] = []
    for place, value in enumerate([*points, None]):
        if value is not None:
            share = min(1.0, max(0.0, value / top))
            stretch.append((place * step, height * (1 - share)))
            continue
        if len(stretch) == 1:
            x, y = stretch[0]
            stretch = [(max(0.0, x - step / 2), y), (min(width, x + step / 2), y)]
        if stretch:
            found.append(" ".join(f"{x:.1f},{y:.1f}" for x, y in stretch))
        stretch = []
    return found
