"""Every page of the compute console answers, with what it is about."""

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import VM
from tests.compute.factories import Platform


@pytest.mark.parametrize("name", ["vm-detail", "vm-disks", "vm-network", "vm-log", "vm-events"])
def test_the_tabs_of_a_vm_name_it(console: Client, vm: VM, name: str) -> None:
    response = console.get(reverse(name, args=[vm.pk]))
    assert response.status_code == 200
    assert f"<h1>{vm.name}</h1>" in response.content.decode()


@pytest.mark.parametrize("name", ["vm-list", "vm-create", "bin", "home"])
def test_the_pages_answer_with_a_vm_and_without(
    console: Client, platform: Platform, vm: VM, name: str
) -> None:
    assert console.get(reverse(name)).status_code == 200
