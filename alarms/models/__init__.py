"""Rows of the alarms app. What is measured is in the metrics store, not in models."""

from alarms.models.alarms import Alarm, EvaluationMark, RuleState
from alarms.models.bell import BellMark
from alarms.models.collecting import Collector, HostCollection
from alarms.models.notices import (
    Contact,
    Delivery,
    Notice,
    NotificationGroup,
    Silence,
    Webhook,
)
from alarms.models.operators import OperatorContact, OperatorWebhook, PlatformAlarm
from alarms.models.settings import MetricSettings
from alarms.models.templates import AlarmBinding, AlarmRule, AlarmTemplate

__all__ = [
    "Alarm",
    "AlarmBinding",
    "AlarmRule",
    "AlarmTemplate",
    "BellMark",
    "Collector",
    "Contact",
    "Delivery",
    "EvaluationMark",
    "HostCollection",
    "MetricSettings",
    "Notice",
    "NotificationGroup",
    "OperatorContact",
    "OperatorWebhook",
    "PlatformAlarm",
    "RuleState",
    "Silence",
    "Webhook",
]
