"""Monitoring in Django admin."""

from alarms.admin import alarms, collecting, notices, operators, settings

__all__ = ["alarms", "collecting", "notices", "operators", "settings"]
