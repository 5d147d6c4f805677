"""Accelerators: which PCI functions they are, what the hosts have, and who holds which chip."""

from __future__ import annotations

from django.utils.translation import gettext as _

from compute.models import VM, GpuDevice, Host
from scloud.lib.errors import NoCapacity
from scloud.tenancy.scoping import scopes_disabled


def allocate(vm: VM, host: Host) -> list[GpuDevice]:
    """Give a VM the chips that it needs on a host, within the transaction that placed it there.

    Raises NoCapacity when another VM was faster. A VM that holds its chips there already keeps
    them; chips elsewhere are given back.
    """
    with scopes_disabled():
        GpuDevice.objects.filter(vm=vm).exclude(host=host).update(vm=None)
        held = list(GpuDevice.objects.filter(vm=vm, host=host))
        missing = vm.gpu_count - len(held)
        if missing <= 0:
            return held
        free = list(
            GpuDevice.objects.select_for_update()
            .filter(host=host, vm=None, present=True, gpu_type=vm.cluster.gpu_type)
            .order_by("address")[:missing]
        )
        if len(free) < missing:
            raise NoCapacity(
                _("%(count)s %(gpu)s are not available here right now.")
                % {"count": vm.gpu_count, "gpu": vm.cluster.gpu_type},
                code="gpus_taken",
                field="gpu_count",
                remedy=_("Choose fewer chips, or try again later."),
                numbers={"free": len(free), "needed": missing},
                detail=f"{host.name} has {len(free)} free chips left; {missing} are needed.",
            )
        GpuDevice.objects.filter(pk__in=[one.pk for one in free]).update(vm=vm)
        return [*held, *free]


def release(vm: VM) -> int:
    """Give back the chips of a VM; return how many there were. Takes no lock."""
    with scopes_disabled():
        return GpuDevice.objects.filter(vm=vm).update(vm=None)
