"""Images: the list, import by URL and upload, download, rename, delete."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import Image
from compute.models.image import OsFamily
from compute.queries import images as image_queries
from compute.states.images import ImageStatus
from compute.views.common import name_and_id
from compute.views.images.common import image_actions, image_status, system_of, tenant_of
from scloud.web import ui
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    PageAction,
    RowAction,
)
from scloud.web.verbs import VerbList


def _of_kind(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    if {"base", "own"} <= set(values):
        return rows
    return rows.filter(tenant__isnull="base" in values)


class ImageList(VerbList):
    """Base images and the tenant's own."""

    kind = "image"
    permission = "compute.view_image"
    title = gettext_lazy("Images")
    default_sort = "name"
    page_template = "compute/images/list.html"
    columns = (
        name_and_id("image-detail"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=image_status,
            sort="status",
            export=lambda image: str(image_status(image)),
            nowrap=True,
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
        Column(
            "kind",
            gettext_lazy("Kind"),
            value=lambda image: _("Base") if image.is_base else _("Own"),
            sort="tenant",
        ),
        Column(
            "system",
            gettext_lazy("System"),
            value=system_of,
            sort=("distribution", "version"),
            export=lambda image: f"{image.distribution} {image.version}",
            nowrap=True,
        ),
        Column(
            "architecture",
            gettext_lazy("Architecture"),
            value=lambda image: str(image.get_architecture_display()),
            sort="architecture",
        ),
        Column(
            "size",
            gettext_lazy("Size"),
            value="size_bytes",
            render=ui.size_bytes,
            sort="size_bytes",
            align="end",
        ),
        Column(
            "min_disk",
            gettext_lazy("Min. disk"),
            value="min_disk_gib",
            render=ui.size_gib,
            sort="min_disk_gib",
            align="end",
        ),
        Column("account", gettext_lazy("Administrator"), value="admin_account", default=False),
        Column(
            "hot",
            gettext_lazy("Hot upgrade"),
            value="supports_hot_upgrade",
            render=ui.boolean,
            sort="supports_hot_upgrade",
            default=False,
        ),
        Column(
            "base",
            gettext_lazy("Base image"),
            value="base_image.name",
            sort="base_image__name",
            default=False,
        ),
        Column("remark", gettext_lazy("Description"), default=False),
        Column("sha256", gettext_lazy("SHA-256"), render=ui.ident, default=False),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter(
            "kind",
            gettext_lazy("Kind"),
            choices=(("base", gettext_lazy("Base")), ("own", gettext_lazy("Own"))),
            apply=_of_kind,
        ),
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=[
                choice
                for choice in ImageStatus.choices
                if choice[0] not in (ImageStatus.BINNED, ImageStatus.DESTROYED)
            ],
        ),
        Filter("family", gettext_lazy("System"), choices=OsFamily.choices, lookup="os_family__in"),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Import from URL"),
            "image-import",
            icon="cloud-download",
            primary=False,
            dialog=True,
            permission="compute.import_image",
        ),
        PageAction(
            gettext_lazy("Upload image"),
            "image-upload",
            icon="upload",
            dialog=True,
            permission="compute.import_image",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No images yet"),
        gettext_lazy("Create one from a stopped VM, or import your own QCOW2 or raw file."),
        icon="photo",
        action_label=gettext_lazy("Upload image"),
        action_url_name="image-upload",
        action_permission="compute.import_image",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Image]:
        """What the tenant may use in the region."""
        return image_queries.images(tenant_of(self.actor), self.request.region)

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Create a VM, rename, download, delete."""
        return image_actions(obj, self.actor)
