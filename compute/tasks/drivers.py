"""From rows to drivers. Only tasks, reconcile and the VNC processes import this."""

import base64
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from compute.hypervisor.base import HostRef, Hypervisor, HypervisorError
from compute.hypervisor.opening import open_hypervisor
from compute.models import Disk, Host, Image, StoragePool
from compute.models.platform import CEPH
from compute.states.disks import KEPT
from compute.states.images import ImageStatus
from compute.storage import marker
from compute.storage.base import (
    ImageRefused,
    Storage,
    StorageError,
    StorageRef,
)
from compute.storage.opening import open_storage
from compute.transfer import staging
from scloud.lib import keys
from scloud.lib.backoff import Said
from scloud.lib.errors import HostError, ScloudError
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

# What tenants are shown of an error of a host or a pool, by its stable code. What the driver itself
# says may name paths, URIs and hosts, so it is kept for operators.
MESSAGES: dict[str, Promise] = {
    "host_unreachable": _("The VM's host does not answer."),
    "operation_timeout": _("The operation did not finish in time."),
    "start_unfinished": _("The VM has not finished starting."),
    "domain_not_found": _("The VM was not found on its host."),
    "domain_not_running": _("The VM is not running."),
    "agent_unavailable": _("The guest agent does not answer."),
    "agent_refused": _("The guest agent refused the request."),
    "guest_refused": _("The guest did not release or accept the device in time."),
    "host_refused": _("The host refused the operation."),
    "shrink_refused": _("Disks and running VMs can only grow."),
    "host_full": _("There is not enough capacity to start the VM right now."),
    "storage_unavailable": _("The storage is not available right now."),
    "storage_foreign": _("The storage is not available right now."),
    "storage_stale": _("The storage is not available right now."),
    "storage_read_only": _("The storage cannot be written right now."),
    "storage_io_error": _("The storage reports an error of its medium."),
    "storage_hanging": _("The storage does not answer right now."),
    "storage_timeout": _("The storage did not finish in time."),
    "storage_full": _("The storage is full."),
    "volume_missing": _("The disk's data is missing."),
    "volume_damaged": _("The disk's data cannot be read."),
    "volume_busy": _("The disk is in use by a running VM."),
    "snapshot_missing": _("The snapshot's data is missing."),
    "snapshot_limit": _("The disk has too many snapshots that depend on each other."),
    "image_missing": _("The image's data is missing."),
    "image_busy": _("Disks still depend on the image."),
    "image_refused": _("The file is not an acceptable disk image."),
}
# A digest that no marker has.
_NOBODYS = "0" * 64
FAILED = _("The operation failed on the platform.")

# What tenants are shown of a file that is no image that is taken, by the reason.
REFUSED_IMAGES: dict[str, Promise] = {
    "unknown_format": _("The file is not a QCOW2 or raw disk image."),
    "corrupt": _("The image is damaged or incomplete."),
    "backing_file": _("The image has a backing file. Convert it to a standalone image."),
    "external_data": _("The image keeps its data in another file. Convert it to a single file."),
    "encrypted": _("The image is encrypted. Decrypt it first."),
    "too_large": _("The image's disk is larger than allowed."),
    "bomb": _("The image would take far more space or time than its size allows for."),
    "checksum": _("The file's checksum is not the expected one."),
    "missing": _("The file is no longer there."),
}

CONTACT = _("If it fails again, contact support.")
# What to do about an error of a host or a pool, by its stable code.
REMEDIES: dict[str, Promise] = {
    "host_unreachable": _("SCloud tries again. If it fails again, contact support."),
    "agent_unavailable": _("Start the guest agent in the VM, or install qemu-guest-agent."),
    "agent_refused": _("Check in the guest that the account exists."),
    "start_unfinished": _("SCloud tries again. If it fails again, contact support."),
    "host_full": _("Try again later, or choose a smaller size."),
    "storage_full": _("Choose another disk type, or contact support."),
    "volume_missing": _("Contact support."),
    "volume_damaged": _("The disk is checked automatically. Repair it if errors are found."),
    "snapshot_limit": _("Delete a snapshot of the disk first."),
    "image_missing": _("Choose another image, or contact support."),
    "guest_refused": _("Unmount the disk in the guest and try again."),
    "image_refused": _("Choose another file."),
}

# What operators are told to do, beside what the driver said.
FOR_OPERATORS = {
    "start_unfinished": "If it lasts, restart libvirt on the VM's host.",
}


def hypervisor_of(host: Host) -> Hypervisor:
    return open_hypervisor(ref_of(host))


def ref_of(host: Host) -> HostRef:
    """Return what the driver needs to know of a host."""
    return HostRef(name=host.name, uri=host.uri, address=host.address, offloads=host.offloads)


def storage_of(pool: StoragePool) -> Storage:
    """Return the driver of a pool; one that is used for the first time is marked.

    Where it cannot be marked every call of the driver raises StorageError.
    """
    if not needs_marker(pool):
        return _open(pool, pool.marker)
    try:
        claim(pool)
    except StorageError as error:
        said.say(pool.pk, error.code, logging.WARNING, "pool %s: %s", pool.pk, error.message)
    return _open(pool, pool.marker or _NOBODYS)


def needs_marker(pool: StoragePool) -> bool:
    """Tell whether a pool has to be marked before it is used."""
    return pool.kind in ("dir", "rbd") and not pool.marker


def _open(pool: StoragePool, digest: str) -> Storage:
    if pool.kind == "rbd":
        return open_storage(
            StorageRef(
                kind="rbd",
                location=pool.location.removeprefix(CEPH),
                options=(
                    ("monitors", pool.monitors),
                    ("user", pool.user),
                    ("secret_uuid", str(pool.secret_uuid or "")),
                    ("scratch", str(staging.scratch())),
                ),
                pool_id=pool.pk,
                marker=digest,
                secret=_key_of(pool),
            )
        )
    return open_storage(
        StorageRef(
            kind="fake" if pool.kind == "fake" else "dir",
            location=pool.location,
            options=(("snapshots", pool.snapshots),),
            pool_id=pool.pk,
            marker=digest,
        )
    )


def _key_of(pool: StoragePool) -> str:
    return keys.box().decrypt(pool.sealed_key.encode()).decode() if pool.sealed_key else ""


def keep_secrets(host: Hypervisor, disks: Iterable[Disk]) -> None:
    """Let a host know the keys that it needs to open the disks."""
    for pool in {disk.pool_id: disk.pool for disk in disks}.values():
        if pool.secret_uuid is not None:
            host.keep_secret(str(pool.secret_uuid), base64.b64decode(_key_of(pool)))


def claim(pool: StoragePool) -> None:
    """Mark a pool that is used for the first time, or that an administrator wants marked anew.

    Whoever does the same meanwhile ends with the same marker. Raises StorageError: a directory
    that shows none of what the rows say of it is not mounted.
    """
    pool.refresh_from_db(fields=["marker", "adopting"])
    if pool.marker:
        return
    storage, token = _open(pool, ""), secrets.token_hex(32)
    if not pool.adopting:
        _require_content(pool, storage)
    storage.mark(token, replace=pool.adopting)
    rows = StoragePool.objects.filter(pk=pool.pk, marker="")
    rows.update(marker=marker.digest_of(token), adopting=False)
    pool.refresh_from_db(fields=["marker", "adopting"])


def _require_content(pool: StoragePool, storage: Storage) -> None:
    with scopes_disabled():
        disks = Disk.objects.filter(pool=pool, status__in=KEPT, task="").values_list(
            "pk", flat=True
        )
        images = Image.objects.filter(pool=pool, status=ImageStatus.AVAILABLE)
        expected = {*disks, *images.values_list("pk", flat=True)}
    if not expected:
        return
    there = {info.volume_id for info in storage.list_volumes()}
    there |= {info.image_id for info in storage.list_images()}
    marker.require_any(expected, there)


def translated(error: HypervisorError | StorageError) -> ScloudError:
    """Return what tenants are shown of a driver's error, with its own words for operators.

    ``code`` stays the driver's; an error that may pass becomes a HostError, which is tried again.
    """
    message = str(MESSAGES.get(error.code, FAILED))
    if isinstance(error, ImageRefused):
        message = str(REFUSED_IMAGES.get(error.reason, message))
        if error.found:
            message = gettext("The file is %(format)s, not a QCOW2 or raw disk image.") % {
                "format": error.found
            }
    kind = HostError if error.retryable else ScloudError
    return kind(
        message,
        code=error.code,
        remedy=str(REMEDIES.get(error.code, CONTACT)),
        detail=" ".join(filter(None, (error.message, FOR_OPERATORS.get(error.code)))),
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise errors of hypervisor and storage drivers as the ScloudErrors that tenants may read."""
    try:
        yield
    except (HypervisorError, StorageError) as error:
        raise translated(error) from error


def best_effort(call: Callable[[], object]) -> bool:
    """Make a call of a clean-up; return whether it succeeded. The reconciler does the rest."""
    try:
        call()
    except (HypervisorError, StorageError):
        return False
    return True
