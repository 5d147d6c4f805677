"""Who uses a security group besides NICs: reported by the apps above.

A VM names an external group before it has an external NIC; that group must stay meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from network.models import SecurityGroup

Counter = Callable[[SecurityGroup], int]

_counters: dict[str, Counter] = {}


def register(who: str, count: Counter) -> None:
    """Ask ``count`` as well how often a group is used; ``who`` is a word such as ``VMs``."""
    _counters[who] = count


def elsewhere(group: SecurityGroup) -> dict[str, int]:
    """Return how often others than NICs use the group; only those who do."""
    found = {who: count(group) for who, count in _counters.items()}
    return {who: number for who, number in found.items() if number}
