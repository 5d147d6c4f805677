"""The states of images and the table of their verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, words

if TYPE_CHECKING:
    from compute.models.image import Image


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
# For images the task is the status in flight itself.
_IMAGE_INTERNAL = [
    Rule("make_image", _("Make image"), frozenset(), M.MAKING, 3600, "image.made"),
    Rule("import_image", _("Import"), frozenset(), M.IMPORTING, 7200, "image.imported"),
]
IMAGE_RULES: dict[str, Rule] = {rule.verb: rule for rule in _IMAGE_RULES}
IMAGE_INTERNAL_RULES: dict[str, Rule] = {rule.verb: rule for rule in _IMAGE_INTERNAL}


def image_rule(verb: str) -> Rule:
    """Return the rule of an image's verb; KeyError for an unknown one."""
    return IMAGE_RULES.get(verb) or IMAGE_INTERNAL_RULES[verb]


def image_refusal(image: Image, verb: str) -> str | None:
    """Return why a verb is not allowed in the image's present state; None when it is."""
    rule = image_rule(verb)
    if image.status in rule.allowed_from:
        return None
    return str(
        _("Not possible while %(state)s; allowed when %(allowed)s.")
        % {
            "state": str(ImageStatus(image.status).label).lower(),
            "allowed": words(ImageStatus(value).label for value in sorted(rule.allowed_from)),
        }
    )


def image_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (ImageStatus.MAKING, ImageStatus.IMPORTING, ImageStatus.DELETING):
        return "busy"
    return {"available": "ok", "failed": "bad"}.get(status, "idle")
