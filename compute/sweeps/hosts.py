"""What hosts have: capacity, since when they are silent, accelerators."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from compute.hypervisor.base import (
    DomainObservation,
    HostCapacity,
    Hypervisor,
    HypervisorError,
    MachineTypes,
    OperationTimeout,
)
from compute.models import VM, Host
from compute.tasks import gpu
from compute.tasks.build import guests_of
from compute.tasks.drivers import hypervisor_of
from scloud.jobs.rows import each
from scloud.lib.backoff import Backoff, Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

#: How long a host that was too slow to name its machine types is not asked for them.
FIRST_AGAIN_S: Final = 60.0
LAST_AGAIN_S: Final = 900.0


@dataclass(frozen=True)
class HostAnswer:
    """What one host said, or why it said nothing; ``machines`` is None where it did not name them.

    ``revisions`` are those of all VMs before the host was asked: of a VM whose revision is another
    one by now, the answer says nothing.
    """

    host: Host
    capacity: HostCapacity | None = None
    machines: MachineTypes | None = None
    domains: tuple[DomainObservation, ...] = ()
    error: str = ""
    revisions: Mapping[str, int] = field(default_factory=dict)

    def speaks_of(self, vm: VM) -> bool:
        """Whether the VM is still as it was when the host was asked."""
        return self.revisions.get(vm.pk) == vm.revision


# By host, when one that was too slow to name its machine types is asked for them again.
_later: dict[str, tuple[Backoff, float]] = {}


def ask_host(host: Host, revisions: Mapping[str, int]) -> HostAnswer:
    """Ask a host for what it has and for what is on it.

    One that answers is heard, though it does not name its machine types: to do so libvirt may have
    to look at QEMU anew, which takes long or fails while all else goes on.
    """
    try:
        driver = hypervisor_of(host)
        answer = HostAnswer(
            host, driver.capacity(), domains=driver.observe_all(), revisions=revisions
        )
    except HypervisorError as error:
        return HostAnswer(host, error=error.message)
    return replace(answer, machines=_machines_of(driver, host))


def _machines_of(driver: Hypervisor, host: Host) -> MachineTypes | None:
    """Return which machine types a host offers; None while it does not say."""
    backoff, again_at = _later.get(
        host.pk, (Backoff(first_s=FIRST_AGAIN_S, ceiling_s=LAST_AGAIN_S), 0.0)
    )
    if time.monotonic() < again_at:
        return None
    try:
        found = driver.machine_types(guests_of(host.cluster))
    except HypervisorError as error:
        if isinstance(error, OperationTimeout):
            # The whole answer waits for it: not in every round.
            _later[host.pk] = backoff, time.monotonic() + backoff.failed()
        said.say(
            (host.pk, "machines"),
            error.code,
            logging.WARNING,
            "%s does not name its machine types: %s",
            host.name,
            error.message,
        )
        return None
    _later.pop(host.pk, None)
    said.over((host.pk, "machines"))
    return found


def ask_in_thread(host: Host, revisions: Mapping[str, int]) -> HostAnswer:
    """Ask like :func:`ask_host` in a thread, whose connection is closed afterwards.

    Whatever goes wrong is an answer of this host, and keeps no other from being heard.
    """
    try:
        answer = ask_host(host, revisions)
    except (DatabaseError, InterfaceError):
        # No fault of the host, whose row must not say so.
        raise
    except Exception as error:
        if said.say((host.pk, "asked"), repr(error)[:200], logging.ERROR, "%s failed", host.name):
            log.exception("asking %s", host.name)
        return HostAnswer(host, error=f"Internal error ({type(error).__name__}).")
    else:
        said.over((host.pk, "asked"))
        return answer
    finally:
        connection.close()


def record_host(answer: HostAnswer) -> None:
    """Write down what a host has, or since when it is silent."""
    now = timezone.now()
    row = Host.objects.filter(pk=answer.host.pk)
    if answer.capacity is None:
        row.update(last_error=answer.error[:300])
        row.filter(unreachable_since=None).update(unreachable_since=now)
        return
    capacity = answer.capacity
    if answer.machines is not None and answer.machines.names:
        # Written where it differs only: it is long, and changes with the host's QEMU.
        names = " ".join(answer.machines.names)
        row.exclude(machine_types=names).update(machine_types=names)
    row.update(
        hostname=capacity.hostname[:253],
        vcpus=capacity.vcpus,
        memory_mib=capacity.memory_mib,
        accelerated=capacity.accelerated,
        version=f"{capacity.hypervisor_version} / libvirt {capacity.libvirt_version}"[:60],
        observed_at=now,
        unreachable_since=None,
        last_error="",
    )


def reconcile_gpus() -> None:
    """Take the inventory of the accelerators of clusters that have some."""
    with scopes_disabled():
        rows = Host.objects.exclude(cluster__gpu_type="").filter(unreachable_since=None)
        each(list(rows), _record_gpus, "the inventory of a host")


def _record_gpus(host: Host) -> None:
    try:
        gpu.record(host, hypervisor_of(host).pci_devices())
    except HypervisorError as error:
        said.say(
            (host.pk, "inventory"),
            error.code,
            logging.WARNING,
            "no inventory of %s: %s",
            host.name,
            error.message,
        )
