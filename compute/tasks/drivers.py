"""From rows to drivers. Only tasks, reconcile and the VNC processes import this."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compute.hypervisor.base import HostRef, Hypervisor, HypervisorError
from compute.hypervisor.opening import open_hypervisor
from compute.models import Host, StoragePool
from compute.storage.base import Storage, StorageError, StorageRef
from compute.storage.opening import open_storage
from scloud.lib.errors import HostError, ScloudError

# What people are told to do about an error of a host or a pool, by its stable code.
REMEDIES = {
    "host_unreachable": "The platform tries again; if it lasts, ask the operators.",
    "agent_unavailable": "Start the guest agent in the VM, or install qemu-guest-agent.",
    "start_unfinished": "The platform tries again; if it lasts, ask the operators to restart "
    "libvirt on the VM's host.",
    "storage_full": "Choose another disk type, or ask the operators for space.",
    "image_missing": "Choose another image; the operators have been told of this one.",
    "volume_missing": "Ask the operators: the disk's file is gone.",
    "guest_refused": "Unmount the disk in the guest and try again.",
}


def hypervisor_of(host: Host) -> Hypervisor:
    """Return the driver of a host."""
    return open_hypervisor(ref_of(host))


def ref_of(host: Host) -> HostRef:
    """Return what the driver needs to know of a host."""
    return HostRef(name=host.name, uri=host.uri, address=host.address, offloads=host.offloads)


def storage_of(pool: StoragePool) -> Storage:
    """Return the driver of a pool."""
    return open_storage(
        StorageRef(kind="fake" if pool.kind == "fake" else "dir", location=pool.location)
    )


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn errors of the drivers into errors that people see."""
    try:
        yield
    except (HypervisorError, StorageError) as error:
        raised: ScloudError
        if error.retryable:
            raised = HostError(error.message, code=error.code, remedy=REMEDIES.get(error.code))
        else:
            raised = ScloudError(error.message, code=error.code, remedy=REMEDIES.get(error.code))
        raise raised from error


def quietly(call: Callable[[], object]) -> bool:
    """Make a call of a clean-up; return whether it succeeded. The reconciler does the rest."""
    try:
        call()
    except (HypervisorError, StorageError):
        return False
    return True
