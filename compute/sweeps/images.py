"""What time does to images: the end of the bin's retention, tasks that never ended, old files."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from billing import quotas
from compute.actions import images
from compute.models import Image
from compute.states.images import ImageStatus
from compute.sweeps.stuck import gave_up
from compute.transfer import staging
from compute.transfer.staging import file_of
from compute.transitions.images import IMAGES
from scloud.jobs.handlers import UNKNOWN_KIND
from scloud.jobs.models import ACTIVE, Job
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
_images_to_destroy = Rota("destroy_at", 100)
_stuck_images = Rota("created_at", 100)


def empty_image_bin() -> int:
    """Destroy the images that have lain in the bin past their retention; return how many."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    due = _images_to_destroy.take(
        Image.objects.select_related("tenant").filter(
            status=ImageStatus.BINNED, destroy_at__lte=timezone.now()
        )
    )
    return len(each(due, _destroy_image, "emptying the bin"))


def _destroy_image(image: Image) -> None:
    try:
        images.destroy_image(actor=Actor.system(image.tenant), image=image)
    except ScloudError as error:
        said.say(
            (image.id, "could not be destroyed"),
            error.code,
            logging.WARNING,
            "%s could not be destroyed: %s",
            image.id,
            error.for_operators(),
        )


def land_stuck_images() -> int:
    """Land images in flight whose job is gone, whatever the reason; return how many."""
    since = timezone.now() - timedelta(minutes=10)
    in_flight = _stuck_images.take(
        Image.objects.filter(status__in=list(_IMAGES_IN_FLIGHT), created_at__lt=since)
    )
    landed: list[str] = []
    each(in_flight, partial(_land_image, landed=landed), "landing an image")
    return len(landed)


_IMAGES_IN_FLIGHT = {
    ImageStatus.MAKING: ImageStatus.FAILED,
    ImageStatus.IMPORTING: ImageStatus.FAILED,
    ImageStatus.DELETING: ImageStatus.BINNED,
}


def _land_image(image: Image, landed: list[str]) -> None:
    with scopes_disabled():
        jobs = Job.objects.filter(payload__image=image.pk)
        # One that an older release failed because it does not know the kind is run yet.
        if jobs.filter(Q(status__in=ACTIVE) | Q(error_code=UNKNOWN_KIND)).exists():
            return
    back = _IMAGES_IN_FLIGHT[ImageStatus(image.status)]
    with transaction.atomic():
        if back == ImageStatus.FAILED:
            quotas.free(image.pk)
        if IMAGES.land(image, back, gave_up()):
            landed.append(image.pk)


def sweep_staging() -> int:
    """Remove uploads that were never imported and exports that nobody fetched."""
    if freezing.is_frozen():
        # A restored database does not know what was uploaded since.
        return 0
    keep = frozenset(
        file_of(image).name for image in Image.objects.filter(status=ImageStatus.IMPORTING)
    )
    return staging.sweep(keep)
