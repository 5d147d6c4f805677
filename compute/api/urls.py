"""The API's URLs of compute."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from compute.api import disks as api_disks
from compute.api import images as api_images
from compute.api import vms as api

router = SimpleRouter(trailing_slash=False)
router.register("vms", api.VmViewSet, basename="api-vm")
router.register("regions", api.RegionViewSet, basename="api-region")
router.register("disks", api_disks.DiskViewSet, basename="api-disk")
router.register("snapshots", api_disks.SnapshotViewSet, basename="api-snapshot")
router.register("images", api_images.ImageViewSet, basename="api-image")
router.register("jobs", api.JobViewSet, basename="api-job")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("models", api.ModelView.as_view(), name="api-models"),
    path("disk-types", api.DiskTypeView.as_view(), name="api-disk-types"),
]
