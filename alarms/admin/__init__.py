"""Monitoring in Django admin."""

from alarms.admin import alarms, collecting, settings

__all__ = ["alarms", "collecting", "settings"]
