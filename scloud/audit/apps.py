"""The operation log and the event stream."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "scloud.audit"
    label = "audit"
    verbose_name = _("Logs")
