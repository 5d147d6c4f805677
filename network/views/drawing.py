"""The picture of a network: where each box of it stands. Plain values, drawn by a template.

Units are CSS pixels. A picture is as wide as it is told and as high as it needs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Between things, and from a border to what is in it.
GAP: Final = 12
HEAD: Final = 34
#: Where the line from a VPC's router to its subnets runs.
SPINE: Final = 14
#: At least; the tiles of a row share what is left of it.
TILE_WIDTH: Final = 128
TILE_HEIGHT: Final = 58
#: In a subnet with more than this many VMs a tile has the name and one address only.
ROOMY: Final = 60
SMALL_HEIGHT: Final = 38
LINE: Final = 16
#: From the last line of a tile to its lower border.
BASELINE: Final = 10
#: How many half-width characters of the tile's font fit.
TILE_CHARACTERS: Final = 15
MORE_HEIGHT: Final = 24


@dataclass(frozen=True, slots=True)
class Thing:
    """What a tile shows of a NIC, already in words; ``label`` is for screen readers."""

    url: str
    label: str
    name: str
    address: str
    group: str
    filtered: bool
    external: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A thing in its place; texts are cut to the tile's width."""

    x: int
    y: int
    width: int
    height: int
    thing: Thing
    name: str
    address: str
    external: str
    group: str

    @property
    def group_y(self) -> int:
        """Where the group stands: below the last address."""
        return self.y + self.height - BASELINE


@dataclass(frozen=True, slots=True)
class Box:
    """A subnet, or a VPC, with its heading; ``tiles`` are a subnet's."""

    x: int
    y: int
    width: int
    height: int
    url: str
    label: str
    name: str
    detail: str
    tiles: Sequence[Tile] = ()
    #: Said below the tiles: that it is empty, or how many are left out.
    note: str = ""
    boxes: Sequence[Box] = ()

    @property
    def bottom(self) -> int:
        """The y just below it."""
        return self.y + self.height

    @property
    def middle(self) -> int:
        """Where the line of its VPC meets it."""
        return self.y + HEAD // 2

    @property
    def spine_end(self) -> int:
        """Down to where the line to its subnets runs."""
        return self.boxes[-1].middle if self.boxes else self.y

    @property
    def note_y(self) -> int:
        """Where the note stands."""
        return self.bottom - GAP


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it."""

    width: int
    height: int
    boxes: Sequence[Box]


@dataclass(frozen=True, slots=True)
class Part:
    """A subnet or VPC before it has a place."""

    url: str
    label: str
    name: str
    detail: str
    things: Sequence[Thing] = ()
    note: str = ""
    parts: Sequence[Part] = ()


def cut(text: str, most: int) -> str:
    """The text, or as much of it as fits into ``most`` half-width characters with an ellipsis.

    >>> cut("short", 6), cut("rather long", 6), cut("中文名字很长", 6)
    ('short', 'rathe…', '中文…')
    """
    widths = [2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text]
    if sum(widths) <= most:
        return text
    used = 0
    for number, width in enumerate(widths):
        used += width
        if used > most - 1:
            return f"{text[:number]}…"
    return text


def picture(vpcs: Sequence[Part], width: int) -> Picture:
    """Lay out VPCs one below the other, in each its subnets, in each its VMs in rows."""
    boxes: list[Box] = []
    y = 0
    for vpc in vpcs:
        box = _vpc(vpc, y, width)
        boxes.append(box)
        y = box.bottom + GAP
    return Picture(width, max(y - GAP, 0), boxes)


def _vpc(vpc: Part, y: int, width: int) -> Box:
    inner: list[Box] = []
    left = GAP + SPINE
    below = y + HEAD + GAP
    for subnet in vpc.parts:
        box = _subnet(subnet, left, below, width - left - GAP)
        inner.append(box)
        below = box.bottom + GAP
    if not vpc.parts:
        below += MORE_HEIGHT
    return Box(
        0, y, width, below - y, vpc.url, vpc.label,
        cut(vpc.name, width // 14), vpc.detail, note=vpc.note, boxes=inner,
    )  # fmt: skip


def _subnet(subnet: Part, x: int, y: int, width: int) -> Box:
    columns = max(1, (width - GAP) // (TILE_WIDTH + GAP))
    across = (width - GAP) // columns - GAP
    small = len(subnet.things) > ROOMY
    height = SMALL_HEIGHT if small else TILE_HEIGHT
    if not small and any(thing.external for thing in subnet.things):
        height += LINE
    characters = TILE_CHARACTERS * across // TILE_WIDTH
    tiles = [
        Tile(
            x + GAP + (number % columns) * (across + GAP),
            y + HEAD + (number // columns) * (height + GAP),
            across,
            height,
            thing,
            cut(thing.name, characters),
            cut(thing.address, characters),
            "" if small else cut(thing.external, characters),
            "" if small else cut(thing.group, characters),
        )
        for number, thing in enumerate(subnet.things)
    ]
    rows = -(-len(tiles) // columns)
    tall = HEAD + rows * (height + GAP) + (MORE_HEIGHT if subnet.note else 0)
    return Box(
        x, y, width, tall, subnet.url, subnet.label,
        cut(subnet.name, width // 14), subnet.detail, tiles=tiles, note=subnet.note,
    )  # fmt: skip
