"""The API's URLs of API keys."""

from django.urls import URLPattern, URLResolver
from rest_framework.routers import SimpleRouter

from scloud.rest import api_keys

router = SimpleRouter(trailing_slash=False)
router.register("api-keys", api_keys.ApiKeyViewSet, basename="api-api-key")

urlpatterns: list[URLPattern | URLResolver] = list(router.urls)
