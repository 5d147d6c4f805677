"""What the sizes of VMs mean for money, quota and headroom."""

from collections.abc import Sequence

from billing import services
from billing.models import Order, Subscription
from billing.quotes import items_of
from billing.services import QuoteItem
from compute.models import VM, Cluster, Disk, Image
from compute.rules import catalogue as rules_catalogue
from scloud.jobs.models import Job

# A VM whose image supports hot upgrades is created with headroom for this many times its size,
# bounded by the largest size of its model.
GROWTH_FACTOR = 4


def headroom(image: Image, cluster: Cluster, vcpus: int, memory_mib: int) -> tuple[int, int]:
    """Return how far a VM can be upgraded without a restart: vCPUs and MiB."""
    if not image.supports_hot_upgrade:
        return vcpus, memory_mib
    sizes = [spec for spec in cluster.specs.all() if spec.enabled]
    most_vcpus = max([vcpus, *(spec.vcpus for spec in sizes)])
    most_memory = max([memory_mib, *(spec.memory_mib for spec in sizes)])
    return min(most_vcpus, vcpus * GROWTH_FACTOR), min(most_memory, memory_mib * GROWTH_FACTOR)


def system_disk(vm: VM) -> Disk:
    found: Disk = Disk.objects.select_related("disk_type", "pool").get(vm=vm, is_system=True)
    return found


def vm_items(
    vm: VM,
    *,
    vcpus: int | None = None,
    memory_mib: int | None = None,
    system_gib: int | None = None,
) -> list[QuoteItem]:
    """Return what a VM pays for, with another size where one is given."""
    disk = system_disk(vm)
    return [
        *rules_catalogue.size_items(
            vm.cluster,
            vm.vcpus if vcpus is None else vcpus,
            vm.memory_mib if memory_mib is None else memory_mib,
            vm.gpu_count,
        ),
        rules_catalogue.disk_item(
            disk.disk_type, disk.size_gib if system_gib is None else system_gib, system=True
        ),
    ]


def size_quota(vcpus: int, memory_mib: int) -> dict[str, int]:
    return {"vcpu": vcpus, "memory_gib": -(-memory_mib // 1024)}


def disk_quota(*sizes_gib: int) -> dict[str, int]:
    return {"disks": len(sizes_gib), "disk_gib": sum(sizes_gib)}


def vm_quota(
    vcpus: int, memory_mib: int, gpu_count: int, disks_gib: Sequence[int]
) -> dict[str, int]:
    size = size_quota(vcpus, memory_mib)
    return {"vms": 1, **size, "gpus": gpu_count, **disk_quota(*disks_gib)}


def lines_of(vm_or_disk: VM | Disk) -> list[dict[str, str]]:
    """Return the lines of a resource's subscription, for taking a change back later."""
    subscription: Subscription = services.subscription_of(vm_or_disk.tenant, vm_or_disk.pk)
    lines: list[dict[str, str]] = subscription.lines
    return lines


def keep_in_part(vm: VM, job: Job, reason: str, *, vcpus: int, memory_mib: int) -> None:
    """Let a VM pay for the part of a change that came about although its ``job`` failed."""
    order = Order.objects.filter(pk=str(job.payload.get("order") or "")).first()
    services.cancel_upgrade(
        tenant=vm.tenant,
        resource_id=vm.pk,
        items_before=vm_items(vm, vcpus=vcpus, memory_mib=memory_mib),
        reason=reason,
        order=order,
        since=job.created_at,
        in_part=True,
    )


def take_back(vm_or_disk: VM | Disk, job: Job, reason: str) -> None:
    """Undo the payment of a change whose ``job`` failed."""
    payload = job.payload
    lines = payload.get("lines_before")
    if not isinstance(lines, list):
        return
    order = Order.objects.filter(pk=str(payload.get("order") or "")).first()
    services.cancel_upgrade(
        tenant=vm_or_disk.tenant,
        resource_id=vm_or_disk.pk,
        items_before=items_of(lines),
        reason=reason,
        order=order,
        since=job.created_at,
    )
