"""Rows of the alarms app. What is measured is in the metrics store, not in models."""

from alarms.models.collecting import Collector, HostCollection
from alarms.models.settings import MetricSettings

__all__ = ["Collector", "HostCollection", "MetricSettings"]
