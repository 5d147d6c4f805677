"""Accelerators of hosts: which PCI functions they are, and what is passed through to a VM."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from compute.hypervisor.base import PciAddress, PciDevice
from compute.models import VM, GpuDevice, Host
from compute.models.platform import GpuType

NVIDIA, HUAWEI = "10de", "19e5"

# Vendor and product ids after the PCI ID database (https://pci-ids.ucw.cz, 2023.04.11). It does not
# list the Ascend 310 of the Atlas 300; OpenStack Cyborg's Ascend driver and Huawei's own log
# collector know it as 19e5:d100.
KNOWN: dict[tuple[str, str], GpuType] = {
    (NVIDIA, "102d"): GpuType.K80,  # GK210GL
    (NVIDIA, "1b38"): GpuType.P40,  # GP102GL
    (NVIDIA, "1db1"): GpuType.V100,  # GV100GL SXM2 16GB
    (NVIDIA, "1db3"): GpuType.V100,  # FHHL 16GB
    (NVIDIA, "1db4"): GpuType.V100,  # PCIe 16GB
    (NVIDIA, "1db5"): GpuType.V100,  # SXM2 32GB
    (NVIDIA, "1db6"): GpuType.V100,  # PCIe 32GB
    (NVIDIA, "1db8"): GpuType.V100,  # SXM3 32GB
    (NVIDIA, "1df5"): GpuType.V100,  # SXM2 16GB
    (NVIDIA, "1df6"): GpuType.V100,  # V100S PCIe 32GB
    (NVIDIA, "1e82"): GpuType.RTX2080,  # TU104
    (NVIDIA, "1e87"): GpuType.RTX2080,  # TU104 Rev. A
    (NVIDIA, "1e04"): GpuType.RTX2080TI,  # TU102
    (NVIDIA, "1e07"): GpuType.RTX2080TI,  # TU102 Rev. A
    (NVIDIA, "1eb8"): GpuType.T4,  # TU104GL
    (HUAWEI, "d100"): GpuType.ATLAS300,  # Ascend 310
}


def recognise(device: PciDevice) -> str | None:
    """Return the type of a PCI function, or None if it is no accelerator that is known."""
    found = KNOWN.get((device.vendor_id.lower(), device.product_id.lower()))
    return str(found.value) if found is not None else None


def record(host: Host, devices: Iterable[PciDevice]) -> None:
    """Bring the rows of a host's chips in line with what it lists.

    A chip that is not listed any more takes part in no placement; its row goes when no VM holds it.
    """
    now = timezone.now()
    listed = set()
    for device in devices:
        kind = recognise(device)
        if kind is None:
            continue
        address = str(device.address)
        listed.add(address)
        GpuDevice.objects.update_or_create(
            host=host,
            address=address,
            defaults={
                "vendor_id": device.vendor_id.lower(),
                "product_id": device.product_id.lower(),
                "gpu_type": kind,
                "present": True,
                "observed_at": now,
            },
        )
    gone = GpuDevice.objects.filter(host=host).exclude(address__in=listed)
    gone.filter(vm=None).delete()
    gone.update(present=False)


def addresses(vm: VM) -> tuple[PciAddress, ...]:
    """Return the PCI addresses that are passed through to a VM on its host."""
    if not vm.gpu_count:
        return ()
    rows = GpuDevice.objects.filter(vm=vm, host=vm.host_id).order_by("address")
    return tuple(PciAddress.parse(row.address) for row in rows)
