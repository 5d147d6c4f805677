"""What administrators do with images: change their facts, replace and withdraw base images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.actions.images import WORD_MAX
from compute.actions.vms.changes import check_image_name
from compute.models import Image
from compute.rules.validation import check_account, check_remark
from compute.states.images import ImageStatus
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor


@dataclass(frozen=True, kw_only=True)
class ChangedFacts:
    """What can be said of an image that is there already."""

    name: str
    remark: str
    distribution: str
    version: str
    admin_account: str
    min_disk_gib: int
    supports_hot_upgrade: bool
    accepts_user_data: bool
    accepts_ssh_keys: bool
    watchdog: bool
    position: int


def check_facts(image: Image, facts: ChangedFacts) -> dict[str, Any]:
    """Return the columns of an image with these facts. Raises InvalidInput."""
    values = asdict(facts)
    values["name"] = check_image_name(facts.name)
    values["remark"] = check_remark(facts.remark)
    check_account(facts.admin_account, os_family=image.os_family)
    for name in ("distribution", "version"):
        values[name] = str(values[name]).strip()
        if not values[name].isprintable() or len(values[name]) > WORD_MAX:
            raise InvalidInput(
                _("At most %(max)d printable characters are allowed here.") % {"max": WORD_MAX},
                code=f"{name}_invalid",
                field=name,
                numbers={"max": WORD_MAX, "length": len(values[name])},
            )
    if facts.min_disk_gib < 1:
        raise InvalidInput(
            _("The system disk has at least 1 GB."),
            code="min_disk_invalid",
            field="min_disk_gib",
            numbers={"min": 1, "asked": facts.min_disk_gib},
        )
    return values


@action("platform.change_image")
def change_image(*, actor: Actor, image: Image, facts: ChangedFacts) -> Image:
    """Change what is said of an image. VMs that were made of it keep what they got.

    But for the watchdog: they have it, or have it no more, from their next start.

    Raises InvalidInput.
    """
    values = check_facts(image, facts)
    before = {name: getattr(image, name) for name in values}
    for name, value in values.items():
        setattr(image, name, value)
    image.save(update_fields=list(values))
    audit.note(image, before=before, after=values)
    _tell(image, "image.changed")
    return image


@action("platform.withdraw_base_image")
def withdraw(*, actor: Actor, image: Image) -> Image:
    """Offer a base image no more. VMs and images that rest on it go on.

    Raises Conflict (``not_a_base_image``, ``image_withdrawn``).
    """
    _require_base(image)
    changed = Image.objects.filter(pk=image.pk, withdrawn_at=None).update(
        withdrawn_at=timezone.now()
    )
    if not changed:
        raise Conflict(_("It has already been withdrawn."), code="image_withdrawn")
    audit.note(image)
    _tell(image, "image.withdrawn")
    image.refresh_from_db()
    return image


@action("platform.offer_base_image")
def offer(*, actor: Actor, image: Image) -> Image:
    """Offer a base image again that was withdrawn. Raises Conflict."""
    _require_base(image)
    changed = Image.objects.filter(pk=image.pk, withdrawn_at__isnull=False).update(
        withdrawn_at=None
    )
    if not changed:
        raise Conflict(_("It is already offered."), code="image_offered")
    audit.note(image)
    _tell(image, "image.offered")
    image.refresh_from_db()
    return image


@action("platform.replace_base_image")
def replace(*, actor: Actor, image: Image, by: Image) -> Image:
    """Put another base image in the place of one, under its name; withdraw the old one.

    Raises Conflict (``not_a_base_image``, ``image_state``), InvalidInput (``image_differs``).
    """
    _require_base(image)
    _require_base(by)
    if by.pk == image.pk:
        raise InvalidInput(_("An image cannot replace itself."), code="image_differs", field="by")
    if by.status != ImageStatus.AVAILABLE:
        raise Conflict(
            _("%(name)s is not available.") % {"name": by.name}, code="image_state", field="by"
        )
    for name in ("region_id", "os_family", "architecture"):
        if getattr(by, name) != getattr(image, name):
            raise InvalidInput(
                _("%(name)s is of another region, family or architecture.") % {"name": by.name},
                code="image_differs",
                field="by",
            )
    Image.objects.filter(pk=by.pk).update(
        name=image.name, position=image.position, withdrawn_at=None
    )
    Image.objects.filter(pk=image.pk, withdrawn_at=None).update(withdrawn_at=timezone.now())
    audit.note(image, before={"offered": image.pk}, after={"offered": by.pk})
    audit.note(by)
    _tell(image, "image.withdrawn")
    _tell(by, "image.offered")
    by.refresh_from_db()
    return by


def _require_base(image: Image) -> None:
    if not image.is_base:
        raise Conflict(
            _("%(name)s is a tenant's own image.") % {"name": image.name}, code="not_a_base_image"
        )


def _tell(image: Image, kind: str) -> None:
    events.emit(tenant_id=image.tenant_id, kind=kind, resource_kind="image", resource_id=image.pk)
