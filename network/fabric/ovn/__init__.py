"""The fabric on OVN's northbound database."""

from __future__ import annotations

from network.fabric.base import Fabric
from network.fabric.ovn.driver import OvnFabric
from network.fabric.ovn.tls import use_certificates

__all__ = ["OvnFabric", "connect", "use_certificates"]


def connect(nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0) -> Fabric:
    """See :class:`network.fabric.base.Connect`; addresses as ``ssl:HOST:PORT``,
    ``tcp:HOST:PORT`` or ``unix:PATH``; the first with what ``use_certificates`` was given.
    """
    return OvnFabric(nb, owner=owner, sb=sb, timeout_s=timeout_s)
