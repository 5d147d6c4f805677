"""What operators read of placement: why each host would, or would not, take a VM."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from compute.actions import placement as groups
from compute.hosts import placement
from compute.models import VM, Host
from compute.states.hosts import HostState
from scloud.lib.errors import NoCapacity
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from tests.compute.factories import Platform, buy_vms
from tests.compute.hosts.test_reserve import set_up, small

__all__ = ["small"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


def test_the_explanation_is_what_placement_does(small: Platform, actor: Actor) -> None:
    locked, full = small.hosts
    Host.objects.filter(pk=locked.pk).update(state=HostState.LOCKED)
    buy_vms(small, actor, spec=small.specs[2])
    found = placement.explain(small.cluster, None, spec=small.specs[0])
    said = {one.candidate.host.name: one.reason for one in found.verdicts}
    assert said == {
        locked.name: "It is: Locked (no new VMs).",
        full.name: "4 of 4 vCPU are taken; 1 are needed.",
    }
    assert found.refused
    with pytest.raises(NoCapacity):
        buy_vms(small, actor)
    Host.objects.update(state=HostState.AVAILABLE)
    found = placement.explain(small.cluster, None, spec=small.specs[0])
    assert [(one.candidate.host.name, one.order) for one in found.verdicts] == [
        (locked.name, 1),
        (full.name, None),
    ]
    (vm,) = buy_vms(small, actor)
    assert vm.host == locked


def test_operators_read_why_not(small: Platform, actor: Actor, superuser: User) -> None:
    set_up(small, reserve_hosts=1)
    group = groups.create_placement_group(
        actor=actor, region=small.region, name="db", policy="spread"
    )
    buy_vms(small, actor, placement_group=group)
    client = Client()
    client.force_login(superuser)
    url = reverse("admin:compute_cluster_why_not", args=[small.cluster.pk])
    assert "Explain" in client.get(url).content.decode()
    asked = {"spec": str(small.specs[0].pk), "gpus": "0", "group": group.pk}
    page = client.get(url, asked).content.decode()
    assert "1 VMs of the placement group db are here" in page
    assert "It takes the VM." in page
    large = client.get(url, {"spec": str(small.specs[3].pk), "gpus": "0"}).content.decode()
    assert "It is refused: room is kept for failures." in large
    assert "It has 4 CPUs, and a VM of 8 vCPU needs as many." in large
    assert VM.objects.count() == 1
    assert client.get(reverse("admin:compute_cluster_why_not", args=["none"])).status_code in (
        302,
        404,
    )
