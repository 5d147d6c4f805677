"""The API's URLs of the network."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from network.api import security, vpcs
from scloud.rest.verbs import routed

router = SimpleRouter(trailing_slash=False)
router.register("vpcs", routed(vpcs.VpcViewSet), basename="api-vpc")
router.register("subnets", routed(vpcs.SubnetViewSet), basename="api-subnet")
router.register(
    "security-groups", routed(security.SecurityGroupViewSet), basename="api-security-group"
)

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path(
        "security-group-rules/<str:pk>", security.RuleView.as_view(), name="api-security-group-rule"
    ),
]
