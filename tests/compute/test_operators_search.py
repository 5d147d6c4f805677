"""The administration's search goes to what has an id, an address or a name; verbs for many rows ask
first and say of each row what became of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.test import Client
from django.urls import reverse

from compute.models import VM
from network.models import Nic, PrivateAddress
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.tenancy import admintools
from scloud.tenancy.admintools import ButtonAdmin
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "a long secret 9"))
    return client


def found(client: Client, text: str) -> str:
    """Return where a search leads; empty where it shows a page."""
    answer = client.get(reverse("admin:search"), {"q": text})
    return answer.headers["Location"] if answer.status_code == 302 else ""


def test_an_id_an_address_and_a_name_lead_to_the_row(
    root: Client, vm: VM, platform: Platform, tenant: Tenant, user: User
) -> None:
    page = reverse("admin:compute_vm_change", args=[vm.pk])
    with scopes_disabled():
        nic = Nic.objects.filter(vm_id=vm.pk).first()
        assert nic is not None
        address = PrivateAddress.objects.filter(nic=nic).first()
        assert address is not None
        disk = vm.disks.first()
        job = Job.objects.first()
    assert disk is not None
    assert job is not None
    for text in (vm.pk, str(vm.uuid), f" {vm.pk} ", vm.name, nic.mac.upper(), address.address):
        assert found(root, text) == page, text
    host = platform.hosts[0]
    assert found(root, host.name) == reverse("admin:compute_host_change", args=[host.pk])
    assert found(root, user.email.upper()) == reverse("admin:tenancy_user_change", args=[user.pk])
    assert found(root, tenant.name) == reverse("admin:tenancy_tenant_change", args=[tenant.pk])
    assert found(root, disk.pk) == reverse("admin:compute_disk_change", args=[disk.pk])
    assert found(root, job.pk) == reverse("admin:jobs_job_change", args=[job.pk])
    assert found(root, nic.pk) == reverse("admin:network_nic_change", args=[nic.pk])


def test_several_are_shown_and_nothing_is_said(root: Client, vm: VM, platform: Platform) -> None:
    host = platform.hosts[0]
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(name=host.name)
    html = root.get(reverse("admin:search"), {"q": host.name}).content.decode()
    for name, row in (("compute_vm", vm), ("compute_host", host)):
        assert reverse(f"admin:{name}_change", args=[row.pk]) in html
    for text in ("nobody@nowhere.test", "10.255.255.255", "%", "a" * 500):
        answer = root.get(reverse("admin:search"), {"q": text})
        assert answer.status_code == 200, text
        assert "compute/vm/" not in answer.content.decode().split('id="content"')[1]
    assert "Enter an ID" in root.get(reverse("admin:search")).content.decode()


def test_only_what_the_role_may_see_is_found(vm: VM, platform: Platform) -> None:
    finance = Client()
    finance.force_login(
        User.objects.create_user("f@platform.test", "x", is_staff=True, staff_role="finance")
    )
    assert found(finance, vm.pk) == reverse("admin:compute_vm_change", args=[vm.pk])
    host = platform.hosts[0]
    html = finance.get(reverse("admin:search"), {"q": host.name}).content.decode()
    assert reverse("admin:compute_host_change", args=[host.pk]) not in html


def send(client: Client, action: str, rows: list[Any], **more: str) -> str:
    url = reverse("admin:compute_vm_changelist")
    sent = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(url, sent).content.decode()


def test_verbs_for_many_vms_ask_first_and_tell_of_each(
    root: Client, vm: VM, tenant: Tenant
) -> None:
    with scopes_disabled():
        stopped = VM.objects.get(pk=vm.pk)
        stopped.pk, stopped.uuid = "vm-stopped00", uuid4()
        stopped.name, stopped.status = "web-stopped", "stopped"
        stopped.save(force_insert=True)
    rows = [vm, stopped]
    page = send(root, "shut_down_vm", rows)
    assert "Possible now for 1 of 2" in page
    assert "web-stopped" in page
    vm.refresh_from_db()
    assert vm.task == ""  # asking changes nothing
    done = send(root, "shut_down_vm", rows, confirmed="yes")
    assert "1 of 2 accepted" in done
    assert 'class="scloud-bad"' in done
    vm.refresh_from_db()
    assert vm.task == "stopping"
    with scopes_disabled():
        entries = Operation.objects.filter(verb="compute.shut_down_vm", via="admin")
        assert sorted(entries.values_list("succeeded", flat=True)) == [False, True]


def test_no_verb_for_chosen_vms_acts_at_once(root: Client, vm: VM) -> None:
    page = site._registry[VM]
    assert isinstance(page, ButtonAdmin)
    names = [button.name for button in page.get_buttons() if button.batch]
    assert {"start_vm", "resume_vm", "shut_down_vm"} <= set(names)
    for name in names:
        assert "Possible now for" in send(root, name, [vm])
    with scopes_disabled():
        assert not Operation.objects.filter(via="admin").exists()


def test_many_vms_are_migrated_to_the_best_hosts(root: Client, vm: VM) -> None:
    assert "best host of its cluster" in send(root, "migrate", [vm])
    vm.refresh_from_db()
    assert vm.task == ""
    assert "1 of 1 accepted" in send(root, "migrate", [vm], confirmed="yes")
    vm.refresh_from_db()
    assert vm.task == "migrating"
    # It is one verb on the page of the VM: the one that asks for the host.
    html = root.get(reverse("admin:compute_vm_change", args=[vm.pk])).content.decode()
    assert html.count("Live migrate") == 1


def test_one_request_takes_so_many_rows(
    root: Client, vm: VM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admintools, "MOST_ROWS", 0)
    url = reverse("admin:compute_vm_changelist")
    sent = {"action": "shut_down_vm", "_selected_action": [vm.pk], "confirmed": "yes"}
    assert "Choose at most 0 at once" in root.post(url, sent, follow=True).content.decode()
    vm.refresh_from_db()
    assert vm.task == ""
