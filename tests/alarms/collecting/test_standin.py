"""Where no collector asks a host the sweeper does, for load balancing alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from alarms.collecting.clock import Clock
from alarms.collecting.leases import take_share
from alarms.collecting.standin import StandIn
from alarms.models import HostCollection
from alarms.queries import load, metrics
from alarms.store.base import PLATFORM, Latest, SeriesKey
from alarms.store.fake import FakeStore
from compute.hypervisor.fake import fake_host
from compute.models import Cluster, Host
from compute.states.balance import BalanceMode
from compute.states.hosts import HostState
from compute.tasks.drivers import hypervisor_of
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box


class Watch:
    """A stand-in, its store, and time that passes on its clock and on the hosts."""

    def __init__(self, box: Box) -> None:
        self.box, self.store, self.now = box, FakeStore(), 1000.0
        self.stand_in = StandIn("a", self.store, Clock(lambda: self.now))

    def round(self, *, seconds: float = 30.0) -> bool:
        self.now += seconds
        for host in self.box.platform.hosts:
            hypervisor_of(host)
            for domain in fake_host(host.uri).domains.values():
                domain.started_at -= seconds
        found = self.stand_in.share()
        if found:
            self.stand_in.round()
        return found

    def latest(self, resource: str, tenant: str) -> Latest | None:
        long_ago = datetime.now(UTC) - timedelta(days=10)
        return self.store.latest(tenant, [resource], since=long_ago).get(resource)


@pytest.fixture
def watch(box: Box) -> Watch:
    Cluster.objects.update(balance_mode=BalanceMode.DRY_RUN)
    return Watch(box)


def test_hosts_and_vms_are_measured_and_guests_are_not_asked(watch: Watch) -> None:
    vm = watch.box.vm()
    watch.box.domain(vm).load.cpu_ratio = 0.5
    watch.box.domain(vm).load.steal_ratio = 0.25
    for _ in range(3):
        assert watch.round()
    seen = watch.latest(vm.pk, vm.tenant_id)
    assert seen is not None
    assert seen.values[SeriesKey("cpu_usage_ratio")] == pytest.approx(0.5, abs=0.1)
    names = {key.metric for key in seen.values}
    assert "guest_agent_up" not in names
    assert "load1" not in names
    assert vm.host is not None
    of_host = watch.latest(vm.host.pk, PLATFORM)
    assert of_host is not None
    # Of one vCPU.
    share = 0.25 / fake_host(vm.host.uri).vcpus
    assert of_host.values[SeriesKey("host_cpu_steal_ratio")] == pytest.approx(share, rel=0.2)
    # Nobody says that it was collected from: alarms of a collector that is gone stay.
    assert not HostCollection.objects.exclude(stored_at=None).exists()


def test_hosts_of_a_collector_and_of_clusters_without_balancing_are_left(watch: Watch) -> None:
    take_share("collector")
    assert not watch.round()
    HostCollection.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert watch.round()
    Host.objects.update(state=HostState.MAINTENANCE)
    assert not watch.round()
    Host.objects.update(state=HostState.AVAILABLE)
    Cluster.objects.update(balance_mode=BalanceMode.OFF)
    assert not watch.round()


def test_a_silent_host_has_no_figures_and_delays_nobody(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = watch.box.platform.hosts
    hypervisor_of(first)
    fake_host(first.uri).faults.unreachable = True
    for _ in range(3):
        watch.round()
    assert watch.latest(first.pk, PLATFORM) is None
    assert watch.latest(second.pk, PLATFORM) is not None
    # Three samples of a minute are no load yet.
    monkeypatch.setattr(metrics, "metrics_store", lambda: watch.store)
    with scopes_disabled():
        assert load.host_loads([first, second], datetime.now(UTC)) == {}
