"""The life of a VM on real hosts, looked at from outside the product."""

import pytest

from compute.actions.vms import lifecycle
from compute.models import VM
from scloud.lab.shell import wait_for
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab


def test_a_vm_is_bought_started_stopped_binned_restored_and_destroyed(
    real_platform: RealPlatform,
) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True, user_data="#!/bin/sh\necho mine > /root/own\n")
    assert vm.host is not None
    assert platform.domains() == {vm.id: [vm.host.name]}
    inner, outer = platform.hypervisor(vm).observe(str(vm.uuid)).nics
    assert inner.port_uuid in platform.ports()
    # It has no address yet, so the network has no port for it.
    assert outer.port_uuid not in platform.ports()
    addresses = [
        address
        for interface in platform.hypervisor(vm).addresses(str(vm.uuid))
        for address in interface.addresses
    ]
    assert "10.0.0.2/24" in addresses
    assert platform.guest(vm, "hostname") == "web"
    # The tenant's own script runs after the agent has started.
    read = ("sh", "-c", "cat /root/own || true")
    wait_for("the user data", lambda: platform.guest(vm, *read) == "mine", timeout_s=60)

    lifecycle.rename_vm(actor=platform.actor, vm=vm, name="shop")
    for verb, status in (
        (lifecycle.shut_down_vm, "stopped"),
        (lifecycle.start_vm, "running"),
        (lifecycle.power_off_vm, "stopped"),
        (lifecycle.delete_vm, "binned"),
    ):
        verb(actor=platform.actor, vm=vm)
        platform.run_jobs()
        vm.refresh_from_db()
        assert (vm.status, vm.task, vm.failure) == (status, "", "")
    assert platform.domains() == {}
    assert len(platform.storage.list_volumes()) == 1

    lifecycle.restore_vm(actor=platform.actor, vm=vm)
    platform.run_jobs()
    vm.refresh_from_db()
    assert vm.status == "stopped"
    assert list(platform.domains()) == [vm.id]

    lifecycle.delete_vm(actor=platform.actor, vm=vm)
    platform.run_jobs()
    vm.refresh_from_db()
    lifecycle.destroy_vm(actor=platform.actor, vm=vm, confirm_name=vm.name)
    platform.run_jobs()
    vm.refresh_from_db()
    assert vm.status == "destroyed"
    assert platform.domains() == {}
    assert platform.storage.list_volumes() == ()
    assert platform.ports() == set()


def test_a_batch_spreads_over_the_hosts(real_platform: RealPlatform) -> None:
    platform = real_platform
    vms = platform.buy(count=2)
    platform.run_jobs()
    hosts = {VM.objects.select_related("host").get(pk=vm.pk).host for vm in vms}
    assert len(hosts) == 2
    assert [vm.name for vm in vms] == ["web-1", "web-2"]
