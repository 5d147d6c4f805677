"""All URLs."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("scloud.web.urls")),
    path("api/v1/", include("scloud.api_urls")),
    path("admin/", admin.site.urls),
]
