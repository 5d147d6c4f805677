"""Whether a cluster moves VMs because of load."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class BalanceMode(models.TextChoices):
    """What is done when a host of a cluster is under load."""

    OFF = "off", _("Off")
    DRY_RUN = "dry_run", _("Dry run (proposals only)")
    ON = "on", _("On (VMs are moved)")
