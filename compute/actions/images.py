"""Images: import, rename, download, delete, restore, destroy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import quotas, usage
from billing.models import QuotaItem
from compute.actions.naming import rename
from compute.actions.vms.changes import check_image_name
from compute.hosts import pools
from compute.models import Disk, Image, StoragePool
from compute.models.image import OsFamily, image_id
from compute.models.platform import Architecture
from compute.rules.storage import require_bin, whole_gib
from compute.rules.validation import check_account, check_confirmed, check_remark
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.transfer import staging
from compute.transitions.images import IMAGES
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib import destinations
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

ACCOUNTS = {"windows": "administrator", "ubuntu": "ubuntu"}
WORD_MAX = 30
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What people say of an image that they import; the platform looks at the rest itself.

    Without ``admin_account`` it is the usual one of the distribution.
    """

    region: Region
    pool: StoragePool
    name: str
    os_family: str = OsFamily.LINUX
    distribution: str = "linux"
    version: str = ""
    architecture: str = Architecture.X86_64
    admin_account: str = ""
    min_disk_gib: int = 1
    supports_hot_upgrade: bool = False
    accepts_user_data: bool = True
    accepts_ssh_keys: bool = True
    watchdog: bool = False
    position: int = 0
    remark: str = ""


def _own(actor: Actor, image: Image) -> None:
    """Base images belong to the platform."""
    if image.tenant_id is None and not actor.is_platform:
        raise Forbidden(
            _("Base images are managed by the platform."),
            code="base_image",
            remedy=_("Create your own image from a VM."),
        )


def _new_image(actor: Actor, given: ImageFacts, sha256: str | None) -> Image:
    if given.pool.region_id != given.region.pk:
        raise InvalidInput(_("The pool is in another region."), code="region_differs", field="pool")
    if given.os_family not in OsFamily.values:
        raise InvalidInput(_("Unknown family."), code="os_family_unknown", field="os_family")
    if given.architecture not in Architecture.values:
        raise InvalidInput(
            _("Unknown architecture."), code="architecture_unknown", field="architecture"
        )
    most = int(settings.SCLOUD_IMAGE_MAX_VIRTUAL_GIB)
    if not 1 <= given.min_disk_gib <= most:
        raise InvalidInput(
            _("The system disk has 1 to %(most)s GB.") % {"most": most},
            code="min_disk_invalid",
            field="min_disk_gib",
            numbers={"min": 1, "max": most, "asked": given.min_disk_gib},
        )
    checksum = (sha256 or "").strip().lower()
    if checksum and (len(checksum) != 64 or not set(checksum) <= _HEX):
        raise InvalidInput(
            _("A SHA-256 checksum has 64 hexadecimal digits."),
            code="sha256_invalid",
            field="sha256",
        )
    distribution, version = given.distribution.strip().lower(), given.version.strip()
    for name, text in (("distribution", distribution), ("version", version)):
        if not text.isprintable() or len(text) > WORD_MAX:
            raise InvalidInput(
                _("At most %(max)d printable characters are allowed here.") % {"max": WORD_MAX},
                code=f"{name}_invalid",
                field=name,
                numbers={"max": WORD_MAX, "length": len(text)},
            )
    account = given.admin_account.strip() or ACCOUNTS.get(
        "windows" if given.os_family == OsFamily.WINDOWS else distribution, "root"
    )
    check_account(account, os_family=given.os_family)
    return Image(
        id=image_id(),
        tenant=actor.tenant,
        region=given.region,
        pool=given.pool,
        name=check_image_name(given.name),
        remark=check_remark(given.remark),
        os_family=given.os_family,
        distribution=distribution,
        version=version,
        architecture=given.architecture,
        admin_account=account,
        min_disk_gib=given.min_disk_gib,
        supports_hot_upgrade=given.supports_hot_upgrade,
        accepts_user_data=given.accepts_user_data,
        accepts_ssh_keys=given.accepts_ssh_keys,
        watchdog=given.watchdog,
        position=given.position,
        import_sha256=checksum,
    )


def _begin_import(actor: Actor, image: Image) -> Image:
    if image.tenant is not None:
        usage.require_paid(image.tenant)
        storage_gib = {QuotaItem.IMAGE_GIB.value: whole_gib(image.size_bytes)}
        quotas.require(image.tenant, image.region, storage_gib)
        quotas.take(image.tenant, image.region, {"images": 1}, image.pk)
    # An upload is as large as its file; of a URL the size is not known before it is fetched.
    size = image.size_bytes
    pools.require_room([pools.Wanted(image.pool, size, size)], field=None, words=pools.IMAGE)
    audit.note(image, after={"name": image.name})
    IMAGES.create(image, "import_image", actor=actor)
    return image


@action("compute.import_image")
def import_image_file(
    *, actor: Actor, facts: ImageFacts, path: Path, sha256: str | None = None
) -> Image:
    """Begin to import an upload that :func:`compute.transfer.staging.stage` wrote.

    Return the image. With ``sha256`` the file must have that checksum. An administrator who acts
    for no tenant makes a base image. Raises InvalidInput, QuotaExceeded, NoCapacity,
    InsufficientBalance (``usage_unpaid``).
    """
    image = _new_image(actor, facts, sha256)
    staged = staging.check_staged(path)
    image.import_source, image.size_bytes = str(staged), staged.stat().st_size
    return _begin_import(actor, image)


@action("compute.import_image")
def import_image_url(
    *, actor: Actor, facts: ImageFacts, url: str, sha256: str | None = None
) -> Image:
    """Begin to download and import an image; return it (*Importing*).

    Raises InvalidInput (``url_invalid``, ``url_port``), QuotaExceeded, NoCapacity,
    InsufficientBalance (``usage_unpaid``). The job fails with ``address_refused`` for an address
    inside the platform.
    """
    image = _new_image(actor, facts, sha256)
    image.import_source = destinations.configured().check_url(url)
    return _begin_import(actor, image)


@action("compute.rename_image")
def rename_image(
    *, actor: Actor, image: Image, name: str | None = None, remark: str | None = None
) -> Image:
    """Change name or description. Raises InvalidInput, Conflict, Forbidden for base images."""
    _own(actor, image)
    IMAGES.guard(image, "rename_image")
    rename(IMAGES, image, name=name, remark=remark, check=check_image_name)
    return image


@action("compute.download_image")
def download_image(*, actor: Actor, image: Image) -> Job:
    """Begin to lay an own image ready for download; the job's result names the file.

    See :func:`compute.transfer.staging.export_path`. Raises Conflict, Forbidden for base images.
    """
    _own(actor, image)
    IMAGES.guard(image, "download_image")
    return jobs.enqueue(
        kind="image.export",
        tenant=image.tenant,
        title=f"{IMAGES.table.rule('download_image').label} {image.name}",
        target_kind="image",
        target_id=image.pk,
        payload={"image": image.pk},
        deadline_s=3600,
        actor=actor,
    )


def users_of(image: Image) -> int:
    """Return how many disks rest on an image, those of binned VMs included."""
    with scopes_disabled():
        return Disk.objects.filter(image=image).exclude(status=DiskStatus.DESTROYED).count()


def _refuse_used(image: Image) -> None:
    users = users_of(image)
    if users:
        raise Conflict(
            ngettext("%(count)s VM uses %(name)s.", "%(count)s VMs use %(name)s.", users)
            % {"count": users, "name": image.name},
            code="image_in_use",
            remedy=_("Destroy or reinstall them first, including those in the recycle bin."),
            numbers={"vms": users},
        )


@action("compute.delete_image")
def delete_image(*, actor: Actor, image: Image) -> Image:
    """Move an image to the recycle bin; one that failed is forgotten at once.

    Raises Conflict (``image_state``, ``image_in_use``), QuotaExceeded (the bin is full), Forbidden
    for base images.
    """
    _own(actor, image)
    image.refresh_from_db(fields=["status", "size_bytes"])
    IMAGES.guard(image, "delete_image")
    now = timezone.now()
    if image.status == ImageStatus.FAILED:
        return IMAGES.move(
            image,
            "delete_image",
            ImageStatus.DESTROYED,
            actor=actor,
            event="image.destroyed",
            destroyed_at=now,
        )
    _refuse_used(image)
    if image.tenant is not None:
        size_gib = whole_gib(image.size_bytes)
        require_bin(actor, image.tenant, image.region, size_gib)
    quotas.free(image.pk)
    return IMAGES.move(
        image,
        "delete_image",
        ImageStatus.BINNED,
        actor=actor,
        binned_at=now,
        destroy_at=now + PlatformSettings.load().bin_retention,
        binned_automatically=False,
    )


@action("compute.restore_image")
def restore_image(*, actor: Actor, image: Image) -> Image:
    """Take an image out of the recycle bin. Raises Conflict, QuotaExceeded, Forbidden."""
    _own(actor, image)
    image.refresh_from_db(fields=["status"])
    IMAGES.guard(image, "restore_image")
    if image.tenant is not None:
        storage_gib = {QuotaItem.IMAGE_GIB.value: whole_gib(image.size_bytes)}
        quotas.require(image.tenant, image.region, storage_gib)
        quotas.take(image.tenant, image.region, {"images": 1}, image.pk)
    return IMAGES.move(
        image,
        "restore_image",
        ImageStatus.AVAILABLE,
        actor=actor,
        binned_at=None,
        destroy_at=None,
    )


@action("compute.destroy_image", confirmed=True)
def destroy_image(*, actor: Actor, image: Image, confirm_name: str | None = None) -> Job:
    """Destroy a binned image for good. Raises InvalidInput, Conflict, Forbidden."""
    _own(actor, image)
    check_confirmed(image.name, confirm_name)
    image.refresh_from_db(fields=["status"])
    IMAGES.guard(image, "destroy_image")
    _refuse_used(image)
    return IMAGES.begin(image, "destroy_image", actor=actor)
