"""What all parts of the API share."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    name = "scloud.rest"
    label = "rest"

    def ready(self) -> None:
        """Make the chore known."""
        from scloud.jobs import periodic
        from scloud.rest import idempotency

        periodic.register("rest.forget", 3600, idempotency.forget_old)
