"""The states of external IPs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ExternalIpStatus(models.TextChoices):
    """Where an external IP stands."""

    NEW = "new", _("Allocating")
    FREE = "free", _("Free")
    BOUND = "bound", _("Bound")
    EXPIRED = "expired", _("Expired")
    FAILED = "failed", _("Failed")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


class ExternalIpTask(models.TextChoices):
    """What is being done to an external IP."""

    BINDING = "binding", _("Binding")
    UNBINDING = "unbinding", _("Unbinding")
    RESIZING = "resizing", _("Changing bandwidth")


def external_ip_tone(status: str, task: str) -> str:
    """Return the state's colour name."""
    if task:
        return "busy"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(status, "idle")
