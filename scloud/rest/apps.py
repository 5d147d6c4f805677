"""What all parts of the API share."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    name = "scloud.rest"
    label = "rest"
