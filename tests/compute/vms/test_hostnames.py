"""A guest keeps its host name when its VM is renamed."""

from __future__ import annotations

import pytest

from compute.actions.vms import changes, lifecycle
from compute.models import VM, Image
from compute.rules.hostnames import hostname_for
from compute.states.images import ImageStatus
from compute.tasks.build import seed_spec
from tests.compute.box import Box


def told(vm: VM) -> str:
    """The host name in the seed that the guest reads at its next start."""
    vm.refresh_from_db()
    return seed_spec(vm, [], []).hostname


@pytest.mark.parametrize(
    ("name", "hostname"),
    [("Web_1.shop", "web-1-shop"), ("-a-", "a"), ("店", "vm-x"), ("---", "vm-x"), ("é1", "vm-x")],
)
def test_a_host_name_is_one_that_the_standard_allows(name: str, hostname: str) -> None:
    assert hostname_for(name, "vm-x") == hostname


def test_a_rename_leaves_the_guest_alone_and_a_reinstallation_does_not(box: Box) -> None:
    vm = box.vm(stopped=True, name="web")
    assert told(vm) == "web"
    lifecycle.rename_vm(actor=box.actor, vm=vm, name="shop")
    assert told(vm) == "web"
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    assert told(vm) == "web"
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    image = Image.objects.get(pk=vm.image_id, status=ImageStatus.AVAILABLE)
    changes.reinstall_vm(actor=box.actor, vm=vm, image=image)
    box.run()
    assert told(vm) == "shop"


def test_a_vm_of_an_earlier_version_keeps_what_it_is_called_now(box: Box) -> None:
    vm = box.vm(name="web")
    VM.objects.filter(pk=vm.pk).update(hostname="")
    assert told(vm) == "web"
    lifecycle.rename_vm(actor=box.actor, vm=vm, name="shop")
    assert told(vm) == "web"
