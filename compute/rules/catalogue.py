"""Which sizes are allowed, and which SKUs they cost."""

from decimal import Decimal

from django.utils.translation import gettext as _

from billing.services import QuoteItem
from compute.models import Cluster, DiskType, Spec
from compute.models.platform import GpuType
from scloud.lib import sizes
from scloud.lib.errors import InvalidInput

MAIN, DATA_DISK = "main", "data_disk"
GPU_COUNTS = (1, 2, 4)
# What one chip needs beside it.
GPU_MIN_VCPUS, GPU_MIN_MEMORY_MIB = 4, 8192


def check_gpu(cluster: Cluster, spec: Spec, count: int) -> None:
    """Raise InvalidInput unless the number of chips fits the model and the size."""
    if count == 0:
        if cluster.gpu_type:
            return
        return
    if cluster.gpu_type == GpuType.NONE:
        raise InvalidInput(
            _("The model %(cluster)s has no GPU.") % {"cluster": cluster.alias},
            code="gpu_not_offered",
            field="gpu_count",
        )
    if count not in GPU_COUNTS:
        raise InvalidInput(
            _("A VM can have 1, 2 or 4 GPU chips."),
            code="gpu_count_invalid",
            field="gpu_count",
            numbers={"allowed": list(GPU_COUNTS), "asked": count},
        )
    if spec.vcpus < GPU_MIN_VCPUS * count or spec.memory_mib < GPU_MIN_MEMORY_MIB * count:
        raise InvalidInput(
            _("%(count)s GPU need at least %(vcpus)s vCPU and %(memory)s GB.")
            % {
                "count": count,
                "vcpus": GPU_MIN_VCPUS * count,
                "memory": GPU_MIN_MEMORY_MIB * count // 1024,
            },
            code="gpu_needs_more",
            field="spec",
            remedy=_("Choose a larger size or fewer chips."),
            numbers={
                "min_vcpus": GPU_MIN_VCPUS * count,
                "min_memory_mib": GPU_MIN_MEMORY_MIB * count,
            },
        )


def size_items(cluster: Cluster, vcpus: int, memory_mib: int, gpu_count: int) -> list[QuoteItem]:
    """Return what a VM's size costs, without its disk."""
    items = [
        QuoteItem("vcpu", vcpus, _("%(count)s vCPU") % {"count": vcpus}, MAIN),
        QuoteItem(
            "memory_gib",
            Decimal(memory_mib) / 1024,
            _("%(size)s memory") % {"size": sizes.size_mib(memory_mib)},
            MAIN,
        ),
    ]
    if gpu_count:
        items.append(
            QuoteItem(
                f"gpu:{cluster.gpu_type}", gpu_count, f"{gpu_count} x {cluster.gpu_type}", MAIN
            )
        )
    return items


def disk_item(disk_type: DiskType, size_gib: int, *, system: bool, part: str = MAIN) -> QuoteItem:
    named = {"size": sizes.size_gib(size_gib), "type": disk_type.alias}
    label = _("%(size)s %(type)s system disk") if system else _("%(size)s %(type)s data disk")
    return QuoteItem(disk_type.sku, size_gib, label % named, part)


def check_disk_size(disk_type: DiskType, size_gib: int, *, system: bool, field: str) -> int:
    """Return the size; InvalidInput (``disk_size_out_of_range``) unless the type offers it."""
    low = disk_type.system_min_gib if system else disk_type.data_min_gib
    high = disk_type.system_max_gib if system else disk_type.data_max_gib
    if not low <= size_gib <= high:
        raise InvalidInput(
            _("The size must be %(low)s to %(high)s GB.") % {"low": low, "high": high},
            code="disk_size_out_of_range",
            field=field,
            numbers={"min": low, "max": high, "asked": size_gib},
        )
    return size_gib
