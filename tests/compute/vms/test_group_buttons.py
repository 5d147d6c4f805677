"""The buttons beside the security groups in a VM's network tab change one group each."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import VM
from network.actions import create_security_group
from network.models import SecurityGroup
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled

HTMX = {"HX-Request": "true"}


@pytest.fixture
def groups(actor: Actor, vm: VM) -> tuple[SecurityGroup, SecurityGroup]:
    with scope(tenant=vm.tenant):
        inside, outside = (
            create_security_group(actor=actor, region=vm.region, name=name)
            for name in ("inside", "outside")
        )
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(
            internal_security_group=inside.pk, external_security_group=outside.pk
        )
    return inside, outside


def now(vm: VM) -> tuple[str, str]:
    with scopes_disabled():
        vm.refresh_from_db()
    return vm.internal_security_group, vm.external_security_group


@pytest.mark.parametrize("side", ["internal", "external"])
def test_each_button_changes_its_own_group_only(
    console: Client, vm: VM, groups: tuple[SecurityGroup, SecurityGroup], side: str
) -> None:
    inside, outside = groups
    page = console.get(reverse("vm-network", args=[vm.pk])).content.decode()
    url = f"{reverse('vm-change-security-groups', args=[vm.pk])}?side={side}"
    assert f'hx-get="{url}"' in page
    assert f"Change the {side} security group" in page
    other = "external" if side == "internal" else "internal"
    form = console.get(url, headers=HTMX).content.decode()
    assert f'name="{side}"' in form
    assert f'name="{other}"' not in form
    chosen = outside if side == "internal" else inside
    assert console.post(url, {side: chosen.pk}, headers=HTMX).status_code == 204
    assert now(vm) == (chosen.pk, chosen.pk)
    # None: the NIC is not filtered from now on.
    assert console.post(url, {side: ""}, headers=HTMX).status_code == 204
    assert now(vm) == (("", outside.pk) if side == "internal" else (inside.pk, ""))
    said = console.get(reverse("vm-network", args=[vm.pk])).content.decode()
    assert "None: not filtered" in said


def test_the_dialog_of_the_menu_asks_for_both(
    console: Client, vm: VM, groups: tuple[SecurityGroup, SecurityGroup]
) -> None:
    url = reverse("vm-change-security-groups", args=[vm.pk])
    for asked in (url, f"{url}?side=sideways"):
        form = console.get(asked, headers=HTMX).content.decode()
        assert 'name="internal"' in form
        assert 'name="external"' in form
