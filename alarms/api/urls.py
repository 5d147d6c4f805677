"""The API's URLs of monitoring."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from alarms.api import alarms, exposition, metrics, notices
from scloud.rest.verbs import routed

router = SimpleRouter(trailing_slash=False)
router.register("alarms", routed(alarms.AlarmViewSet), basename="api-alarm")
router.register(
    "alarm-templates", routed(alarms.AlarmTemplateViewSet), basename="api-alarm-template"
)
router.register("contacts", routed(notices.ContactViewSet), basename="api-contact")
router.register(
    "notification-groups",
    routed(notices.NotificationGroupViewSet),
    basename="api-notification-group",
)
router.register("webhooks", routed(notices.WebhookViewSet), basename="api-webhook")
router.register("silences", routed(notices.SilenceViewSet), basename="api-silence")
router.register("deliveries", notices.DeliveryViewSet, basename="api-delivery")

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
    *router.urls,
    path("alarm-rules/<str:pk>", alarms.AlarmRuleView.as_view(), name="api-alarm-rule"),
]
