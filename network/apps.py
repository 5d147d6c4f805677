"""The app's registration: its job handlers and kinds of resource."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NetworkConfig(AppConfig):
    name = "network"
    verbose_name = _("Network")

    def ready(self) -> None:
        """Make the handlers and kinds known."""
        from network import registry

        registry.register_all()
