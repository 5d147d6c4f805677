"""What becomes of hosts that enter maintenance, and of the VMs on them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Way(models.TextChoices):
    """What is done about VMs that cannot be moved while they run."""

    WAIT = "wait", _("Leave them running and wait")
    SHUT_DOWN = "shut_down", _("Shut them down and start them on other hosts")
    ABORT = "abort", _("Abort: the host goes back to service")


class MaintenanceEnd(models.TextChoices):
    """How the maintenance of a host ended."""

    LEFT = "left", _("left")
    ABORTED = "aborted", _("aborted")


class DepartureState(models.TextChoices):
    """How far a VM is that leaves its host."""

    WAITING = "waiting", _("Waiting")
    MOVING = "moving", _("Moving")
    MOVED = "moved", _("Moved")
    CANNOT = "cannot", _("Cannot be moved")


class RollEnd(models.TextChoices):
    """How a rolling maintenance ended."""

    FINISHED = "finished", _("finished")
    STOPPED = "stopped", _("stopped")
