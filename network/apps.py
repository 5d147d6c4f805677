"""The app's registration: its job handlers and kinds of resource."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    name = "network"

    def ready(self) -> None:
        """Make the handlers and kinds known."""
        from network import registry

        registry.register_all()
