"""Private IPv6 of VMs: in seeds and guests, in lists, pages and the API, through their life."""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.actions.vms import changes, lifecycle
from compute.hypervisor.guestnet import scripts
from compute.models import VM, GuestNetwork
from compute.queries import vms as vm_queries
from compute.sweeps import guest_networks
from compute.tasks.base import guest_plan
from network.actions import create_subnet, turn_off_ipv6, turn_on_ipv6
from network.fabric import fake
from network.fabric.base import Kind, PortSpec
from network.models import Nic, Subnet
from scloud.lib.errors import Conflict
from scloud.tenancy.models import Tenant
from tests.api.client import Program
from tests.compute.box import Box
from tests.compute.factories import give_network
from tests.compute.test_guest_network import Guest, bind
from tests.compute.things import fresh

pytestmark = pytest.mark.django_db


@pytest.fixture
def subnet(box: Box, tenant: Tenant) -> Subnet:
    """The default subnet, 10.0.0.0/24."""
    found = give_network(tenant, box.platform.region).subnet
    assert found is not None
    guest_networks._guests._last = None
    return found


def six(vm: VM) -> IPv6Address:
    nic = Nic.objects.select_related("subnet").get(vm_id=vm.pk, index=0)
    assert nic.ipv6 is not None
    return nic.ipv6


def port_of(world: fake.World, vm: VM) -> PortSpec:
    nic = Nic.objects.get(vm_id=vm.pk, index=0)
    found = world.things[nic.region_id, Kind.PORT, str(nic.port_uuid)]
    assert isinstance(found, PortSpec)
    return found


def seeded(box: Box, vm: VM) -> dict[str, Any]:
    """Eth0 in the VM's seed."""
    found: dict[str, Any] = json.loads(box.storage.seeds[vm.pk]["network-config"])
    eth0: dict[str, Any] = found["ethernets"]["eth0"]
    return eth0


def guest_of(box: Box, vm: VM) -> Guest:
    found = Guest()
    box.host_of(vm).guest_command = found
    return found


def test_a_new_vm_has_it_from_its_seed(box: Box, fabric: fake.World, subnet: Subnet) -> None:
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    vm = box.vm()
    eth0 = seeded(box, vm)
    assert eth0["addresses"] == ["10.0.0.2/24", f"{six(vm)}/64"]
    assert (eth0["accept-ra"], eth0["dhcp6"]) == (False, False)
    subnet.refresh_from_db()
    assert {"to": subnet.vpc.ipv6_cidr, "via": str(subnet.ipv6_gateway)} in eth0["routes"]
    assert six(vm) in port_of(fabric, vm).addresses


def test_a_guest_that_runs_is_told_live(box: Box, subnet: Subnet) -> None:
    vm = box.vm()
    guest = guest_of(box, vm)
    assert guest_networks.configure_guests() == 0, "its IPv4 address came by DHCP and seed"
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    box.run()
    assert guest_networks.configure_guests() == 1
    assert f"{six(vm)}/64" in guest.told[0]
    assert guest_networks.configure_guests() == 0


def test_a_guest_that_was_told_something_else_before_is_told_at_once(
    box: Box, subnet: Subnet
) -> None:
    """Not when its five minutes are over."""
    vm = box.vm()
    guest = guest_of(box, vm)
    bind(vm, 11, egress=True)
    assert guest_networks.configure_guests() == 1
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    assert guest_networks.configure_guests() == 0, "the network comes first"
    box.run()
    assert guest_networks.configure_guests() == 1
    assert f"{six(vm)}/64" in guest.told[1]
    assert GuestNetwork.objects.get().digest == scripts.digest_of(guest_plan(vm.pk))


def test_a_deaf_guest_has_it_at_its_next_boot_and_the_page_says_so(
    box: Box, subnet: Subnet, console: Client
) -> None:
    vm = box.vm()
    page = reverse("vm-network", args=[vm.pk])
    box.host_of(vm).faults.agent_missing = True
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    box.run()
    assert guest_networks.configure_guests() == 0
    text = console.get(page).content.decode()
    assert "Applies at the next boot" in text
    subnet.refresh_from_db()
    assert str(six(vm)) in text
    assert str(subnet.ipv6_gateway) in text
    lifecycle.power_off_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert "Applies at the next boot" not in console.get(page).content.decode()
    lifecycle.start_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert f"{six(vm)}/64" in seeded(box, vm)["addresses"]


def test_lists_searches_and_the_api_show_it(box: Box, subnet: Subnet, program: Program) -> None:
    plain = box.vm(name="plain")
    row: Any = vm_queries.vm(plain.pk)
    assert vm_queries.private_ips(row) == ["10.0.0.2"]
    (shown,) = program.call("GET", f"/vms/{plain.pk}").body["nics"]
    assert shown["ipv6_address"] is None
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    other = box.vm(name="other")
    address = str(six(other))
    row = vm_queries.vm(other.pk)
    assert vm_queries.private_ips(row) == ["10.0.0.3", address]
    for word in (address, address.upper(), "10.0.0.3"):
        found = vm_queries.vms().filter(vm_queries.matching(word))
        assert [one.pk for one in found] == [other.pk], word
    begins = address[:14]
    assert vm_queries.vms().filter(vm_queries.matching(begins)).count() == 2
    assert not vm_queries.vms().filter(vm_queries.matching("fd00:dead::")).exists()
    (shown,) = program.call("GET", f"/vms/{other.pk}").body["nics"]
    assert (shown["address"], shown["ipv6_address"]) == ("10.0.0.3", address)


def test_it_is_kept_in_the_recycle_bin_and_is_the_same_after_it(
    box: Box, fabric: fake.World, subnet: Subnet
) -> None:
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    vm = box.vm()
    address = six(vm)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    with pytest.raises(Conflict) as refused:
        turn_off_ipv6(actor=box.actor, subnet=subnet)
    assert refused.value.code == "ipv6_in_use"
    lifecycle.restore_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    lifecycle.start_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert six(vm) == address
    assert address in port_of(fabric, vm).addresses


def test_a_vm_that_moves_has_the_address_of_its_subnet(
    box: Box, fabric: fake.World, subnet: Subnet
) -> None:
    turn_on_ipv6(actor=box.actor, subnet=subnet)
    plain = create_subnet(actor=box.actor, vpc=subnet.vpc, name="b", cidr="10.0.5.0/24")
    vm = box.vm(stopped=True)
    address = six(vm)
    changes.change_private_ip(actor=box.actor, vm=vm, subnet=plain)
    box.run()
    assert [str(one) for one in port_of(fabric, vm).addresses] == ["10.0.5.2"]
    (eth0, _) = guest_plan(vm.pk)
    assert [one.interface.version for one in eth0.addresses] == [4]
    changes.change_private_ip(actor=box.actor, vm=fresh(vm), subnet=subnet)
    box.run()
    assert six(vm) == address
    assert address in port_of(fabric, vm).addresses
