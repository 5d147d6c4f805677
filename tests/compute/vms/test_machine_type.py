"""The machine type of a VM: kept from its first definition on, moved up only by order."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Subscription
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.vacate import rehome_vm
from compute.hypervisor.fake import FakeHypervisor, fake_host
from compute.models import VM, Host, Image
from compute.states.hosts import HostState
from compute.sweeps.reconcile import reconcile_hosts
from compute.tasks.vms import lifecycle as tasks
from compute.transitions.vms import VMS
from scloud.audit.models import Event, Operation
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from tests.api.client import Program, program_of
from tests.compute.box import Box, points_of
from tests.compute.factories import buy_vms
from tests.compute.things import fresh

OLD, NEW, NEXT = "pc-q35-7.1", "pc-q35-7.2", "pc-q35-8.0"


def upgrade(box: Box, *names: str) -> None:
    """Give all hosts a QEMU that offers these, and let them say so."""
    for host in box.platform.hosts:
        fake_host(host.uri).machines = {"x86_64": names}
    reconcile_hosts()


def defined(box: Box, vm: VM) -> str:
    return box.domain(vm).spec.machine_type


def running(box: Box, vm: VM) -> str:
    found = box.domain(vm).running
    assert found is not None
    return found.machine_type


def start(box: Box, vm: VM) -> VM:
    lifecycle.start_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    found: VM = fresh(vm)
    return found


def stop(box: Box, vm: VM) -> VM:
    lifecycle.power_off_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    found: VM = fresh(vm)
    return found


def test_a_vm_keeps_its_machine_type_when_hosts_get_newer_ones(box: Box) -> None:
    vm = box.vm()
    assert (vm.machine_type, running(box, vm)) == (NEW, NEW)
    upgrade(box, OLD, NEW, NEXT)
    stop(box, vm)
    vm = start(box, vm)
    assert (vm.status, vm.machine_type, running(box, vm)) == ("running", NEW, NEW)
    # A new one gets the new one.
    assert box.vm(name="new").machine_type == NEXT


def test_a_new_vm_gets_what_all_hosts_of_its_cluster_offer(box: Box) -> None:
    fake_host(box.platform.hosts[0].uri).machines = {"x86_64": (OLD,)}
    reconcile_hosts()
    for name in ("one", "two"):
        vm = box.vm(name=name)
        assert (vm.machine_type, running(box, vm)) == (OLD, OLD)


@pytest.mark.parametrize("point", points_of("vm.create"))
def test_the_first_definition_survives_its_worker(box: Box, point: str) -> None:
    (vm,) = buy_vms(box.platform, box.actor)
    box.run_dying(point)
    vm = fresh(vm)
    assert (vm.status, vm.machine_type, running(box, vm)) == ("running", NEW, NEW)


def test_a_restart_moves_nothing_up(box: Box) -> None:
    vm = box.vm()
    upgrade(box, OLD, NEW, NEXT)
    boots, starts = box.domain(vm).boots, box.domain(vm).starts
    lifecycle.restart_vm(actor=box.actor, vm=vm)
    box.run()
    assert (box.domain(vm).boots, box.domain(vm).starts) == (boots + 1, starts)
    assert running(box, vm) == NEW


def test_a_vm_of_an_earlier_release_keeps_what_its_host_has_defined(box: Box) -> None:
    """A worker of that release is at work beside this one: no round has seen the VM yet."""
    vm = box.vm(stopped=True)
    VM.objects.filter(pk=vm.pk).update(machine_type="")
    for host in box.platform.hosts:
        fake_host(host.uri).machines = {"x86_64": (OLD, NEW, NEXT)}
    vm = start(box, vm)
    assert (vm.status, vm.machine_type, running(box, vm)) == ("running", NEW, NEW)


def test_it_keeps_it_on_the_host_where_it_starts_instead(box: Box) -> None:
    vm = box.vm(stopped=True)
    here = vm.host
    assert here is not None
    VM.objects.filter(pk=vm.pk).update(machine_type="")
    for host in box.platform.hosts:
        fake_host(host.uri).machines = {"x86_64": (OLD, NEW, NEXT)}
    Host.objects.filter(pk=here.pk).update(state=HostState.ENTERING_MAINTENANCE)
    rehome_vm(actor=Actor.system(box.actor.tenant), vm=fresh(vm))
    box.run()
    assert fresh(vm).host is None
    assert box.places(vm) == []
    vm = start(box, vm)
    assert vm.host != here
    assert (vm.status, vm.machine_type, running(box, vm)) == ("running", NEW, NEW)


def of_an_earlier_release(box: Box, vm: VM) -> VM:
    """Forget which machine type a VM has, as before anybody asked; all hosts have newer ones."""
    VM.objects.filter(pk=vm.pk).update(machine_type="")
    for host in box.platform.hosts:
        fake_host(host.uri).machines = {"x86_64": (OLD, NEW, NEXT)}
    found: VM = fresh(vm)
    return found


def test_an_unpaid_vm_of_an_earlier_release_is_looked_at_too(box: Box) -> None:
    vm = of_an_earlier_release(box, box.vm())
    Subscription.objects.filter(resource_id=vm.pk).update(status="expired")
    VMS.begin(vm, "expire_vm", actor=Actor.system(vm.tenant))
    box.run()
    vm = fresh(vm)
    assert (vm.status, vm.machine_type) == ("expired", "")
    reconcile_hosts()
    vm = fresh(vm)
    assert (vm.status, vm.machine_type) == ("expired", NEW)


def test_a_vm_of_an_earlier_release_keeps_it_through_the_recycle_bin(box: Box) -> None:
    vm = of_an_earlier_release(box, box.vm(stopped=True))
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm = fresh(vm)
    assert (vm.status, box.places(vm), vm.machine_type) == ("binned", [], NEW)
    lifecycle.restore_vm(actor=box.actor, vm=vm)
    box.run()
    vm = start(box, vm)
    assert (vm.status, vm.machine_type, running(box, vm)) == ("running", NEW, NEW)


@pytest.mark.parametrize("point", points_of("vm.modify"))
def test_a_vm_of_an_earlier_release_keeps_it_with_a_size_that_takes_it_elsewhere(
    box: Box, point: str
) -> None:
    vm = of_an_earlier_release(box, box.vm(stopped=True))
    former = vm.host
    assert former is not None
    Host.objects.filter(pk=former.pk).update(memory_mib=4096)
    larger = next(one for one in box.platform.specs if one.vcpus == 4)
    quote = changes.quote_size(actor=box.actor, vm=vm, spec=larger)
    changes.modify_vm(actor=box.actor, vm=vm, spec=larger, quote_token=quote.token)
    box.run_dying(point)
    vm = fresh(vm)
    assert (vm.failure, vm.vcpus, vm.machine_type) == ("", 4, NEW)
    assert vm.host != former
    assert defined(box, vm) == NEW
    box.assert_nothing_orphaned()


def test_the_owner_moves_a_stopped_vm_up_from_its_next_start(box: Box) -> None:
    vm = box.vm(stopped=True)
    upgrade(box, OLD, NEW, NEXT)
    found = changes.update_machine_type(actor=box.actor, vm=fresh(vm))
    assert (found.machine_type, found.status) == (NEXT, "stopped")
    # Not before: what is defined is left alone.
    assert defined(box, vm) == NEW
    reconcile_hosts()
    assert fresh(vm).machine_type == NEXT
    vm = start(box, vm)
    assert (vm.status, running(box, vm)) == ("running", NEXT)
    logged = Operation.objects.get(verb="compute.update_machine_type", succeeded=True)
    assert logged.before == {"machine_type": NEW}
    assert logged.after == {"machine_type": NEXT}
    assert Event.objects.filter(resource_id=vm.pk, kind="vm.machine_type_updated").count() == 1
    stop(box, vm)
    with pytest.raises(Conflict) as refused:
        changes.update_machine_type(actor=box.actor, vm=fresh(vm))
    assert refused.value.code == "machine_type_current"


def test_it_moves_up_no_further_than_the_oldest_host(box: Box) -> None:
    vm = box.vm(stopped=True)
    fake_host(box.platform.hosts[0].uri).machines = {"x86_64": (OLD, NEW, NEXT)}
    reconcile_hosts()
    with pytest.raises(Conflict) as refused:
        changes.update_machine_type(actor=box.actor, vm=fresh(vm))
    assert refused.value.code == "machine_type_current"
    assert fresh(vm).machine_type == NEW


def test_a_running_vm_is_not_moved_up(box: Box) -> None:
    vm = box.vm()
    upgrade(box, OLD, NEW, NEXT)
    with pytest.raises(Conflict) as refused:
        changes.update_machine_type(actor=box.actor, vm=fresh(vm))
    assert refused.value.code == "vm_state"
    assert fresh(vm).machine_type == NEW


def test_a_machine_type_that_its_host_has_no_more_is_said_in_words(box: Box) -> None:
    vm = box.vm(stopped=True)
    upgrade(box, NEXT)
    vm = start(box, vm)
    assert (vm.status, vm.failure_code) == ("stopped", "machine_type_missing")
    assert vm.failure == f"The host does not offer the machine type {NEW}."
    assert f"offers {NEXT}" in vm.failure_detail
    assert defined(box, vm) == NEW
    changes.update_machine_type(actor=box.actor, vm=vm)
    vm = start(box, vm)
    assert (vm.status, running(box, vm)) == ("running", NEXT)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_restart_of_what_could_not_start_again_leaves_the_guest_on(
    box: Box, ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm()
    boots, starts = box.domain(vm).boots, box.domain(vm).starts
    upgrade(box, NEXT)
    if ignored:
        # A guest that does not heed a reboot is shut down after a while.
        monkeypatch.setattr(tasks, "REBOOT_LIMIT_S", 0.0)
        monkeypatch.setattr(FakeHypervisor, "reboot", lambda *_args, **_named: None)
    else:
        monkeypatch.setattr(tasks, "runs_as_defined", lambda _vm: False)
    lifecycle.restart_vm(actor=box.actor, vm=vm)
    (job,) = box.run()
    vm = fresh(vm)
    assert (job.status, job.error_code) == ("failed", "machine_type_missing")
    assert (vm.status, vm.failure_code) == ("running", "machine_type_missing")
    assert (box.domain(vm).boots, box.domain(vm).starts) == (boots, starts)
    assert running(box, vm) == NEW


def test_what_cannot_be_defined_changes_nothing_on_the_way(box: Box) -> None:
    vm = box.vm(stopped=True)
    seed = box.storage.seeds[vm.pk]
    VM.objects.filter(pk=vm.pk).update(seed_generation=7, hostname="another")
    upgrade(box, NEXT)
    vm = start(box, vm)
    assert vm.failure_code == "machine_type_missing"
    assert box.storage.seeds[vm.pk] == seed


def test_the_dialog_says_from_what_to_what(box: Box, console: Client) -> None:
    vm = box.vm(stopped=True)
    url = reverse("vm-update-machine-type", args=[vm.pk])
    assert "no newer one is available" in console.get(url).content.decode()
    upgrade(box, OLD, NEW, NEXT)
    text = console.get(url).content.decode()
    assert NEW in text
    assert NEXT in text
    assert fresh(vm).machine_type == NEW
    console.post(url)
    assert fresh(vm).machine_type == NEXT
    assert NEXT in console.get(reverse("vm-detail", args=[vm.pk])).content.decode()


def test_the_api_shows_it_and_moves_it_up(box: Box, user: User) -> None:
    vm = box.vm(stopped=True)
    program: Program = program_of(user)
    assert program.get(f"/vms/{vm.pk}").body["machine_type"] == NEW
    upgrade(box, OLD, NEW, NEXT)
    answer = program.post(f"/vms/{vm.pk}/update-machine-type")
    assert answer.status == 200
    assert answer.body["machine_type"] == NEXT
    again = program.post(f"/vms/{vm.pk}/update-machine-type")
    assert (again.status, again.body["code"]) == (409, "machine_type_current")


def test_what_the_image_says_of_the_machine_holds_from_the_next_start(box: Box) -> None:
    vm = box.vm()
    spec = box.domain(vm).spec
    assert (spec.windows, spec.watchdog) == (False, False)
    Image.objects.filter(pk=vm.image_id).update(watchdog=True)
    starts = box.domain(vm).starts
    lifecycle.restart_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    # A restart is a reboot of the machine that there is.
    assert box.domain(vm).starts == starts
    assert box.domain(vm).spec == spec
    stop(box, vm)
    # Families of images do not change; a reinstallation gives a VM an image of its own family.
    Image.objects.filter(pk=vm.image_id).update(os_family="windows")
    start(box, vm)
    spec = box.domain(vm).spec
    assert (spec.windows, spec.watchdog) == (True, True)
