"""What rules and alarms may say: comparisons, convergence, severities, and why an alarm ended."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class Comparison(models.TextChoices):
    """How a measured value is compared with the threshold."""

    ABOVE = "gt", _("above")
    AT_LEAST = "ge", _("at least")
    BELOW = "lt", _("below")
    AT_MOST = "le", _("at most")


#: As they are written between value and threshold.
SIGNS: Final = {
    Comparison.ABOVE.value: ">",
    Comparison.AT_LEAST.value: "≥",
    Comparison.BELOW.value: "<",
    Comparison.AT_MOST.value: "≤",
}


class Convergence(models.TextChoices):
    """How often is notified while an alarm stays open."""

    ONCE = "once", _("Once until it recovers")
    EXPONENTIAL = "exponential", _("After 1, 2, 4, 8 … periods")
    ALWAYS = "always", _("Every period")


class Severity(models.TextChoices):
    """How urgent an alarm is, the least urgent first."""

    INFO = "info", _("Info")
    WARNING = "warning", _("Warning")
    CRITICAL = "critical", _("Critical")


class AlarmKind(models.TextChoices):
    """What an alarm is about."""

    THRESHOLD = "threshold", _("Threshold")
    NO_DATA = "no_data", _("No data")
    HOST_DOWN = "host_down", _("Host down")


class EndReason(models.TextChoices):
    """Why an alarm is not open any more."""

    RECOVERED = "recovered", _("Recovered")
    DEVICE_GONE = "device_gone", _("Device removed")
    NOT_RUNNING = "not_running", _("Not running any more")
    RESOURCE_GONE = "resource_gone", _("Resource deleted")
    RULE_CHANGED = "rule_changed", _("Rule changed")
    UNBOUND = "unbound", _("Template changed")


#: Seconds that one value of a rule is averaged over. A sample is taken every 30 seconds.
PERIODS_S: Final = (60, 300, 900, 1800, 3600)
PERIODS: Final = (
    (60, _("1 minute")),
    (300, _("5 minutes")),
    (900, _("15 minutes")),
    (1800, _("30 minutes")),
    (3600, _("1 hour")),
)
MAX_COUNT: Final = 10

#: Seconds without any measurement after which an alarm opens; 0 never.
NO_DATA: Final = (
    (0, _("Never")),
    (300, _("After 5 minutes")),
    (900, _("After 15 minutes")),
    (3600, _("After 1 hour")),
)
NO_DATA_S: Final = tuple(seconds for seconds, _label in NO_DATA)
