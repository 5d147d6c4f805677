"""The API's URLs of compute."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from compute.api import catalogue, disks, images, placement, snapshots, ssh_keys, vms
from scloud.rest.verbs import routed


def patterns() -> list[URLPattern | URLResolver]:
    """Return the URLs, those of the verbs from the catalogue as it is now."""
    router = SimpleRouter(trailing_slash=False)
    router.register("vms", routed(vms.VmViewSet), basename="api-vm")
    router.register("disks", routed(disks.DiskViewSet), basename="api-disk")
    router.register("snapshots", routed(snapshots.SnapshotViewSet), basename="api-snapshot")
    router.register("images", routed(images.ImageViewSet), basename="api-image")
    router.register(
        "placement-groups",
        routed(placement.PlacementGroupViewSet),
        basename="api-placement-group",
    )
    router.register("ssh-keys", routed(ssh_keys.SshKeyViewSet), basename="api-ssh-key")
    return [
        *router.urls,
        path("models", catalogue.ModelView.as_view(), name="api-models"),
        path("disk-types", catalogue.DiskTypeView.as_view(), name="api-disk-types"),
    ]


urlpatterns: list[URLPattern | URLResolver] = patterns()
