"""Which host is chosen, and why none is."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from compute.hosts import placement
from compute.models import Host
from scloud.lib.errors import NoCapacity
from scloud.tenancy.models import Tenant
from tests.compute.factories import Platform

pytestmark = pytest.mark.django_db


def names(platform: Platform, tenant: Tenant, count: int = 1) -> list[str]:
    with transaction.atomic():
        found = placement.place(platform.cluster, tenant, vcpus=1, memory_mib=256, count=count)
    return [host.name for host in found]


def silence(host: Host, seconds: float) -> None:
    Host.objects.filter(pk=host.pk).update(
        unreachable_since=timezone.now() - timedelta(seconds=seconds)
    )


def test_the_vms_of_a_tenant_spread(platform: Platform, tenant: Tenant) -> None:
    chosen = names(platform, tenant, 4)
    assert sorted(chosen) == sorted([*chosen[:2], *chosen[:2]])
    assert len(set(chosen)) == 2


def test_a_host_that_was_just_silent_is_the_last_choice(platform: Platform, tenant: Tenant) -> None:
    first, second = Host.objects.order_by("pk")
    silence(first, 5)
    assert names(platform, tenant, 3) == [second.name] * 3
    silence(second, 6)
    assert set(names(platform, tenant, 2)) == {first.name, second.name}


def test_hosts_that_stay_silent_take_nothing(platform: Platform, tenant: Tenant) -> None:
    for host in Host.objects.all():
        silence(host, 3600)
    with pytest.raises(NoCapacity) as refused:
        names(platform, tenant)
    assert "not answering: 2 hosts" in refused.value.detail
    assert refused.value.numbers is not None
    assert refused.value.message == "This size is not available here right now."
