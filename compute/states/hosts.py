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


class FindingLevel(models.TextChoices):
    """How much a finding of a connection test matters."""

    OK = "ok", _("OK")
    WARNING = "warning", _("Warning")
    ERROR = "error", _("Error")


class HostMove(StrEnum):
    """What changes the state of a host."""

    LOCK = "lock"
    UNLOCK = "unlock"
    SUSPECT = "suspect"
    CLEAR = "clear"
    FENCE = "fence"
    CONFIRM_OFF = "confirm_off"
    RETURN = "return"
    COMPARED = "compared"
    ENTER = "enter"
    ABORT = "abort"
    EMPTIED = "emptied"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class MoveRule:
    """From which states a move leads, and where to.

    Without ``to`` it leads back to that one of the states ``back_to`` in which the host was last;
    to *entering maintenance* only while that is not over.
    """

    allowed_from: frozenset[HostState]
    to: HostState | None
    back_to: frozenset[HostState] = frozenset()


S = HostState
#: The states of a host that is used, of which one is come back to.
IN_SERVICE: Final = frozenset({S.AVAILABLE, S.LOCKED})
#: The states of a host that was confirmed to be off.
CONFIRMED_OFF: Final = frozenset({S.FENCED, S.DOWN})
#: The states of a host that may be running VMs.
MAY_RUN: Final = IN_SERVICE | {S.ENTERING_MAINTENANCE, S.SUSPECT, S.RETURNING}
#: The states of a host that its VMs leave, or have left, for maintenance.
IN_MAINTENANCE: Final = frozenset({S.ENTERING_MAINTENANCE, S.MAINTENANCE})
_USED: Final = IN_SERVICE | {S.ENTERING_MAINTENANCE}

#: All that changes a host's state. Nothing leads from maintenance to *suspect*: there operators
#: switch hosts off as they like. One that is still entering it runs VMs, so that it is watched, and
#: goes on entering when it has been silent or off. A host that was off comes into service by
#: *returning* alone, as does one that was in maintenance, and a returning one that falls silent is
#: still one that was not compared when it is heard again.
MOVES: Final[Mapping[HostMove, MoveRule]] = {
    HostMove.LOCK: MoveRule(frozenset({S.AVAILABLE}), S.LOCKED),
    HostMove.UNLOCK: MoveRule(frozenset({S.LOCKED}), S.AVAILABLE),
    HostMove.SUSPECT: MoveRule(_USED | {S.RETURNING}, S.SUSPECT),
    HostMove.CLEAR: MoveRule(frozenset({S.SUSPECT}), None, _USED | {S.RETURNING}),
    # Also of one that was cleared while its device was asked: it is off all the same.
    HostMove.FENCE: MoveRule(MAY_RUN, S.FENCED),
    # A device that lied is corrected by an operator.
    HostMove.CONFIRM_OFF: MoveRule(frozenset({S.SUSPECT, S.RETURNING, S.FENCED}), S.DOWN),
    HostMove.RETURN: MoveRule(CONFIRMED_OFF, S.RETURNING),
    HostMove.COMPARED: MoveRule(frozenset({S.RETURNING}), None, _USED),
    HostMove.ENTER: MoveRule(IN_SERVICE, S.ENTERING_MAINTENANCE),
    HostMove.ABORT: MoveRule(frozenset({S.ENTERING_MAINTENANCE}), None, IN_SERVICE),
    HostMove.EMPTIED: MoveRule(frozenset({S.ENTERING_MAINTENANCE}), S.MAINTENANCE),
    HostMove.LEAVE: MoveRule(frozenset({S.MAINTENANCE}), S.RETURNING),
}
