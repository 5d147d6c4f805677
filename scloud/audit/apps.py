"""The operation log and the event stream."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "scloud.audit"
    label = "audit"
