"""Starts that leave a host: to which one the VM belongs while that host has not answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compute.models import Host


def not_left(payload: Mapping[str, Any], result: Mapping[str, Any]) -> Host | None:
    """Return the host that a start was to leave and that has not said that the VM is off there.

    ``payload`` and ``result`` are those of its job. The VM may run on that host, so it belongs
    there until the answer, whatever the host says that it was given: nothing is defined on that one
    before.
    """
    if not payload.get("left") or result.get("left"):
        return None
    return Host.objects.filter(pk=payload["left"]).first()
