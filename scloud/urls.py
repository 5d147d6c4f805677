"""All URLs: the console shell, each app's pages, the API, Django admin."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

# An app's pages are in its ``urls`` module; the order is that of the layers.
PAGES = ("scloud.web.urls", "compute.urls", "network.urls", "billing.urls", "alarms.urls")

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("scloud.api_urls")),
    path("admin/", admin.site.urls),
    *(path("", include(name)) for name in PAGES if find_spec(name) is not None),
]

handler400 = "scloud.web.errors.bad_request"
handler403 = "scloud.web.errors.permission_denied"
handler404 = "scloud.web.errors.page_not_found"
handler500 = "scloud.web.errors.server_error"
