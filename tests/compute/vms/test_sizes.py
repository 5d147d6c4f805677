"""What sizes take of the quota: memory in whole GB, however small the VM."""

from __future__ import annotations

import pytest

from billing.models import QuotaClaim
from compute.models import Spec
from compute.rules.sizes import size_quota
from scloud.tenancy.actor import Actor
from tests.compute.factories import Platform, make_vm


@pytest.mark.parametrize(
    ("memory_mib", "memory_gib"),
    [(256, 1), (512, 1), (1023, 1), (1024, 1), (1025, 2), (1536, 2), (2048, 2)],
)
def test_a_begun_gb_counts_whole(memory_mib: int, memory_gib: int) -> None:
    assert size_quota(1, memory_mib) == {"vcpu": 1, "memory_gib": memory_gib}


@pytest.mark.parametrize("memory_mib", [256, 512])
@pytest.mark.usefixtures("scoped")
def test_the_smallest_vms_are_not_free(platform: Platform, actor: Actor, memory_mib: int) -> None:
    spec = Spec.objects.create(cluster=platform.cluster, vcpus=1, memory_mib=memory_mib)
    vm = make_vm(platform, actor, spec=spec)
    claims = QuotaClaim.objects.filter(resource_id=vm.pk).values_list("item", "amount")
    assert dict(claims) == {"vms": 1, "vcpu": 1, "memory_gib": 1, "disks": 1, "disk_gib": 40}
