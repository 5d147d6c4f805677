"""What clusters keep for failures, what VMs take beside their size, and what sizes ask of hosts."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hosts import capacity, placement
from compute.hosts.placement import Candidate, Demand, reserve_of
from compute.models import VM, Cluster, Host, Spec
from compute.states.hosts import HostState
from compute.states.vms import VmStatus
from compute.sweeps import failover
from scloud.lib.errors import NoCapacity
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from tests.compute.factories import Platform, buy_vms, make_platform, make_vm, settle
from tests.compute.hosts.test_placement import silence
from tests.compute.hosts.yard import Yard

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


def set_up(platform: Platform, **columns: object) -> None:
    Cluster.objects.filter(pk=platform.cluster.pk).update(**columns)
    platform.cluster.refresh_from_db()


@pytest.fixture
def small(region: Region) -> Platform:
    """Two hosts with 4 vCPU and 9 GB, 8 of them for VMs; no overcommit."""
    return make_platform(region, hosts=2, vcpus=4, memory_mib=9216, overcommit="1.0")


# -- the reserve -------------------------------------------------------------------------------


def test_a_purchase_leaves_room_for_the_vms_of_a_host(small: Platform, actor: Actor) -> None:
    set_up(small, reserve_hosts=1)
    # Two hosts of 4 vCPU hold 4 of them, so that either may fail.
    buy_vms(small, actor, count=4)
    with pytest.raises(NoCapacity) as refused:
        buy_vms(small, actor)
    assert refused.value.message == "This size is not available here right now."
    assert "room that is kept for failures" in refused.value.detail
    assert "4 free, 4 kept for the failure of 1 hosts" in refused.value.detail
    assert "reserve" not in refused.value.message + str(refused.value.remedy)
    set_up(small, reserve_hosts=0)
    buy_vms(small, actor)


def test_no_batch_goes_beyond_it(small: Platform, actor: Actor) -> None:
    set_up(small, reserve_hosts=1)
    with pytest.raises(NoCapacity):
        buy_vms(small, actor, count=5)
    assert not VM.objects.exists()


def test_growth_leaves_it_too_and_shrinking_is_always_possible(
    small: Platform, actor: Actor
) -> None:
    vms = [make_vm(small, actor, VmStatus.STOPPED, name=name) for name in "abcd"]
    set_up(small, reserve_hosts=1)
    larger = small.specs[1]
    quote = changes.quote_size(actor=actor, vm=vms[0], spec=larger)
    with pytest.raises(NoCapacity):
        changes.modify_vm(actor=actor, vm=vms[0], spec=larger, quote_token=quote.token)
    running = settle(vms[1], max_vcpus=4, max_memory_mib=8192)
    quote = changes.quote_size(actor=actor, vm=running, spec=larger)
    with pytest.raises(NoCapacity) as refused:
        changes.hot_upgrade_vm(actor=actor, vm=running, spec=larger, quote_token=quote.token)
    assert "room that is kept for failures" in refused.value.detail
    tiny = Spec.objects.create(cluster=small.cluster, vcpus=1, memory_mib=1024)
    quote = changes.quote_size(actor=actor, vm=vms[0], spec=tiny)
    changes.modify_vm(actor=actor, vm=vms[0], spec=tiny, quote_token=quote.token)
    vms[0].refresh_from_db()
    assert vms[0].memory_mib == 1024


def test_what_holds_capacity_already_may_move_and_start(small: Platform, actor: Actor) -> None:
    vms = [make_vm(small, actor, name=name) for name in "abcd"]
    set_up(small, reserve_hosts=2)
    migrate_vm(actor=Actor.system(actor.tenant), vm=vms[0])
    stopped = settle(vms[1], VmStatus.STOPPED)
    lifecycle.start_vm(actor=actor, vm=stopped)
    binned = settle(vms[2], VmStatus.STOPPED, host=None)
    with pytest.raises(NoCapacity) as refused:
        lifecycle.start_vm(actor=actor, vm=binned)
    assert "room that is kept for failures" in refused.value.detail


def test_a_failover_uses_the_reserve_and_purchases_wait_for_the_host(yard: Yard) -> None:
    box = yard.box
    vm = box.vm()
    Cluster.objects.filter(pk=vm.cluster_id).update(reserve_hosts=1)
    vm.refresh_from_db()
    assert vm.host is not None
    yard.fenced(vm.host)
    with pytest.raises(NoCapacity):
        buy_vms(box.platform, box.actor, name="new")
    failover.look_after_failures()
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure) == ("running", "")
    # One host is left: of it nothing may be sold while one has to be kept.
    with pytest.raises(NoCapacity):
        buy_vms(box.platform, box.actor, name="new")


def test_a_short_silence_does_not_stop_purchases(small: Platform, actor: Actor) -> None:
    set_up(small, reserve_hosts=1)
    silence(small.hosts[0], 5)
    buy_vms(small, actor)
    silence(small.hosts[0], 3600)
    with pytest.raises(NoCapacity):
        buy_vms(small, actor)


def hosts_with(*loads: tuple[int, int, str]) -> list[Candidate]:
    cluster = Cluster(pk="c", cpu_overcommit=Decimal("1.0"))
    return [
        Candidate(
            Host(
                name=f"h{number}",
                cluster=cluster,
                vcpus=total,
                memory_mib=total * 1024,
                reserved_memory_mib=0,
                state=state,
            ),
            taken,
            taken * 1024,
            0,
            0,
        )
        for number, (total, taken, state) in enumerate(loads)
    ]


def survives(loads: Sequence[tuple[int, int, str]], kept: int, more: int) -> bool:
    """Whether the rest has room for so much more, whichever hosts fail: each choice is tried."""
    free = [(total - taken) * (state == HostState.AVAILABLE) for total, taken, state in loads]
    every = range(len(loads))
    return all(
        sum(loads[one][1] for one in failed) + more
        <= sum(free[one] for one in every if one not in failed)
        for failed in combinations(every, min(kept, len(loads)))
    )


def test_what_is_left_is_what_any_hosts_may_fail_with() -> None:
    chance = random.Random(7)
    for _ in range(500):
        loads = [
            (
                total := chance.randint(1, 20),
                chance.randint(0, total),
                chance.choice([HostState.AVAILABLE, HostState.LOCKED]),
            )
            for _host in range(chance.randint(1, 5))
        ]
        kept = chance.randint(1, 3)
        reserve = reserve_of(Cluster(reserve_hosts=kept), hosts_with(*loads))
        for more in (0, 1, 5):
            assert (reserve.vcpus.left >= more) == survives(loads, kept, more), loads
            assert (reserve.memory_mib.left >= more * 1024) == (reserve.vcpus.left >= more)


def test_hosts_out_of_service_are_owed_room(small: Platform) -> None:
    reserve = reserve_of(
        Cluster(reserve_hosts=1),
        hosts_with(
            (8, 2, HostState.AVAILABLE), (8, 1, HostState.AVAILABLE), (8, 4, HostState.DOWN)
        ),
    )
    assert (reserve.vcpus.free, reserve.vcpus.kept, reserve.vcpus.owed) == (13, 8, 4)
    assert reserve.vcpus.left == 1
    assert reserve.lack(1, 1024) == ""
    assert reserve.lack(2, 0) != ""


def test_operators_see_what_is_kept(small: Platform, superuser: User) -> None:
    set_up(small, reserve_hosts=1)
    client = Client()
    client.force_login(superuser)
    page = client.get(reverse("admin:compute_host_capacity")).content.decode()
    (row,) = re.findall(r"<th>x86 standard</th>.*?</tr>", page, re.DOTALL)
    in_reserve, kept, left = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)[-3:]
    assert in_reserve == "1"
    assert re.findall(r"<div>(.*?)</div>", kept) == ["4 vCPU", "8192 MB"]
    assert re.findall(r"<div>(.*?)</div>", left) == ["4 vCPU", "8192 MB"]


def test_operators_see_the_reserve_that_decides_while_a_vm_is_on_its_way(
    small: Platform, actor: Actor
) -> None:
    set_up(small, reserve_hosts=1, vm_overhead_mib=64, vcpu_overhead_mib=4)
    vms = [settle(vm) for vm in buy_vms(small, actor, count=2)]
    migrate_vm(actor=Actor.system(actor.tenant), vm=vms[0])
    decides = reserve_of(small.cluster, placement.candidates(small.cluster, actor.tenant))
    (shown,) = (one for one in capacity.clusters() if one["cluster"] == small.cluster)
    assert shown["reserve"] == decides
    # It takes room on both hosts, and is one VM all the same.
    assert (shown["vcpus_taken"], shown["vms"]) == (3, 2)
    assert shown["memory_taken_mib"] == 3 * (2048 + 64 + 4)
    assert sorted((one.vms, one.vcpus_taken) for one in capacity.hosts()) == [(1, 1), (1, 2)]


# -- overhead and what is kept for the host ------------------------------------------------------


def test_vms_take_memory_beside_their_own(small: Platform, actor: Actor) -> None:
    set_up(small, vm_overhead_mib=100, vcpu_overhead_mib=10)
    # 8192 MB of a host hold three of 2048 MB and 110 MB each, not four.
    buy_vms(small, actor, count=6)
    with pytest.raises(NoCapacity) as refused:
        buy_vms(small, actor)
    assert "too little memory left: 2 hosts" in refused.value.detail
    (first, _second) = placement.candidates(small.cluster, actor.tenant)
    assert first.memory_taken_mib == 3 * (2048 + 110)


def test_memory_that_is_kept_for_the_host_is_not_sold(small: Platform, actor: Actor) -> None:
    Host.objects.update(reserved_memory_mib=9216 - 2048)
    buy_vms(small, actor, count=2)
    with pytest.raises(NoCapacity):
        buy_vms(small, actor)


# -- tags ----------------------------------------------------------------------------------------


def test_a_size_goes_to_hosts_with_its_tags_only(small: Platform, actor: Actor) -> None:
    Spec.objects.filter(pk=small.specs[0].pk).update(required_tags="nvme fast")
    with pytest.raises(NoCapacity) as refused:
        buy_vms(small, actor)
    assert "without the required tags: 2 hosts" in refused.value.detail
    Host.objects.filter(pk=small.hosts[1].pk).update(tags="fast  nvme other")
    Host.objects.filter(pk=small.hosts[0].pk).update(tags="nvme")
    vms = buy_vms(small, actor, count=2)
    assert {vm.host_id for vm in vms} == {small.hosts[1].pk}
    # Also when it moves.
    vm = settle(vms[0])
    with pytest.raises(NoCapacity):
        migrate_vm(actor=Actor.system(actor.tenant), vm=vm)


@pytest.mark.parametrize("tags", ["Big", "a,b", "-x", "a\nb"])
def test_tags_are_words(small: Platform, tags: str) -> None:
    host = small.hosts[0]
    host.tags = tags
    with pytest.raises(ValidationError):
        host.full_clean(exclude=["uri"])


def test_demands_say_what_they_take() -> None:
    cluster = Cluster(vm_overhead_mib=64, vcpu_overhead_mib=4)
    assert Demand(4, 8192).overhead_mib(cluster) == 80
