"""Collectors share hosts: evenly, without gaps, and past the death of one of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from alarms.collecting.leases import FORGOTTEN, LIVES, give_back, new_name, take_share
from alarms.models import Collector, HostCollection
from compute.models import Host
from scloud.resources.models import Region
from tests.compute.factories import make_platform


@pytest.fixture(autouse=True)
def hosts(region: Region) -> list[Host]:
    """Five hosts."""
    return make_platform(region, hosts=5).hosts


def names(collector: str) -> set[str]:
    return {host.name for host in take_share(collector).hosts}


def dies(collector: str) -> None:
    """Nothing was heard of it for a while."""
    long_ago = timezone.now() - LIVES - timedelta(seconds=1)
    Collector.objects.filter(pk=collector).update(seen_at=long_ago)
    HostCollection.objects.filter(collector=collector).update(lease_until=long_ago)


def test_one_collector_has_all_hosts() -> None:
    share = take_share("a")
    assert len(share.hosts) == 5
    assert abs(share.now - timezone.now()) < timedelta(minutes=1)
    assert set(take_share("a").hosts) == set(share.hosts)


def test_a_second_one_gets_its_share_when_the_first_gives_it() -> None:
    first = names("a")
    assert names("b") == set()
    kept = names("a")
    assert len(kept) == 3
    assert kept < first
    assert names("b") == first - kept
    # And it stays so.
    assert names("a") == kept
    assert names("b") == first - kept


def test_no_host_is_anybodys_twice() -> None:
    for _ in range(4):
        shares = [names(one) for one in "abc"]
    assert sorted(map(len, shares)) == [1, 2, 2]
    assert len(set.union(*shares)) == 5


def test_a_dead_ones_hosts_are_taken_over() -> None:
    names("a")
    names("b")
    names("a")
    mine = names("b")
    dies("a")
    assert len(names("b")) == 5
    assert mine < names("b")
    # It comes back, and finds that its leases are over.
    assert names("a") == set()
    assert len(names("b")) == 3
    assert len(names("a")) == 2


def test_a_lease_that_is_not_over_is_nobody_elses() -> None:
    names("a")
    long_ago = timezone.now() - timedelta(hours=1)
    Collector.objects.filter(pk="a").update(seen_at=long_ago)
    assert names("b") == set()


def test_one_that_ends_gives_its_hosts_back_at_once() -> None:
    names("a")
    give_back("a")
    assert not Collector.objects.filter(pk="a").exists()
    assert len(names("b")) == 5


def test_new_hosts_are_taken_and_removed_ones_forgotten(hosts: list[Host]) -> None:
    names("a")
    hosts[0].delete()
    Host.objects.create(name="new", cluster=hosts[1].cluster, uri="fake:new", address="192.0.2.99")
    assert names("a") == {"new", *(host.name for host in hosts[1:])}


def test_collectors_that_are_long_gone_are_forgotten() -> None:
    names("a")
    Collector.objects.filter(pk="a").update(seen_at=timezone.now() - FORGOTTEN * 2)
    names("b")
    assert set(Collector.objects.values_list("pk", flat=True)) == {"b"}


def test_each_start_has_a_name_of_its_own() -> None:
    assert new_name() != new_name()
    assert len(new_name()) <= 80
