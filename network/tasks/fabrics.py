"""Each region's fabric, one connection per process. For tasks, plumbing and reconciling only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.utils.translation import gettext as _

from network.fabric import ovn
from network.fabric.base import Connect, Fabric, FabricError, Trace, TraceSpec
from network.fabric.ovn import tracing
from scloud.lib.errors import HostError
from scloud.resources.models import Region

TIMEOUT_S: Final = 10.0

#: The driver. Tests of the layers above put the one in memory here.
connect: Connect = ovn.connect
#: What follows a packet on paper.
trace: Trace = tracing.trace

_lock = threading.Lock()
_open: dict[tuple[str, str, str], Fabric] = {}


def fabric_of(region: Region, *, chassis: bool = False) -> Fabric:
    """The region's fabric. Raises HostError where none is configured; opens nothing yet.

    The region's id is the mark of its rows, so two regions may even share a database. With
    ``chassis`` it knows the southbound database too, which is mirrored then: for the one process
    that asks what chassis answer.
    """
    if not region.ovn_nb:
        raise HostError(
            _("Networking is not available in this region right now."),
            code="fabric_not_configured",
            remedy=_("If the problem persists, contact support."),
            detail=f"Set the address of the OVN northbound database of region {region.pk}.",
        )
    sb = region.ovn_sb if chassis else ""
    key = (region.pk, region.ovn_nb, sb)
    with _lock:
        if key not in _open:
            ovn.use_certificates(settings.SCLOUD_WORKER_CERTIFICATES / "ovn")
            _open[key] = connect(region.ovn_nb, owner=region.pk, sb=sb or None, timeout_s=TIMEOUT_S)
        found = _open[key]
        # Of the same region, of the same use, with another address.
        moved = [
            one for one in _open if one[0] == region.pk and bool(one[2]) == bool(sb) and one != key
        ]
        left = [_open.pop(one) for one in moved]
    # The region's database is elsewhere now: nobody asks the former one again.
    for fabric in left:
        fabric.close()
    return found


@contextmanager
def chassis_of(region: Region) -> Iterator[Fabric]:
    """A fabric of its own that knows the region's chassis, closed afterwards.

    For a single look: it mirrors the southbound database, which processes do not keep for that.
    """
    ovn.use_certificates(settings.SCLOUD_WORKER_CERTIFICATES / "ovn")
    fabric = connect(region.ovn_nb, owner=region.pk, sb=region.ovn_sb, timeout_s=TIMEOUT_S)
    try:
        yield fabric
    finally:
        fabric.close()


def trace_in(region: Region, spec: TraceSpec) -> str:
    """What the region's fabric would do with a packet, in its own words.

    Raises HostError; ``trace_not_configured`` where the region names no southbound database.
    """
    if not region.ovn_sb:
        raise HostError(
            _("Networking is not available in this region right now."),
            code="trace_not_configured",
            detail=f"Set the address of the OVN southbound database of region {region.pk}.",
        )
    ovn.use_certificates(settings.SCLOUD_WORKER_CERTIFICATES / "ovn")
    with translated_errors():
        return trace(region.ovn_sb, spec)


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
def translated_errors() -> Iterator[None]:
    """Raise the driver's errors as HostError with a stable code, its own words as the detail."""
    try:
        yield
    except FabricError as error:
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(error).__name__)
        raise HostError(
            _("The network did not accept the change."),
            code=words.strip("_"),
            remedy=_("SCloud tries again. If the problem persists, contact support."),
            detail=str(error),
        ) from error
