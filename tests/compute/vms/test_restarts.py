"""A restart boots the guest in the machine that runs, unless only another machine will do."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.models import VM, Disk
from compute.tasks.drivers import hypervisor_of
from compute.tasks.vms import lifecycle as lifecycle_tasks
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached


def ready(box: Box, vm: VM) -> bool:
    vm.refresh_from_db()
    assert vm.host is not None
    return hypervisor_of(vm.host).agent_ready(str(vm.uuid))


def restart(box: Box, vm: VM) -> None:
    while not ready(box, vm):
        time.sleep(0.01)
    lifecycle.restart_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.task, vm.failure) == ("running", "", "")


def test_a_restart_keeps_the_screen(box: Box) -> None:
    vm = box.vm()
    screen = box.domain(vm).vnc_port
    for boots in (2, 3):
        restart(box, vm)
        assert (box.domain(vm).vnc_port, box.domain(vm).boots) == (screen, boots)
    box.assert_nothing_orphaned()


def test_a_restart_keeps_the_screen_with_disks_that_were_plugged_in(box: Box) -> None:
    vm = box.vm(user_data="#cloud-config\nruncmd: [date]\n")
    attached(box, vm)
    attached(box, vm)
    VM.objects.filter(pk=vm.pk).update(name="another-name")
    screen = box.domain(vm).vnc_port
    restart(box, vm)
    assert (box.domain(vm).vnc_port, box.domain(vm).boots) == (screen, 2)


def test_what_was_changed_takes_effect_with_a_restart(box: Box) -> None:
    vm = box.vm()
    screen = box.domain(vm).vnc_port
    VM.objects.filter(pk=vm.pk).update(vcpus=2, max_vcpus=2)
    restart(box, vm)
    domain = box.domain(vm)
    assert domain.running is not None
    assert (domain.running.vcpus, domain.boots) == (2, 2)
    assert domain.vnc_port != screen
    restart(box, vm)
    assert domain.boots == 3


def test_a_vm_of_an_earlier_version_gets_its_new_machine_with_a_restart(box: Box) -> None:
    vm = box.vm()
    domain = box.domain(vm)
    assert domain.running is not None
    domain.running = replace(domain.running, seed_digest="")
    screen = domain.vnc_port
    restart(box, vm)
    assert domain.vnc_port != screen
    assert domain.running.seed_digest


def test_a_guest_that_is_deaf_to_the_power_button_is_shut_down_by_its_agent(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute.tasks.vms.lifecycle.REBOOT_LIMIT_S", 0.5)
    vm = box.vm()
    host = box.host_of(vm)
    host.faults.ignores_button = True
    screen = box.domain(vm).vnc_port
    restart(box, vm)
    assert box.domain(vm).boots == 2
    assert box.domain(vm).vnc_port != screen


def test_a_reboot_of_which_nobody_heard_is_asked_for_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the worker that heard of it was killed before it could write it down."""
    monkeypatch.setattr(lifecycle_tasks, "ASK_AGAIN_S", 0.2)
    vm = box.vm()
    domain = box.domain(vm)
    heard = lifecycle_tasks.note_reboot

    def lose_the_first(vm_id: str) -> None:
        if domain.boots > 2:
            heard(vm_id)

    monkeypatch.setattr(lifecycle_tasks, "note_reboot", lose_the_first)
    screen = domain.vnc_port
    restart(box, vm)
    assert (domain.boots, domain.vnc_port) == (3, screen)


@pytest.mark.parametrize("running", [True, False])
def test_a_gap_between_disks_is_closed_when_the_guest_boots(box: Box, running: bool) -> None:
    vm = box.vm()
    first, second = attached(box, vm), attached(box, vm)
    disks.detach_disk(actor=box.actor, disk=first)
    box.run()
    second.refresh_from_db()
    assert second.target == "vdc"
    if running:
        restart(box, vm)
    else:
        lifecycle.power_off_vm(actor=box.actor, vm=vm)
        box.run()
        vm.refresh_from_db()
        lifecycle.start_vm(actor=box.actor, vm=vm)
        box.run()
    second.refresh_from_db()
    seen = box.domain(vm).running
    assert seen is not None
    assert [(disk.id, disk.target) for disk in seen.disks][1:] == [(second.pk, "vdb")]
    assert second.target == "vdb"
    assert Disk.objects.get(vm=vm, is_system=True).target in ("", "vda")
