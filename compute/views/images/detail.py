"""The page of an image."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import VM, Image
from compute.queries import images as image_queries
from compute.queries import vms as vm_queries
from compute.views.common import name_and_id, vm_status
from compute.views.images.common import image_actions, image_status, system_of, tenant_of
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.lists import Column, EmptyState, RowAction


class ImageDetail(DetailListView):
    """An image with the VMs whose system disk came from it."""

    kind = "vm"
    permission = "compute.view_image"
    title = gettext_lazy("VMs created from this image")
    columns = (
        name_and_id("vm-detail"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=vm_status,
            sort=("status", "task"),
            export=lambda vm: str(vm_status(vm)),
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
        Column("remark", gettext_lazy("Remark")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    empty = EmptyState(
        gettext_lazy("No VM was created from this image"),
        gettext_lazy("The image can be deleted."),
        icon="server-2",
    )

    @cached_property
    def image(self) -> Image:
        """The image of the page, also while it is in the recycle bin."""
        return image_queries.image(tenant_of(self.actor), self.kwargs["image_id"], binned=True)

    def get_queryset(self) -> QuerySet[VM]:
        """The tenant's own VMs made from it."""
        return vm_queries.vms().filter(image=self.image)

    def page_context(self) -> dict[str, Any]:
        image = self.image
        create, *others = image_actions(image, self.actor)
        base = image.base_image
        facts: list[tuple[Any, ...]] = [
            (_("ID"), image.pk, image.pk),
            (_("Kind"), _("Base") if image.is_base else _("Own")),
            (_("System"), system_of(image)),
            (_("Architecture"), str(image.get_architecture_display())),
            (_("Size"), ui.size_bytes(image.size_bytes)),
            (_("Minimum system disk"), ui.size_gib(image.min_disk_gib)),
            (_("Administrator"), image.admin_account),
            (_("Hot upgrade"), ui.boolean(image.supports_hot_upgrade)),
            (_("Watchdog"), ui.boolean(image.watchdog)),
            (_("Base image"), base and ui.link(base.name, reverse("image-detail", args=[base.pk]))),
            (_("SHA-256"), image.sha256, image.sha256),
            (_("Description"), image.remark),
            (_("Region"), image.region.name),
            (_("Created"), ui.moment(image.created_at)),
        ]
        actions: list[RowAction] = others
        return {
            "object": image,
            "status": image_status(image),
            "crumbs": [(_("Images"), reverse("image-list")), (image.name, "")],
            "primary": create,
            "actions": actions,
            "facts": facts,
        }
