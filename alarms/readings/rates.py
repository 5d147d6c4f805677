"""From what was counted at two moments to rates per second.

Nothing is said where two numbers cannot be compared: the counter began anew, something else counts
now, too little or too much time lies between. So a restart, a reset or a migration is a gap of one
reading and never a spike, and no rate is negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from alarms.store.base import SeriesKey

SHORTEST_S = 1.0
"""Below it the time that the host takes to answer is too much of the time that is divided by."""

LONGEST_S = 100.0
"""Above it readings are missing: what happened meanwhile is a gap, not an average."""


MOST_DOUBT: Final = 1 / 3
"""Of the time between two readings: beyond it a host that answered late would show a spike."""


@dataclass(frozen=True, slots=True)
class Counter:
    """How much was counted by `origin`; another origin has begun to count anew."""

    value: int
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted at a moment.

    `read_s` is of a clock that only goes forward, in seconds, and never of the wall's: that one may
    be set; it was counted at most `doubt_s` before or after. `run` names the life of what is
    counted, such as one start of a domain on one host. `cpus` is 0 where it is not known.
    """

    read_s: float
    run: str
    counters: Mapping[SeriesKey, Counter] = field(default_factory=dict)
    cpus: int = 0
    doubt_s: float = 0.0


def elapsed_s(before: Reading | None, after: Reading) -> float | None:
    """Return the seconds between two readings; None where they cannot be compared."""
    if before is None or before.run != after.run or not after.run:
        return None
    elapsed = after.read_s - before.read_s
    if not SHORTEST_S <= elapsed <= LONGEST_S:
        return None
    return elapsed if before.doubt_s + after.doubt_s <= elapsed * MOST_DOUBT else None


def rates(before: Reading | None, after: Reading) -> dict[SeriesKey, float]:
    """Return the rates per second of what was counted at both moments."""
    elapsed = elapsed_s(before, after)
    if before is None or elapsed is None:
        return {}
    found = {}
    for key, now in after.counters.items():
        then = before.counters.get(key)
        if then is None or then.origin != now.origin or now.value < then.value:
            continue
        found[key] = (now.value - then.value) / elapsed
    return found


def busy_ratio(busy_ns_per_second: float, before: Reading, after: Reading) -> float | None:
    """Return the part of the CPUs that was busy, 0 to 1; None where it is not known of how many.

    Of a resize between the readings the larger number of CPUs counts, so that it is no peak. What
    the hypervisor itself needed for the guest is in the time, too: more than all is all.
    """
    if not before.cpus or not after.cpus:
        return None
    cpus = max(before.cpus, after.cpus)
    return min(1.0, busy_ns_per_second / 1e9 / cpus)
