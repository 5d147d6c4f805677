"""Import, export and destroy images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas
from compute.models import Image
from compute.rules.storage import GIB, reserve_image, whole_gib
from compute.states.images import ImageStatus
from compute.storage.base import ImageInfo, ImageMissing
from compute.tasks.base import (
    AWAY,
    STALL_S,
)
from compute.tasks.drivers import best_effort, storage_of, translated_errors
from compute.transfer import staging
from compute.transfer.download import Partial, Paused, fetch
from compute.transfer.staging import export_part, export_path, file_of
from compute.transitions.images import IMAGES
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.lanes import Lane
from scloud.jobs.models import Job
from scloud.lib import destinations
from scloud.lib.errors import ScloudError

PAUSE_S = 2.0


def image_of(context: Context) -> Image:
    found = Image.objects.select_related("pool").filter(pk=context.payload["image"]).first()
    if found is None:
        raise ScloudError(_("There is no such image."), code="image_gone")
    return found


def stored(image: Image) -> bool:
    """Tell whether the pool has the image already."""
    try:
        with translated_errors():
            storage_of(image.pool).image_info(image.pk)
    except ScloudError as error:
        if error.code == ImageMissing.code:
            return False
        raise
    return True


def store_base_image(image: Image, path: Path) -> None:
    """Put a file of this machine into the image's pool and save the new row with its facts.

    For filling an installation only: it blocks until the file is copied. Raises StorageError.
    """
    info = storage_of(image.pool).import_image(image.pk, path)
    image.min_disk_gib = info.size_gib
    image.size_bytes = info.stored_bytes
    image.sha256 = info.sha256
    image.save(force_insert=True)


class ImportImage(Handler):
    """Fetch, look, convert. What is fetched again after a crash is fetched from the start."""

    max_attempts = 4
    repeatable = False
    waits_for = AWAY
    lane = Lane.LONG
    stall_s = STALL_S

    def steps(self, job: Job) -> Sequence[Step]:
        return (
            Step("fetch", _("Downloading"), self.ensure_fetched, 6),
            Step("import", _("Checking and converting"), self.ensure_imported, 3),
            Step("tidy", _("Cleaning up"), self.ensure_tidy, 1),
        )

    def ensure_fetched(self, context: Context) -> None:
        """Download the URL; an upload is here already."""
        image = image_of(context)
        path = file_of(image)
        if image.import_source.startswith("/") or stored(image):
            return

        def report(done: int, total: int | None) -> None:
            context.check()
            fraction = done / total if total else 0.5
            of = f" of {total / 1024**2:.0f}" if total else ""
            context.progress(fraction, f"{done / 1024**2:.0f}{of} MB downloaded")
            # In whole GB ahead, so that it is asked for once in a while only.
            reserve_image(image, max(total or 0, whole_gib(done) * GIB))

        begun = context.memory.pop("partial", None)
        try:
            self.fetch(image, path, None if begun is None else Partial(**begun), report)
        except Paused as pause:
            # A dripping server must not keep others from their turn.
            context.memory["partial"] = asdict(pause.partial)
            context.park(PAUSE_S)

    def fetch(
        self,
        image: Image,
        path: Path,
        partial: Partial | None,
        report: Callable[[int, int | None], None],
    ) -> None:
        if partial is not None and (not path.exists() or path.stat().st_size < partial.done_bytes):
            # Another worker's machine, or the sweep of old files.
            partial = None
        fetch(
            image.import_source,
            path,
            takes_turns=True,
            partial=partial,
            max_bytes=staging.max_file_bytes(),
            destinations=destinations.configured(),
            min_bytes_per_s=settings.SCLOUD_IMPORT_MIN_KIB_PER_S * 1024,
            report=report,
        )

    def ensure_imported(self, context: Context) -> None:
        """Probe the file and make it an image of the pool."""
        image = image_of(context)
        with translated_errors():
            info = storage_of(image.pool).import_image(
                image.pk,
                file_of(image),
                expected_sha256=image.import_sha256 or None,
                max_virtual_gib=int(settings.SCLOUD_IMAGE_MAX_VIRTUAL_GIB),
            )
        # What came compressed takes more now.
        reserve_image(image, info.stored_bytes)
        keep_facts(context, info)

    def ensure_tidy(self, context: Context) -> None:
        """Remove the file; the pool has its own."""
        file_of(image_of(context)).unlink(missing_ok=True)

    def on_success(self, context: Context) -> None:
        image = image_of(context)
        columns = facts(context)
        columns["min_disk_gib"] = max(image.min_disk_gib, int(str(columns["min_disk_gib"])))
        IMAGES.complete(
            image,
            context.job,
            "import_image",
            ImageStatus.AVAILABLE,
            import_source="",
            **columns,
        )

    def before_failure(self, context: Context, error: ScloudError) -> None:
        image = image_of(context)
        best_effort(lambda: storage_of(image.pool).delete_image(image.pk))
        file_of(image).unlink(missing_ok=True)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        fail_image(image_of(context), context.job, "import_image", error)


class ExportImage(Handler):
    """Lay a readable file ready: a second name of the pool's own file where that is possible."""

    waits_for = AWAY
    lane = Lane.LONG
    stall_s = STALL_S

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("export", _("Preparing the file"), self.ensure_exported),)

    def ensure_exported(self, context: Context) -> None:
        """Link or copy the image; a complete file is taken as it is."""
        image = image_of(context)
        target = export_path(image)
        context.result["file"] = target.name
        if target.exists():
            os.utime(target)
            return
        part = export_part(image)
        part.unlink(missing_ok=True)
        with translated_errors():
            storage_of(image.pool).export_image(image.pk, part)
        # As a second name of the pool's file it is as old as the image.
        os.utime(part)
        context.guard()
        part.rename(target)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        export_part(image_of(context)).unlink(missing_ok=True)


class DestroyImage(Handler):
    """Remove it from the pool; while volumes rest on it the pool refuses."""

    max_attempts = 20
    repeatable = False
    waits_for = AWAY

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("delete", _("Removing the image"), self.ensure_gone),)

    def ensure_gone(self, context: Context) -> None:
        """Delete it, and what is ready for download."""
        image = image_of(context)
        with translated_errors():
            storage_of(image.pool).delete_image(image.pk)
        for path in (export_path(image), export_part(image)):
            path.unlink(missing_ok=True)

    def on_success(self, context: Context) -> None:
        image = image_of(context)
        quotas.free(image.pk)
        IMAGES.complete(
            image,
            context.job,
            "destroy_image",
            ImageStatus.DESTROYED,
            destroyed_at=timezone.now(),
        )

    def on_failure(self, context: Context, error: ScloudError) -> None:
        IMAGES.fail(image_of(context), context.job, "destroy_image", error, ImageStatus.BINNED)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("image.import", ImportImage()),
        ("image.export", ExportImage()),
        ("image.destroy", DestroyImage()),
    ):
        register(kind, handler)


def keep_facts(context: Context, info: ImageInfo) -> None:
    """Note what the pool says of a finished image."""
    context.result["image"] = {
        "size_bytes": info.stored_bytes,
        "sha256": info.sha256,
        "min_disk_gib": info.size_gib,
    }


def facts(context: Context) -> dict[str, object]:
    columns: dict[str, object] = context.result["image"]
    return columns


def fail_image(image: Image, job: Job, verb: str, error: ScloudError) -> None:
    """Land an image that did not come to be; its quota goes back."""
    quotas.free(image.pk)
    IMAGES.fail(image, job, verb, error, ImageStatus.FAILED)
