"""The states of images and the table of their verbs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, RuleTable, by_verb


class ImageStatus(models.TextChoices):
    """Where an image stands."""

    MAKING = "making", _("Making")
    IMPORTING = "importing", _("Importing")
    AVAILABLE = "available", _("Available")
    FAILED = "failed", _("Failed")
    DELETING = "deleting", _("Deleting")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


M = ImageStatus
_IMAGE_RULES = [
    Rule(
        "rename_image",
        _("Rename"),
        frozenset({M.MAKING, M.IMPORTING, M.AVAILABLE, M.FAILED}),
        icon="pencil",
        needs_idle=False,
    ),
    Rule("download_image", _("Download"), frozenset({M.AVAILABLE}), icon="download"),
    Rule(
        "delete_image",
        _("Delete"),
        frozenset({M.AVAILABLE, M.FAILED}),
        event="image.deleted",
        icon="trash",
        danger=True,
    ),
    Rule(
        "restore_image",
        _("Restore"),
        frozenset({M.BINNED}),
        event="image.restored",
        icon="arrow-back-up",
    ),
    Rule(
        "destroy_image",
        _("Destroy"),
        frozenset({M.BINNED}),
        M.DELETING,
        600,
        "image.destroyed",
        icon="trash-x",
        danger=True,
    ),
]
# For images the task is the status in flight itself; these two begin with a new row.
_IMAGE_INTERNAL = [
    Rule("make_image", _("Make image"), frozenset(), M.MAKING, 3600, "image.made"),
    Rule("import_image", _("Import"), frozenset(), M.IMPORTING, 7200, "image.imported"),
]
IMAGES = RuleTable(
    kind="image",
    public=by_verb(_IMAGE_RULES),
    internal=by_verb(_IMAGE_INTERNAL),
    labels=dict(ImageStatus.choices),
)
IMAGE_RULES = IMAGES.public


def image_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (ImageStatus.MAKING, ImageStatus.IMPORTING, ImageStatus.DELETING):
        return "busy"
    return {"available": "ok", "failed": "bad"}.get(status, "idle")
