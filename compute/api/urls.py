"""The API's URLs of compute."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from compute.api import catalogue, disks, images, snapshots, vms

router = SimpleRouter(trailing_slash=False)
router.register("vms", vms.VmViewSet, basename="api-vm")
router.register("disks", disks.DiskViewSet, basename="api-disk")
router.register("snapshots", snapshots.SnapshotViewSet, basename="api-snapshot")
router.register("images", images.ImageViewSet, basename="api-image")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("models", catalogue.ModelView.as_view(), name="api-models"),
    path("disk-types", catalogue.DiskTypeView.as_view(), name="api-disk-types"),
]
