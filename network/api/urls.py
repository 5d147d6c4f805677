"""The API's URLs of the network."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from network.api import enis, external_ips, reach, security, vpcs
from scloud.rest.verbs import routed

router = SimpleRouter(trailing_slash=False)
router.register("external-ips", routed(external_ips.ExternalIpViewSet), basename="api-external-ip")
router.register("enis", routed(enis.EniViewSet), basename="api-eni")
router.register("vpcs", routed(vpcs.VpcViewSet), basename="api-vpc")
router.register("subnets", routed(vpcs.SubnetViewSet), basename="api-subnet")
router.register(
    "security-groups", routed(security.SecurityGroupViewSet), basename="api-security-group"
)

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("reachability", reach.ReachView.as_view(), name="api-reachability"),
    path(
        "security-group-templates",
        security.TemplatesView.as_view(),
        name="api-security-group-templates",
    ),
    path("segments", external_ips.SegmentView.as_view(), name="api-segments"),
    path(
        "security-group-rules/<str:pk>", security.RuleView.as_view(), name="api-security-group-rule"
    ),
]
