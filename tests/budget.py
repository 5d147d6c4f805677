"""How much of a long check ``make test`` does. ``make soak`` does all of it."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

#: Set by ``make soak``.
WHOLE = os.environ.get("SCLOUD_SOAK") == "1"


def share(items: Sequence[T], turn: int, *, of: int) -> list[T]:
    """Return every ``of``-th of ``items``, beginning at ``turn`` modulo ``of``; all in a soak.

    So ``of`` turns that follow each other try every item once, and no two of them the same ones.
    """
    if WHOLE:
        return list(items)
    return list(items[turn % of :: of])
