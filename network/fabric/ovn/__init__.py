"""The fabric on OVN's northbound database."""

from __future__ import annotations

from network.fabric.base import Fabric
from network.fabric.ovn.driver import OvnFabric


def connect(nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0) -> Fabric:
    """See :class:`network.fabric.base.Connect`; addresses as ``tcp:HOST:PORT`` or ``unix:PATH``."""
    return OvnFabric(nb, owner=owner, sb=sb, timeout_s=timeout_s)
