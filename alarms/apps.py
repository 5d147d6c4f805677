"""The alarms app: what is measured, charts, alarms."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AlarmsConfig(AppConfig):
    """Registers chores."""

    name = "alarms"
    verbose_name = _("Monitoring")

    def ready(self) -> None:
        from alarms import registry

        registry.register_all()
