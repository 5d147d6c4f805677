"""What all parts of the API share."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    name = "scloud.rest"
    label = "rest"

    def ready(self) -> None:
        """Make the chore and the check known."""
        from django.core import checks

        from scloud.jobs import periodic
        from scloud.rest import idempotency
        from scloud.rest.checks import check_verbs

        checks.register(check_verbs)

        periodic.register("rest.forget", 3600, idempotency.forget_old)
