"""Reads of images, which are scoped here: base images serve all tenants."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from compute.models import Image
from compute.queries import catalogue
from compute.states.images import ImageStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant


def images_of(tenant: Tenant, region: Region | None = None) -> QuerySet[Image]:
    """Return base images and the tenant's own; the only way to read images for a tenant."""
    return catalogue.images(tenant, region)


def images(
    tenant: Tenant, region: Region | None = None, *, binned: bool = False
) -> QuerySet[Image]:
    """Return base images and the tenant's own, the base image of each with it."""
    rows = images_of(tenant, region).select_related("base_image", "region")
    return rows if binned else rows.exclude(status=ImageStatus.BINNED)


def image(tenant: Tenant, image_id: str, *, binned: bool = False) -> Image:
    """Return one image. Raises NotFound for an unknown or foreign one."""
    found = images(tenant, binned=binned).filter(pk=image_id).first()
    if found is None:
        raise NotFound(
            _("There is no image %(image_id)s.") % {"image_id": image_id[:40]},
            code="image_not_found",
            remedy=_("It may have been deleted. Check the list and the recycle bin."),
        )
    return found
