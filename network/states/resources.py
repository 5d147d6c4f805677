"""The states that people see of a network resource."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    """How far the fabric has followed the intended state."""

    APPLYING = "applying", _("Applying")
    AVAILABLE = "available", _("Available")
    FAILED = "failed", _("Failed")
