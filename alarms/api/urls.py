"""The API's URLs of monitoring."""

from django.urls import URLPattern, URLResolver, path

from alarms.api import exposition

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "metrics/prometheus",
        exposition.PrometheusView.as_view(),
        name="api-metrics-prometheus",
    ),
]
