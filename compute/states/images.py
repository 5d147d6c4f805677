"""The states of images."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ImageStatus(models.TextChoices):
    MAKING = "making", _("Making")
    IMPORTING = "importing", _("Importing")
    AVAILABLE = "available", _("Available")
    FAILED = "failed", _("Failed")
    DELETING = "deleting", _("Deleting")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


def image_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (ImageStatus.MAKING, ImageStatus.IMPORTING, ImageStatus.DELETING):
        return "busy"
    return {"available": "ok", "failed": "bad"}.get(status, "idle")
