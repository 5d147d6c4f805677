"""The private address of a stopped VM: changed, moved to another subnet, kept and set free."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.actions.vms import changes, create, lifecycle
from compute.models import VM
from compute.transitions.vms import VMS
from network.actions import create_subnet, create_vpc, delete_subnet
from network.actions.external_addresses import free_count
from network.actions.nics import move_nic
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind, PortSpec
from network.models import Nic, PrivateAddress, Subnet
from network.sweeps.reconcile import reconcile
from network.tasks import plumbing
from network.tasks.fabrics import fabric_of
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.models import Tenant
from tests.api.client import Program
from tests.compute.box import Box, points_of
from tests.compute.factories import buy_vms, give_network, make_order, make_vm
from tests.compute.things import fresh
from tests.outside import make_segment

pytestmark = pytest.mark.django_db
World = fake.World


@pytest.fixture
def subnet(box: Box, tenant: Tenant) -> Subnet:
    """The default subnet, 10.0.0.0/24."""
    found = give_network(tenant, box.platform.region).subnet
    assert found is not None
    return found


def port_of(world: World, vm: VM) -> PortSpec:
    """The port of a VM's eth0 in the fabric."""
    nic = Nic.objects.get(vm_id=vm.pk, index=0)
    found = world.things[nic.region_id, Kind.PORT, str(nic.port_uuid)]
    assert isinstance(found, PortSpec)
    return found


def told(box: Box, vm: VM) -> list[str]:
    """The addresses of eth0 in the VM's seed."""
    network = json.loads(box.storage.seeds[vm.pk]["network-config"])
    return list(network["ethernets"]["eth0"]["addresses"])


def held(vm: VM) -> list[str]:
    return [str(one) for one in PrivateAddress.objects.filter(nic__vm_id=vm.pk)]


def test_a_stopped_vm_gets_a_chosen_address_everywhere(
    box: Box, fabric: World, subnet: Subnet
) -> None:
    vm = box.vm(stopped=True)
    assert held(vm) == ["10.0.0.2"]
    changes.change_private_ip(actor=box.actor, vm=vm, address=" 10.0.0.77 ")
    assert held(vm) == ["10.0.0.77"]
    # Nobody has the former one until no port has it any more.
    with pytest.raises(Conflict) as refused:
        buy_vms(box.platform, box.actor, private_ips=["10.0.0.2"])
    assert (refused.value.code, refused.value.field) == ("address_taken", "private_ips")
    box.run()
    assert [str(one) for one in port_of(fabric, vm).addresses] == ["10.0.0.77"]
    assert not PrivateAddress.objects.filter(address="10.0.0.2").exists()
    box.vm(private_ips=["10.0.0.2"])
    lifecycle.start_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert fresh(vm).status == "running"
    assert told(box, vm) == ["10.0.0.77/24"]
    assert reconcile(box.platform.region, repair=False) == []


def test_a_stopped_vm_moves_to_another_subnet_of_its_vpc(
    box: Box, fabric: World, subnet: Subnet
) -> None:
    vm = box.vm(stopped=True)
    other = create_subnet(actor=box.actor, vpc=subnet.vpc, name="other", cidr="10.0.7.0/24")
    changes.change_private_ip(actor=box.actor, vm=vm, subnet=other)
    with pytest.raises(Conflict, match="still used"):
        delete_subnet(actor=box.actor, subnet=subnet)
    box.run()
    port = port_of(fabric, vm)
    assert (port.switch_id, [str(one) for one in port.addresses]) == (other.pk, ["10.0.7.2"])
    delete_subnet(actor=box.actor, subnet=subnet)
    lifecycle.start_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert told(box, vm) == ["10.0.7.2/24"]


@pytest.mark.parametrize("point", points_of("network.sync_nic"))
def test_a_worker_that_dies_on_the_way_leaves_no_address_behind(
    box: Box, fabric: World, subnet: Subnet, point: str
) -> None:
    vm = box.vm(stopped=True)
    other = create_subnet(actor=box.actor, vpc=subnet.vpc, name="other", cidr="10.0.7.0/24")
    box.run()
    changes.change_private_ip(actor=box.actor, vm=vm, subnet=other, address="10.0.7.9")
    box.run_dying(point)
    assert [str(one) for one in port_of(fabric, vm).addresses] == ["10.0.7.9"]
    assert list(PrivateAddress.objects.values_list("address", flat=True)) == ["10.0.7.9"]


def test_an_address_stays_taken_while_the_network_is_away_and_the_sweep_frees_it(
    box: Box, fabric: World, subnet: Subnet
) -> None:
    vm = box.vm(stopped=True)
    changes.change_private_ip(actor=box.actor, vm=vm, address="10.0.0.77")
    fabric.failure = FabricUnreachable("away")
    box.give_up_at("network.sync_nic:apply:before")
    fabric.failure = None
    assert PrivateAddress.objects.filter(address="10.0.0.2").exists()
    assert fresh(vm).status == "stopped"
    reconcile(box.platform.region)
    assert [str(one) for one in port_of(fabric, vm).addresses] == ["10.0.0.77"]
    assert not PrivateAddress.objects.filter(address="10.0.0.2").exists()


def test_what_is_given_up_while_the_network_answers_is_freed_by_the_next_turn(
    box: Box, fabric: World, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm(stopped=True)
    changes.change_private_ip(actor=box.actor, vm=vm, address="10.0.0.50")
    whole, again = fake.FakeFabric.ensure_ports, ["10.0.0.60"]

    def changed_meanwhile(self: fake.FakeFabric, specs: Any, **values: Any) -> Any:
        done = whole(self, specs, **values)
        if again:
            changes.change_private_ip(actor=box.actor, vm=vm, address=again.pop())
        return done

    monkeypatch.setattr(fake.FakeFabric, "ensure_ports", changed_meanwhile)
    nic = Nic.objects.get(vm_id=vm.pk, index=0)
    plumbing.apply_nics(fabric_of(box.platform.region), [nic.pk])
    assert [str(one) for one in port_of(fabric, vm).addresses] == ["10.0.0.50"]
    taken = PrivateAddress.objects.order_by("address").values_list("address", flat=True)
    assert list(taken) == ["10.0.0.50", "10.0.0.60"]
    box.run()
    assert list(taken.all()) == held(vm) == ["10.0.0.60"]


def test_a_running_vm_is_refused_and_told_what_to_do(box: Box, subnet: Subnet) -> None:
    vm = box.vm()
    with pytest.raises(Conflict) as refused:
        changes.change_private_ip(actor=box.actor, vm=vm, address="10.0.0.77")
    assert refused.value.code == "vm_state"
    assert refused.value.remedy == "Shut the VM down, change the address and start it again."
    assert held(vm) == ["10.0.0.2"]


def test_a_start_in_the_same_moment_wins_and_nothing_was_changed(
    box: Box, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm(stopped=True)
    whole = move_nic

    def started_meanwhile(*args: Any, **values: Any) -> Any:
        moved = whole(*args, **values)
        VM.objects.filter(pk=vm.pk).update(status="running")
        return moved

    monkeypatch.setattr("compute.actions.vms.changes.move_nic", started_meanwhile)
    with pytest.raises(Conflict):
        changes.change_private_ip(actor=box.actor, vm=vm, address="10.0.0.77")
    assert held(vm) == ["10.0.0.2"]
    assert not Job.objects.filter(title__startswith="Change the address").exists()


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.0.0.2", "address_unchanged"),
        ("10.0.0.3", "address_taken"),
        ("10.0.0.1", "address_reserved"),
        ("10.0.7.7", "address_outside_subnet"),
        ("fd00::7", "address_invalid"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(
    box: Box, subnet: Subnet, address: str, code: str
) -> None:
    vm = box.vm(stopped=True)
    make_vm(box.platform, box.actor, name="other")
    with pytest.raises((Conflict, InvalidInput)) as refused:
        changes.change_private_ip(actor=box.actor, vm=vm, address=address)
    assert (refused.value.code, refused.value.field) == (code, "address")
    assert held(vm) == ["10.0.0.2"]


def test_a_subnet_of_another_vpc_is_refused(box: Box, subnet: Subnet) -> None:
    vm = box.vm(stopped=True)
    vpc = create_vpc(actor=box.actor, region=box.platform.region, name="far", cidr="10.0.0.0/16")
    far = create_subnet(actor=box.actor, vpc=vpc, name="far", cidr="10.0.0.0/24")
    with pytest.raises(InvalidInput) as refused:
        changes.change_private_ip(actor=box.actor, vm=vm, subnet=far)
    assert (refused.value.code, refused.value.field) == ("vpc_differs", "subnet")
    assert held(vm) == ["10.0.0.2"]


def test_by_api_with_the_new_row_as_the_answer(box: Box, subnet: Subnet, program: Program) -> None:
    vm = box.vm(stopped=True)
    path = f"/vms/{vm.pk}/change-private-ip"
    far = create_vpc(actor=box.actor, region=box.platform.region, name="far", cidr="10.9.0.0/16")
    foreign = create_subnet(actor=box.actor, vpc=far, name="far", cidr="10.9.0.0/24")
    program.post(path, {"subnet": foreign.pk}).error(400, "subnet_unknown")
    answer = program.post(path, {"address": "10.0.0.50"})
    assert answer.status == 200, answer.body
    assert [one["address"] for one in answer.body["nics"] if one["address"]] == ["10.0.0.50"]
    assert "change_private_ip" in {
        one["verb"] for one in answer.body["allowed_actions"] if one["allowed"]
    }
    assert VMS.fresh(vm).status == "stopped"


def test_an_address_is_kept_in_the_bin_and_free_once_its_vm_is_destroyed(
    box: Box, subnet: Subnet
) -> None:
    vm = box.vm(stopped=True, private_ips=["10.0.0.40"])
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    assert (fresh(vm).status, held(vm)) == ("binned", ["10.0.0.40"])
    with pytest.raises(Conflict, match=r"10\.0\.0\.40 is already in use"):
        buy_vms(box.platform, box.actor, private_ips=["10.0.0.40"])
    lifecycle.restore_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert held(vm) == ["10.0.0.40"]
    lifecycle.delete_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    lifecycle.destroy_vm(actor=box.actor, vm=fresh(vm), confirm_name=vm.name)
    box.run()
    assert held(box.vm(private_ips=["10.0.0.40"])) == ["10.0.0.40"]


def test_a_purchase_of_several_is_refused_with_the_line_that_is_taken(
    box: Box, tenant: Tenant, subnet: Subnet
) -> None:
    box.vm(private_ips=["10.0.0.40"])
    order = make_order(box.platform, tenant, count=3, private_ips=["10.0.0.41", "", "10.0.0.40"])
    with pytest.raises(Conflict) as refused:
        create.quote_vms(actor=box.actor, order=order)
    assert (refused.value.code, refused.value.field) == ("address_taken", "private_ips")
    assert refused.value.message == "Line 3: 10.0.0.40 is already in use."
    assert refused.value.numbers == {"line": 3}
    assert VM.objects.count() == 1
    bought = buy_vms(box.platform, box.actor, count=3, private_ips=["10.0.0.43", "", "10.0.0.41"])
    assert [held(vm) for vm in bought] == [["10.0.0.43"], ["10.0.0.2"], ["10.0.0.41"]]


def test_free_addresses_are_shown_wherever_one_is_chosen(
    box: Box, console: Client, subnet: Subnet
) -> None:
    vm = box.vm(stopped=True)
    segment = make_segment(box.platform.region)
    outside = f"{free_count(segment)} free"
    for page, words in (
        (reverse("vm-create"), ("default · 10.0.0.0/24 · 252 free", outside)),
        (reverse("eni-create"), ("default · 10.0.0.0/24 · 252 free", outside)),
        (reverse("external-ip-create"), (outside,)),
        (reverse("vm-change-private-ip", args=[vm.pk]), ("default · 10.0.0.0/24 · 252 free",)),
        (reverse("vpc-detail", args=[subnet.vpc_id]), ("252 of 253",)),
    ):
        html = console.get(page).content.decode()
        assert [one for one in words if one not in html] == [], page


def test_in_the_console_from_the_tab(box: Box, console: Client, subnet: Subnet) -> None:
    vm = box.vm(stopped=True)
    url = reverse("vm-change-private-ip", args=[vm.pk])
    assert url in console.get(reverse("vm-network", args=[vm.pk])).content.decode()
    refused = console.post(url, {"subnet": subnet.pk, "address": "10.0.0.1"})
    assert "10.0.0.1 is the gateway of 10.0.0.0/24." in refused.content.decode()
    assert console.post(url, {"subnet": subnet.pk, "address": "10.0.0.60"}).status_code < 400
    assert held(vm) == ["10.0.0.60"]
    page = console.get(reverse("subnet-detail", args=[subnet.pk])).content.decode()
    assert "10.0.0.60" in page
    assert "Being released" in page
    box.run()
    assert (
        "Being released"
        not in console.get(reverse("subnet-detail", args=[subnet.pk])).content.decode()
    )
    log = Operation.objects.get(verb="compute.change_private_ip", succeeded=True)
    assert log.before is not None
    assert log.after is not None
    assert (log.before["address"], log.after["address"]) == (["10.0.0.2"], "10.0.0.60")


def test_the_wizard_says_which_lines_cannot_be_had(
    box: Box, console: Client, subnet: Subnet
) -> None:
    box.vm(private_ips=["10.0.0.40"])
    typed = {"count": "3", "private_ips": ["10.0.0.40", "", "10.0.0.1"]}
    html = console.post(reverse("vm-create"), {"name": "shop", "quote_token": "x", **typed})
    said = html.content.decode()
    assert "Line 1: 10.0.0.40 is already in use." in said
    assert "Line 3: 10.0.0.1 is the gateway of 10.0.0.0/24." in said
