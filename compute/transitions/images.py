"""The only code that assigns a status of images."""

from typing import Any

from django.db import transaction

from compute.models import Image
from compute.states import images as image_states
from compute.states.images import ImageStatus
from compute.transitions.disks import REMEDY
from scloud.audit import events
from scloud.lib.errors import Conflict

# --- images


def guard_image(image: Image, verb: str) -> None:
    """Raise Conflict with the reason unless the verb is allowed in the image's present state."""
    reason = image_states.image_refusal(image, verb)
    if reason is not None:
        raise Conflict(
            f"{image.name}: {reason}",
            code="image_state",
            remedy=REMEDY,
            numbers={
                "status": image.status,
                "allowed_from": sorted(image_states.image_rule(verb).allowed_from),
            },
        )


def move_image(image: Image, expected: str, status: str, kind: str, **columns: Any) -> bool:
    """Bring an image from one status to another with the event ``kind``; False if it is not there.

    The caller has checked the verb's rule; this is the compare-and-swap.
    """
    with transaction.atomic():
        changed = Image.objects.filter(pk=image.pk, status=expected).update(
            status=ImageStatus(status), **columns
        )
        if changed:
            events.emit(
                tenant_id=image.tenant_id,
                kind=kind,
                resource_kind="image",
                resource_id=image.pk,
                data={"status": status},
            )
    return bool(changed)
