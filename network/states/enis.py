"""The states of ENIs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class EniStatus(models.TextChoices):
    """Where an ENI stands."""

    NEW = "new", _("Creating")
    FREE = "free", _("Unbound")
    BOUND = "bound", _("Bound")
    EXPIRED = "expired", _("Expired")
    DESTROYED = "destroyed", _("Destroyed")


class EniTask(models.TextChoices):
    """What is being done to an ENI."""

    BINDING = "binding", _("Binding")
    UNBINDING = "unbinding", _("Unbinding")
    RESIZING = "resizing", _("Changing bandwidth")
    DESTROYING = "destroying", _("Deleting")


def eni_tone(status: str, task: str) -> str:
    """Return the state's colour name."""
    if task:
        return "busy"
    return {"bound": "ok", "expired": "warn"}.get(status, "idle")
