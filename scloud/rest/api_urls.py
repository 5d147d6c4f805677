"""The API's URLs of API keys, regions and jobs, which belong to no app above."""

from django.urls import URLPattern, URLResolver
from rest_framework.routers import SimpleRouter

from scloud.rest import api_keys, jobs, regions

router = SimpleRouter(trailing_slash=False)
router.register("api-keys", api_keys.ApiKeyViewSet, basename="api-api-key")
router.register("regions", regions.RegionViewSet, basename="api-region")
router.register("jobs", jobs.JobViewSet, basename="api-job")

urlpatterns: list[URLPattern | URLResolver] = list(router.urls)
