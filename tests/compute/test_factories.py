"""The factories give what the product itself would have made."""

from compute.models import VM
from network.models import PrivateAddress
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm


def test_a_vm_comes_with_disk_address_and_host(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, name="web")
    with scopes_disabled():
        assert vm.status == "running"
        assert vm.host in platform.hosts
        assert vm.disks.get().size_gib == 40
        assert PrivateAddress.objects.get(nic__vm_id=vm.pk).address == "10.0.0.2"


def test_vms_of_a_tenant_spread_over_the_hosts(platform: Platform, actor: Actor) -> None:
    vms = [make_vm(platform, actor, name=f"n{i}") for i in range(2)]
    assert {vm.host_id for vm in vms} == {host.pk for host in platform.hosts}
    with scopes_disabled():
        assert VM.objects.count() == 2
