"""What the pages of images share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from compute.models import Image
from compute.states import images as image_states
from compute.states.images import ImageStatus
from compute.transfer import uploads
from compute.verbs.images import IMAGES
from compute.views import systems
from compute.views.common import TONES
from scloud.lib.errors import NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.verbs.refusals import not_allowed, refusal
from scloud.web.lists import (
    RowAction,
)
from scloud.web.status import StatusView
from scloud.web.verbs import menu


def tenant_of(actor: Actor) -> Tenant:
    """Return the caller's tenant; console pages let nobody else in."""
    if actor.tenant is None:
        raise NotFound(_("There is no tenant."))
    return actor.tenant


def image_status(image: Image) -> StatusView:
    """Return an image's state as the pages show it."""
    tone = TONES.get(image_states.image_tone(image.status), "off")
    return StatusView(label=str(ImageStatus(image.status).label), tone=tone, detail=image.failure)


def system_of(image: Image) -> Any:
    words = f"{image.distribution.capitalize()} {image.version}".strip()
    return format_html(
        '<span class="os-name">{}<span>{}</span></span>', systems.mark(image.distribution), words
    )


def image_actions(image: Image, actor: Actor) -> list[RowAction]:
    """Return the menu of an image: create a VM, rename, download, delete."""
    may_create = actor.allows("compute.create_vm")
    usable = image.status == ImageStatus.AVAILABLE
    reason = "" if usable else _("The image is not available.")
    create = RowAction(
        _("Create VM"),
        f"{reverse('vm-create')}?image={image.pk}",
        icon="server-2",
        how="link",
        reason=reason if may_create else not_allowed(),
    )
    first, *rest = menu("image", image, actor)
    lines = [create, replace(first, separator=True), *rest]
    ready = not image.is_base and uploads.is_ready(image)
    if ready and not refusal(actor, image, IMAGES.rule("download_image")):
        url = reverse("image-file", args=[image.pk])
        lines.insert(3, RowAction(_("Save the file"), url, icon="file-download", how="link"))
    return lines
