"""A host enters maintenance under six guests to which somebody is connected: nobody notices."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

import pytest

from compute.actions.maintenance import enter_maintenance, leave_maintenance
from compute.models import VM, Departure, Host, HostMaintenance
from compute.states.hosts import HostState
from compute.states.maintenance import Way
from compute.sweeps import maintenance, reconcile
from compute.sweeps.reconcile import Rounds
from compute.tasks.drivers import hypervisor_of
from network.models import ExternalIp
from scloud.tenancy.actor import Actor
from tests.compute.life.test_on_real_hosts import sh
from tests.compute.life.test_outside_on_real_hosts import answers, connected, segment
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab

GUESTS = 6
PORT = 7000
#: Counts, five times a second, to whoever connects.
COUNT = "n=0; while echo $n; do n=$((n+1)); sleep 0.2; done"


@dataclass
class Listener:
    """A connection from outside, and what a guest has counted over it."""

    link: socket.socket
    numbers: list[int] = field(default_factory=list)
    ended: str = ""

    def listen(self) -> None:
        """Read until it is closed."""
        try:
            with self.link.makefile("r") as lines:
                for line in lines:
                    self.numbers.append(int(line))
            self.ended = "the guest hung up"
        except (OSError, ValueError) as error:
            self.ended = repr(error)

    def await_numbers(self, more: int, timeout_s: float = 60) -> None:
        """Wait until the guest has counted on."""
        end, wanted = time.monotonic() + timeout_s, len(self.numbers) + more
        while len(self.numbers) < wanted:
            assert not self.ended, self.ended
            assert time.monotonic() < end, f"{len(self.numbers)} numbers of {wanted}"
            time.sleep(0.1)


def listener(platform: RealPlatform, vm: VM) -> Listener:
    """Let a guest count, and connect to it from outside."""
    address = ExternalIp.objects.get(target_id=vm.pk).address
    assert answers(address, within_s=60)
    sh(platform, vm, f"(({COUNT}) | nc -l -p {PORT}) >/dev/null 2>&1 &")
    link = connected(address, PORT)
    link.settimeout(120)
    made = Listener(link)
    threading.Thread(target=made.listen, daemon=True).start()
    return made


def until(platform: RealPlatform, rounds: Rounds, host: Host, state: str) -> None:
    """Let sweeps and workers go on until the host is in a state."""
    end = time.monotonic() + 600
    while True:
        reconcile.reconcile_hosts(rounds)
        maintenance.look_after_maintenance()
        platform.run_jobs(timeout_s=600)
        host.refresh_from_db()
        if host.state == state:
            return
        told = list(Departure.objects.values_list("vm__name", "state", "note"))
        assert time.monotonic() < end, (host.state, told)
        time.sleep(1)


@pytest.mark.timeout(3600)
def test_six_guests_leave_a_host_without_a_lost_connection(real_platform: RealPlatform) -> None:
    platform, rounds = real_platform, Rounds(patience_s=10)
    reconcile.reconcile_hosts(rounds)
    first, second = Host.objects.order_by("name")
    Host.objects.filter(pk=second.pk).update(state=HostState.LOCKED)
    office = segment(platform, "office")
    vms = platform.buy(count=GUESTS, external_segment=office, external_bandwidth_mbps=5)
    platform.run_jobs(timeout_s=600)
    for vm in vms:
        vm.refresh_from_db()
        assert (vm.status, vm.host) == ("running", first), vm.failure
    for vm in vms:
        platform.await_agent(vm, timeout_s=600)
    Host.objects.filter(pk=second.pk).update(state=HostState.AVAILABLE)
    listeners = [listener(platform, vm) for vm in vms]
    try:
        for one in listeners:
            one.await_numbers(5)

        host = Host.objects.get(pk=first.pk)
        enter_maintenance(actor=Actor.system(None), host=host, way=Way.WAIT)
        began = time.monotonic()
        until(platform, rounds, host, HostState.MAINTENANCE)
        print(f"{GUESTS} guests left the host in {time.monotonic() - began:.1f} s")

        # By libvirt's own list.
        assert hypervisor_of(host).observe_all() == ()
        assert platform.domains() == {vm.pk: [second.name] for vm in vms}
        for vm in vms:
            vm.refresh_from_db()
            assert (vm.status, vm.host, vm.failure) == ("running", second, "")
        for one in listeners:
            one.await_numbers(10)
            assert not one.ended
            # Over the very same connection, and nothing of it was lost.
            assert one.numbers == list(range(len(one.numbers)))
    finally:
        for one in listeners:
            one.link.close()

    reconcile.reconcile_hosts(rounds)
    host.refresh_from_db()
    leave_maintenance(actor=Actor.system(None), host=host)
    until(platform, rounds, host, HostState.AVAILABLE)
    assert HostMaintenance.objects.get(host=host).end == "left"
    assert platform.domains() == {vm.pk: [second.name] for vm in vms}
