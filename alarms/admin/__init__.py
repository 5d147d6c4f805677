"""Monitoring in Django admin."""

from alarms.admin import alarms, collecting, notices, settings

__all__ = ["alarms", "collecting", "notices", "settings"]
