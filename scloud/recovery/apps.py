"""What happens after the database was restored from a backup."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RecoveryConfig(AppConfig):
    name = "scloud.recovery"
    label = "recovery"
    verbose_name = _("After a restore")
