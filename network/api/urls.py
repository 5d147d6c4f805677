"""The API's URLs of the network."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from network.api import vpcs as api

router = SimpleRouter(trailing_slash=False)
router.register("vpcs", api.VpcViewSet, basename="api-vpc")
router.register("subnets", api.SubnetViewSet, basename="api-subnet")
router.register("security-groups", api.SecurityGroupViewSet, basename="api-security-group")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("security-group-rules/<str:pk>", api.RuleView.as_view(), name="api-security-group-rule"),
]
