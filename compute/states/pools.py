"""The states of storage pools, as they were seen last."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class PoolState(models.TextChoices):
    UNKNOWN = "unknown", _("Not looked at yet")
    AVAILABLE = "available", _("Available")
    GONE = "gone", _("Not there")
    WRONG = "wrong", _("Another pool")
    READ_ONLY = "read_only", _("Read-only")
    FULL = "full", _("Full")
    HANGING = "hanging", _("Does not answer")
    FAULTY = "faulty", _("Out of order")


#: A pool in one of these answers nothing.
AWAY = (PoolState.GONE, PoolState.WRONG, PoolState.HANGING)

#: What the drivers' errors say of a pool, by their code; any other says that it is out of order.
STATES_OF_ERRORS = {
    "storage_unavailable": PoolState.GONE,
    "storage_stale": PoolState.GONE,
    "storage_foreign": PoolState.WRONG,
    "storage_read_only": PoolState.READ_ONLY,
    "storage_full": PoolState.FULL,
    "storage_hanging": PoolState.HANGING,
}


def state_of_error(code: str) -> PoolState:
    """Return the state in which a pool is whose driver failed with an error of that code."""
    return STATES_OF_ERRORS.get(code, PoolState.FAULTY)
