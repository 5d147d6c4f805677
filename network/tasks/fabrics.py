"""Each region's fabric, one connection per process. For tasks, plumbing and reconciling only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from network.fabric import ovn
from network.fabric.base import Connect, Fabric, FabricError
from scloud.lib.errors import HostError
from scloud.resources.models import Region

TIMEOUT_S: Final = 10.0

#: The driver. Tests of what lies above put the one in memory here.
connect: Connect = ovn.connect

_lock = threading.Lock()
_open: dict[tuple[str, str], Fabric] = {}


def fabric_of(region: Region) -> Fabric:
    """The region's fabric. Raises HostError where none is configured; opens nothing yet.

    The region's id is the mark of its rows, so two regions may even share a database.
    """
    if not region.ovn_nb:
        raise HostError(
            f"Region {region.pk} has no network controller.",
            code="fabric_not_configured",
            remedy="Set the address of the OVN northbound database of the region.",
        )
    key = (region.pk, region.ovn_nb)
    with _lock:
        if key not in _open:
            _open[key] = connect(region.ovn_nb, owner=region.pk, timeout_s=TIMEOUT_S)
        return _open[key]


def close_all() -> None:
    """Give every connection back."""
    with _lock:
        fabrics = list(_open.values())
        _open.clear()
    for fabric in fabrics:
        fabric.close()


def _after_fork() -> None:
    """A child starts without its parent's connections, and with a lock that nobody holds."""
    global _lock
    _lock = threading.Lock()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the driver's errors into HostError with a stable code."""
    try:
        yield
    except FabricError as error:
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(error).__name__)
        raise HostError(f"The network controller: {error}", code=words.strip("_")) from error
