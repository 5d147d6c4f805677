"""Machine types: which one a VM gets, and which hosts take it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import transaction
from django.utils import timezone

from compute.actions.vms.lifecycle import start_vm
from compute.actions.vms.migrate import migrate_vm
from compute.hosts import machines, placement
from compute.hypervisor.base import MachineTypes, OperationTimeout, Refused
from compute.hypervisor.fake import fake_host, forget_fake_hosts
from compute.models import VM, Cluster, Drift, Host, HostTest
from compute.states.hosts import HostState
from compute.sweeps import hosts as hosts_sweep
from compute.sweeps.hosts import ask_host, record_host
from compute.sweeps.reconcile import reconcile_hosts
from scloud.lib.errors import NoCapacity
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.compute.box import Box
from tests.compute.factories import Platform

OLD, NEW = "pc-q35-7.1", "pc-q35-7.2"


@pytest.fixture(autouse=True)
def hosts_as_made() -> Iterator[None]:
    """Hosts in memory live as long as the process."""
    forget_fake_hosts()
    yield
    forget_fake_hosts()


def offer(host: Host, *names: str) -> None:
    """Let a host say that it offers these."""
    Host.objects.filter(pk=host.pk).update(machine_types=" ".join(names))


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("pc-q35-7.2", "pc-q35-", (7, 2)),
        ("pc-q35-10.0", "pc-q35-", (10, 0)),
        ("pc-q35-rhel9.2.0", "pc-q35-rhel", (9, 2, 0)),
        ("virt-8.0", "virt-", (8, 0)),
        # An alias, a name without a version, and what no host says.
        ("q35", "", ()),
        ("pc-q35-jammy", "", ()),
        ("pc-q35-7.2 -device x", "", ()),
        ("pc-q35-" + "7" * 60, "", ()),
        ("", "", ()),
    ],
)
def test_a_full_name_has_a_family_and_a_version(
    name: str, family: str, version: tuple[int, ...]
) -> None:
    assert (machines.family_of(name), machines.version_of(name)) == (family, version)


def test_versions_are_numbers_and_families_do_not_mix() -> None:
    names = ["pc-q35-9.2", "pc-q35-10.0", "pc-q35-rhel11.0.0", "virt-12.0"]
    assert machines.newest(names, "pc-q35-") == "pc-q35-10.0"
    assert machines.newest(names, "pc-q35-rhel") == "pc-q35-rhel11.0.0"
    assert machines.newest(names, "pc-i440fx-") == ""
    assert machines.newest(["q35"], "") == ""


def test_common_is_what_all_hosts_offer_that_have_said() -> None:
    assert machines.common([[OLD, NEW], [OLD], []]) == {OLD}
    assert machines.common([[OLD], [NEW]]) == frozenset()
    assert machines.common([[], []]) == frozenset()


@pytest.mark.parametrize(
    ("shared", "offered", "chosen"),
    [
        ([OLD], [OLD, NEW], OLD),
        ([OLD, NEW], [OLD, NEW], NEW),
        # Nothing in common, hosts that have said nothing, and what this host does not offer.
        ([], [OLD, NEW], NEW),
        (["pc-q35-9.0"], [OLD, NEW], NEW),
    ],
)
def test_a_new_vm_gets_the_newest_that_all_hosts_offer(
    shared: list[str], offered: list[str], chosen: str
) -> None:
    assert machines.first_type(shared, offered, NEW) == chosen


@pytest.mark.django_db
@pytest.mark.parametrize("state", HostState)
def test_all_hosts_but_those_that_are_off_hold_types_back(
    platform: Platform, state: HostState
) -> None:
    first, second = platform.hosts
    offer(first, OLD, NEW)
    offer(second, OLD)
    Host.objects.filter(pk=second.pk).update(state=state)
    if state not in (HostState.FENCED, HostState.DOWN):
        # It is back soon, and a VM with the newer type could not move to it.
        assert machines.common_of(platform.cluster) == {OLD}
        assert machines.next_type(platform.cluster, OLD) == ""
        return
    assert machines.common_of(platform.cluster) == {OLD, NEW}
    assert machines.next_type(platform.cluster, OLD) == NEW
    assert machines.next_type(platform.cluster, NEW) == ""
    assert machines.next_type(platform.cluster, "") == ""
    assert machines.next_type(platform.cluster, "virt-7.1") == ""


@pytest.mark.django_db
def test_a_host_that_waits_for_its_connection_test_holds_no_type_back(platform: Platform) -> None:
    first, second = platform.hosts
    offer(first, OLD, NEW)
    offer(second, "pc-q35-9.2")
    Host.objects.filter(pk=second.pk).update(state=HostState.LOCKED)
    test = HostTest.objects.create(host=second, required=True)
    assert machines.common_of(platform.cluster) == {OLD, NEW}
    test.admitted_at = timezone.now()
    test.save()
    assert machines.common_of(platform.cluster) == frozenset()


@pytest.mark.django_db
def test_hosts_say_what_they_offer_in_the_ordinary_round(platform: Platform) -> None:
    host = platform.hosts[0]
    record_host(ask_host(host, {}))
    host.refresh_from_db()
    assert host.machine_types == f"{OLD} {NEW}"
    # One that says nothing of them keeps what it said.
    answer = ask_host(host, {})
    empty = type(answer)(host, answer.capacity, MachineTypes("", ()))
    record_host(empty)
    host.refresh_from_db()
    assert host.machine_types == f"{OLD} {NEW}"
    fake_host(host.uri).machines = {"x86_64": (NEW,)}
    record_host(ask_host(host, {}))
    host.refresh_from_db()
    assert host.machine_types == NEW


def test_a_host_that_does_not_name_its_machine_types_is_heard_all_the_same(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts_sweep, "_later", {})
    vm = box.vm()
    assert vm.host is not None
    host = Host.objects.select_related("cluster").get(pk=vm.host.pk)
    asked: list[str] = []
    faults = box.host_of(vm).faults
    monkeypatch.setattr(faults, "before", asked.append)
    record_host(ask_host(host, {}))
    # One that fails is asked again in the next round; one that is slow keeps the answer waiting.
    for error, again in ((Refused("no XML"), True), (OperationTimeout("slow"), False)):
        faults.fail_next["machine_types"] = error
        answer = ask_host(host, {})
        assert (answer.error, answer.machines) == ("", None)
        assert [domain.uuid for domain in answer.domains] == [str(vm.uuid)]
        record_host(answer)
        host.refresh_from_db()
        assert (host.unreachable_since, host.last_error) == (None, "")
        assert host.machine_types == f"{OLD} {NEW}"
        asked.clear()
        assert (ask_host(host, {}).machines is not None) is again
        assert ("machine_types" in asked) is again
    backoff, _again_at = hosts_sweep._later[host.pk]
    hosts_sweep._later[host.pk] = backoff, 0.0
    assert ask_host(host, {}).machines is not None
    assert hosts_sweep._later == {}


@pytest.mark.django_db
def test_a_cluster_of_arm_hosts_is_asked_for_machines_of_arm(platform: Platform) -> None:
    Cluster.objects.filter(pk=platform.cluster.pk).update(architecture="aarch64")
    host = Host.objects.select_related("cluster").get(pk=platform.hosts[0].pk)
    record_host(ask_host(host, {}))
    host.refresh_from_db()
    assert host.machine_types == "virt-7.1 virt-7.2"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("offered", "wanted", "taken"),
    [
        (f"{OLD} {NEW}", NEW, True),
        (OLD, NEW, False),
        # A part of a name is not the name.
        ("pc-q35-7.22", NEW, False),
        # Neither a host nor a VM of an earlier release has said anything.
        ("", NEW, True),
        (OLD, "", True),
    ],
)
def test_a_host_takes_only_vms_whose_machine_type_it_offers(
    platform: Platform, tenant: Tenant, offered: str, wanted: str, taken: bool
) -> None:
    Host.objects.update(machine_types=offered)
    demand = placement.Demand(1, 1024, machine_type=wanted)
    for candidate in placement.candidates(platform.cluster, tenant):
        assert candidate.refusal(demand) == (None if taken else "machine")
        words = "" if taken else f"It does not offer the machine type {NEW}."
        assert candidate.words(demand) == words


@pytest.mark.django_db
def test_where_no_host_offers_it_the_refusal_says_so(platform: Platform, tenant: Tenant) -> None:
    Host.objects.update(machine_types=OLD)
    of_cluster = placement.candidates(platform.cluster, tenant)
    with pytest.raises(NoCapacity) as refused:
        placement.choose(platform.cluster, of_cluster, placement.Demand(1, 1024, machine_type=NEW))
    assert refused.value.code == "machine_type_missing"
    assert refused.value.message == f"No host offers the machine type {NEW}."
    assert "without the VM's machine type: 2 hosts" in refused.value.detail
    # New VMs find their place: they get another one.
    with transaction.atomic():
        assert placement.place(platform.cluster, tenant, vcpus=1, memory_mib=256)


def test_a_vm_moves_only_to_a_host_that_offers_its_machine_type(box: Box) -> None:
    vm = box.vm()
    assert vm.machine_type == NEW
    there = next(host for host in box.platform.hosts if host.pk != vm.host_id)
    fake_host(there.uri).machines = {"x86_64": (OLD,)}
    reconcile_hosts()
    operator = Actor.system(box.actor.tenant)
    # Its own host is no answer, nor is one that it is not asked to go to.
    for wanted, words, field in (
        (None, f"No host that is available offers the machine type {NEW}.", None),
        (there, f"This host does not offer the machine type {NEW}.", "host"),
    ):
        with pytest.raises(NoCapacity) as refused:
            migrate_vm(actor=operator, vm=vm, host=wanted)
        assert refused.value.code == "machine_type_missing"
        assert (refused.value.message, refused.value.field) == (words, field)
        assert "without the VM's machine type: 1 host" in refused.value.detail
    fake_host(there.uri).machines = {"x86_64": (OLD, NEW)}
    reconcile_hosts()
    vm.refresh_from_db()
    migrate_vm(actor=operator, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert (vm.host, vm.failure, vm.machine_type) == (there, "", NEW)
    running = box.domain(vm).running
    assert running is not None
    assert running.machine_type == NEW


@pytest.mark.parametrize(
    "columns",
    [{"state": HostState.MAINTENANCE}, {"unreachable_since": datetime(2026, 11, 1, tzinfo=UTC)}],
)
def test_a_start_says_it_too_while_hosts_that_offer_it_are_away(
    box: Box, columns: dict[str, object]
) -> None:
    vm = box.vm(stopped=True)
    former = vm.host
    assert former is not None
    offer(next(host for host in box.platform.hosts if host != former), OLD)
    VM.objects.filter(pk=vm.pk).update(host=None)
    Host.objects.filter(pk=former.pk).update(**columns)
    vm.refresh_from_db()
    with pytest.raises(NoCapacity) as refused:
        start_vm(actor=box.actor, vm=vm)
    assert refused.value.code == "machine_type_missing"
    assert refused.value.message == (f"No host that is available offers the machine type {NEW}.")
    assert refused.value.remedy == (
        "Try again later, or update the machine type of the VM while it is stopped."
    )
    # Where none of the others lacks it, it is not what is missing.
    Host.objects.exclude(pk=former.pk).update(machine_types=NEW, memory_mib=1)
    with pytest.raises(NoCapacity) as refused:
        start_vm(actor=box.actor, vm=vm)
    assert refused.value.code == "no_capacity"


def test_a_host_that_has_not_said_yet_refuses_by_itself_and_the_vm_goes_on(box: Box) -> None:
    vm = box.vm()
    here = vm.host
    there = next(host for host in box.platform.hosts if host.pk != vm.host_id)
    fake_host(there.uri).machines = {"x86_64": (OLD,)}
    migrate_vm(actor=Actor.system(box.actor.tenant), vm=vm)
    box.run()
    vm.refresh_from_db()
    assert (vm.host, vm.status, vm.failure_code) == (here, "running", "host_refused")
    box.assert_nothing_orphaned()


def test_the_running_vm_of_an_earlier_release_is_written_down_and_not_reported(box: Box) -> None:
    vm = box.vm()
    VM.objects.filter(pk=vm.pk).update(machine_type="")
    revision = VM.objects.get(pk=vm.pk).revision
    domain = box.domain(vm)
    assert domain.running is not None
    running = domain.running
    reconcile_hosts()
    vm.refresh_from_db()
    assert (vm.machine_type, vm.revision) == (NEW, revision)
    assert box.domain(vm).running == running
    assert not Drift.objects.exists()


def test_what_a_row_says_is_not_overwritten_by_what_runs(box: Box) -> None:
    vm = box.vm()
    VM.objects.filter(pk=vm.pk).update(machine_type=OLD)
    reconcile_hosts()
    vm.refresh_from_db()
    assert vm.machine_type == OLD
    assert not Drift.objects.exists()
