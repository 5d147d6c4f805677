"""The console shell: frame, lists, dialogs, live updates, errors as HTML."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "scloud.web"
    label = "web"

    def ready(self) -> None:
        from scloud.web import builtin

        builtin.register()
