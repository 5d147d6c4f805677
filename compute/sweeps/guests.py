"""What guests themselves say, by their agents: the names that they give to their disks."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import connection

from compute.hypervisor.base import GuestDisk, Hypervisor, HypervisorError
from compute.models import VM, Disk
from compute.states.vms import VmStatus
from compute.tasks.drivers import hypervisor_of
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

# An agent that hangs costs a thread some seconds, so that many are asked beside each other.
THREADS: Final = 8
_guests = Rota("created_at", 64)


def ask_guests() -> int:
    """Note how the guests of running VMs name their disks; return how many guests told.

    Where no agent answers, the names of the last answer stay until the VM is stopped.
    """
    with scopes_disabled():
        Disk.objects.exclude(guest_device="").exclude(vm__status=VmStatus.RUNNING).update(
            guest_device=""
        )
        vms = _guests.take(
            VM.objects.select_related("host").filter(
                status=VmStatus.RUNNING, task="", host__isnull=False
            )
        )
        drivers = {vm.pk: hypervisor_of(vm.host) for vm in vms if vm.host is not None}
        with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="ask-guest") as threads:
            said_by = threads.map(lambda vm: _ask(drivers[vm.pk], vm), vms)
            answers = dict(zip(vms, said_by, strict=True))
        told = [vm for vm in vms if answers[vm] is not None]
        return len(each(told, lambda vm: _record(vm, answers[vm] or ()), "the disks of a guest"))


def _ask(driver: Hypervisor, vm: VM) -> tuple[GuestDisk, ...] | None:
    """Return what the guest says; None when it says nothing."""
    try:
        uuid = str(vm.uuid)
        return driver.guest_disks(uuid) if driver.agent_ready(uuid) else None
    except HypervisorError as error:
        said.say((vm.pk, "disks"), error.code, logging.INFO, "%s names no disks: %s", vm.pk, error)
        return None
    finally:
        connection.close()


def _record(vm: VM, answer: tuple[GuestDisk, ...]) -> None:
    names = {disk.disk_id: disk.device[:60] for disk in answer}
    # Of a VM that has changed since it was asked, the answer says nothing.
    same = VM.objects.filter(pk=vm.pk, revision=vm.revision)
    for disk in Disk.objects.filter(vm__in=same):
        name = names.get(disk.pk, "")
        if name != disk.guest_device:
            Disk.objects.filter(pk=disk.pk, vm__in=same).update(guest_device=name)
