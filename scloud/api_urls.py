"""The API's URLs: every app brings its own part; the schema describes them all."""

from django.urls import URLPattern, URLResolver, include, path

from scloud.rest.schema import SchemaView

APPS = (
    "scloud.rest.api_urls",
    "billing.api_urls",
    "network.api.urls",
    "compute.api.urls",
    "alarms.api.urls",
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("openapi.json", SchemaView.as_view(), name="openapi"),
    *(path("", include(name)) for name in APPS),
]
