"""A host that is really killed: its VM runs on the other one, with its disk and its address."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from compute.fencing.agents import AgentDevice
from compute.hypervisor.base import HypervisorError
from compute.management import seeding
from compute.models import VM, Cluster, Host
from compute.states.hosts import HostState
from compute.sweeps import failover, reconcile
from compute.sweeps.reconcile import Rounds
from compute.tasks.drivers import hypervisor_of
from scloud.audit.models import Event
from scloud.lab import region
from scloud.lab.plan import HostPlan
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab

#: A host of the lab is killed at once, so that it need not be missed for long.
SUSPECT_AFTER_S = 15


@pytest.fixture
def dying(real_platform: RealPlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealPlatform]:
    """A platform with failover, whose hosts have power again at the end."""
    monkeypatch.setattr(AgentDevice, "settle_s", 0.2)
    platform = real_platform
    assert seeding.seed_fence_devices(region.status(platform.lab)) == 2
    Cluster.objects.update(failover=True, suspect_after_s=SUSPECT_AFTER_S)
    yield platform
    for plan in platform.lab.hosts:
        region.power_on(plan)
    for host in Host.objects.all():
        wait_for_answer(host)


def wait_for_answer(host: Host) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            hypervisor_of(host).capacity()
        except HypervisorError:
            assert time.monotonic() < end, f"{host.name} does not come up"
            time.sleep(0.5)
        else:
            return


def plan_of(platform: RealPlatform, host: Host) -> HostPlan:
    (found,) = (plan for plan in platform.lab.hosts if plan.uri == host.uri)
    return found


def copies(vm: VM) -> list[str]:
    """The hosts that say that the VM runs there."""
    found = []
    for host in Host.objects.order_by("name"):
        try:
            domains = hypervisor_of(host).observe_all()
        except HypervisorError:
            continue
        if any(one.uuid == str(vm.uuid) and one.power_state == "running" for one in domains):
            found.append(host.name)
    return found


def go_round(rounds: Rounds) -> None:
    reconcile.reconcile_hosts(rounds)
    failover.look_after_failures()


def until(platform: RealPlatform, rounds: Rounds, vm: VM, host: Host, state: str) -> None:
    """Go round and work until the host is in a state, and the VM runs on another one."""
    end = time.monotonic() + 240
    while True:
        go_round(rounds)
        platform.run_jobs()
        vm.refresh_from_db()
        host.refresh_from_db()
        if (host.state, vm.status, vm.task) == (state, "running", "") and vm.host != host:
            return
        assert time.monotonic() < end, (host.state, host.failover_note, vm.status, vm.failure)
        time.sleep(1)


def test_a_vm_of_a_killed_host_runs_elsewhere_and_the_host_returns_clean(
    dying: RealPlatform,
) -> None:
    platform, rounds = dying, Rounds(patience_s=5)
    vm = platform.running_vm(agent=True)
    assert vm.host is not None
    host = vm.host
    platform.guest(vm, "/bin/sh", "-c", "echo kept > /root/kept; sync")
    go_round(rounds)
    killed_at = time.monotonic()
    region.kill_host(plan_of(platform, host))

    until(platform, rounds, vm, host, HostState.FENCED)
    took_s = time.monotonic() - killed_at
    assert host.is_off
    assert vm.epoch == 1
    assert vm.host is not None
    assert copies(vm) == [vm.host.name]
    print(f"ran again {took_s:.1f} s after the host was killed")
    platform.await_agent(vm)
    assert platform.guest(vm, "/bin/cat", "/root/kept") == "kept"
    told = Event.objects.filter(resource_id=vm.pk).order_by("pk").values_list("kind", flat=True)
    assert list(told)[-3:] == ["vm.host_failed", "vm.failing_over", "vm.failed_over"]

    # It knows the VM when it comes back, and is rid of it before it is used.
    region.power_on(plan_of(platform, host))
    until(platform, rounds, vm, host, HostState.AVAILABLE)
    assert platform.domains() == {vm.pk: [vm.host.name]}
    assert copies(vm) == [vm.host.name]
