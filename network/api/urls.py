"""The API's URLs of the network."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from network.api import security, vpcs

router = SimpleRouter(trailing_slash=False)
router.register("vpcs", vpcs.VpcViewSet, basename="api-vpc")
router.register("subnets", vpcs.SubnetViewSet, basename="api-subnet")
router.register("security-groups", security.SecurityGroupViewSet, basename="api-security-group")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path(
        "security-group-rules/<str:pk>", security.RuleView.as_view(), name="api-security-group-rule"
    ),
]
