"""Compute: hosts, models, VMs, disks, images."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ComputeConfig(AppConfig):
    """Registers kinds, jobs, chores and hooks."""

    name = "compute"
    verbose_name = _("Compute")

    def ready(self) -> None:
        from compute import registry

        registry.register_all()
