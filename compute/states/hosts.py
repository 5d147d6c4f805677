"""The states of hosts, what may follow on what, and what tells that a host is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class HostState(models.TextChoices):
    """Where a host stands; only an available one takes new VMs."""

    AVAILABLE = "available", _("Available")
    LOCKED = "locked", _("Locked (no new VMs)")
    ENTERING_MAINTENANCE = "entering_maintenance", _("Entering maintenance")
    MAINTENANCE = "maintenance", _("Maintenance")
    SUSPECT = "suspect", _("Suspect (no sign of life)")
    FENCED = "fenced", _("Fenced (confirmed off by its device)")
    DOWN = "down", _("Down (confirmed off by an operator)")
    RETURNING = "returning", _("Returning (being compared)")


class Witness(models.TextChoices):
    """What tells that a host is alive."""

    LIBVIRT = "libvirt", _("libvirt")
    CHASSIS = "chassis", _("OVN chassis")
    HEARTBEAT = "heartbeat", _("heartbeat on the storage")


class HostMove(StrEnum):
    """What changes the state of a host."""

    LOCK = "lock"
    UNLOCK = "unlock"
    SUSPECT = "suspect"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class MoveRule:
    """From which states a move leads, and where to; None: to where the host stood in service."""

    allowed_from: frozenset[HostState]
    to: HostState | None


S = HostState
#: The states of a host that is used, of which one is come back to.
IN_SERVICE: Final = frozenset({S.AVAILABLE, S.LOCKED})

#: All that changes a host's state. Nothing leads from maintenance to *suspect*: there operators
#: switch hosts off as they like.
MOVES: Final[Mapping[HostMove, MoveRule]] = {
    HostMove.LOCK: MoveRule(frozenset({S.AVAILABLE}), S.LOCKED),
    HostMove.UNLOCK: MoveRule(frozenset({S.LOCKED}), S.AVAILABLE),
    HostMove.SUSPECT: MoveRule(IN_SERVICE, S.SUSPECT),
    HostMove.CLEAR: MoveRule(frozenset({S.SUSPECT}), None),
}
