"""Monitoring in Django admin."""

from alarms.admin import collecting, settings

__all__ = ["collecting", "settings"]
