"""The API's URLs of monitoring."""

from django.urls import URLPattern, URLResolver, path

from alarms.api import exposition, metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("metrics", metrics.MetricsView.as_view(), name="api-metrics"),
    path(
        "metrics/prometheus",
        exposition.PrometheusView.as_view(),
        name="api-metrics-prometheus",
    ),
    path("vms/<str:pk>/metrics", metrics.VmMetricsView.as_view(), name="api-vm-metrics"),
    path(
        "external-ips/<str:pk>/metrics",
        metrics.ExternalIpMetricsView.as_view(),
        name="api-external-ip-metrics",
    ),
]
