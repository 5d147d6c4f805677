"""The API's URLs: every app brings its own part; the schema describes them all."""

from importlib import import_module
from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularJSONAPIView

APPS = ("scloud.rest", "billing", "network", "compute", "alarms")

urlpatterns: list[URLPattern | URLResolver] = [
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
]
for app in APPS:
    name = f"{app}.api_urls"
    if find_spec(name) is not None:
        import_module(name)
        urlpatterns.append(path("", include(name)))
