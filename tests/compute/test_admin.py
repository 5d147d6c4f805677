"""The operators' console: every page answers, buttons call the actions, tenants stay out."""

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from compute.models import VM, Drift, Host
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.tenancy.models import PlatformSettings, Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform


@pytest.fixture
def operator(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def test_every_list_add_and_change_page_answers(operator: Client, vm: VM) -> None:
    Drift.objects.create(kind="missing", place="h1", resource_id=vm.pk, detail="not there")
    PlatformSettings.objects.get_or_create(pk=1)
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        listed = operator.get(reverse(f"{name}_changelist"), follow=True)
        assert listed.status_code == 200, name
        assert operator.get(reverse(f"{name}_add")).status_code in (200, 403), name
        with scopes_disabled():
            row = model._default_manager.first()
        if row is not None:
            url = reverse(f"{name}_change", args=[row.pk])
            assert operator.get(url).status_code == 200, name


def test_the_front_page_shows_capacity_jobs_and_drift(operator: Client, vm: VM) -> None:
    html = operator.get(reverse("admin:index")).content.decode()
    assert "x86 standard" in html
    assert "1 / 128" in html  # vCPU of two hosts with 16 CPUs, overcommitted four times
    assert "Open drift" in html


def test_the_capacity_page_shows_each_host(operator: Client, vm: VM, platform: Platform) -> None:
    html = operator.get(reverse("admin:compute_host_capacity")).content.decode()
    for host in platform.hosts:
        assert host.name in html


def test_tenants_users_and_strangers_stay_out(console: Client, vm: VM) -> None:
    for client in (console, Client()):
        response = client.get(reverse("admin:compute_vm_changelist"))
        assert response.status_code == 302
        url = reverse("admin:compute_vm_do", args=[vm.pk, "shut_down_vm"])
        assert client.post(url).status_code == 302
    vm.refresh_from_db()
    assert vm.task == ""


def test_a_host_is_locked_and_unlocked_once_each(operator: Client, platform: Platform) -> None:
    host = platform.hosts[0]
    lock = reverse("admin:compute_host_do", args=[host.pk, "lock"])
    operator.post(lock)
    host.refresh_from_db()
    assert host.state == "locked"
    assert "is Locked" in operator.post(lock, follow=True).content.decode()
    operator.post(reverse("admin:compute_host_do", args=[host.pk, "unlock"]))
    host.refresh_from_db()
    assert host.state == "available"
    with scopes_disabled():
        verbs = list(Operation.objects.order_by("id").values_list("verb", "succeeded"))
    assert ("platform.lock_host", True) in verbs
    assert ("platform.lock_host", False) in verbs


def test_a_vm_button_calls_the_same_action(operator: Client, vm: VM, tenant: Tenant) -> None:
    url = reverse("admin:compute_vm_do", args=[vm.pk, "shut_down_vm"])
    assert "operation log" in operator.get(url).content.decode()
    vm.refresh_from_db()
    assert vm.task == ""  # asking changes nothing
    operator.post(url)
    vm.refresh_from_db()
    assert vm.task == "stopping"
    with scopes_disabled():
        entry = Operation.objects.filter(verb="compute.shut_down_vm").latest("id")
    assert (entry.via, entry.tenant_id) == ("admin", tenant.pk)


def test_a_refused_button_says_why(operator: Client, vm: VM) -> None:
    url = reverse("admin:compute_vm_do", args=[vm.pk, "start_vm"])
    html = operator.post(url, follow=True).content.decode()
    assert "Not possible while running" in html


def test_a_live_migration_goes_to_the_chosen_host(
    operator: Client, vm: VM, platform: Platform
) -> None:
    other = next(host for host in platform.hosts if host.pk != vm.host_id)
    url = reverse("admin:compute_vm_migrate", args=[vm.pk])
    assert other.name in operator.get(url).content.decode()
    operator.post(url, {"host": other.pk})
    vm.refresh_from_db()
    assert vm.task == "migrating"


def test_a_cancelled_job_frees_its_vm_and_is_not_run_again(operator: Client, vm: VM) -> None:
    operator.post(reverse("admin:compute_vm_do", args=[vm.pk, "shut_down_vm"]))
    with scopes_disabled():
        job = Job.objects.filter(target_id=vm.pk, kind="vm.shut_down").get()
    operator.post(reverse("admin:jobs_job_do", args=[job.pk, "cancel"]))
    job.refresh_from_db()
    vm.refresh_from_db()
    assert (job.is_active, job.error_code, vm.task) == (False, "cancelled", "")
    retry = reverse("admin:jobs_job_do", args=[job.pk, "retry"])
    assert "was released" in operator.post(retry, follow=True).content.decode()


def test_a_failed_job_that_took_nothing_is_retried(operator: Client, vm: VM) -> None:
    with scopes_disabled():
        job = Job.objects.filter(kind__startswith="network.").first()
        assert job is not None
        Job.objects.filter(pk=job.pk).update(status="failed", error_code="host_error")
    page, reason = reverse("admin:jobs_job_change", args=[job.pk]), "Only a failed or cancelled job"
    assert reason not in operator.get(page).content.decode()
    operator.post(reverse("admin:jobs_job_do", args=[job.pk, "retry"]))
    job.refresh_from_db()
    assert job.status == "queued"
    assert reason in operator.get(page).content.decode()


def test_life_cycle_columns_cannot_be_posted(operator: Client, vm: VM, platform: Platform) -> None:
    host = platform.hosts[0]
    operator.post(
        reverse("admin:compute_host_change", args=[host.pk]),
        {
            "name": "renamed",
            "cluster": host.cluster_id,
            "uri": "qemu+tcp://192.0.2.9/system",
            "address": host.address,
            "reserved_memory_mib": "1024",
            "state": "down",
            "vcpus": "9999",
        },
    )
    host = Host.objects.get(pk=host.pk)
    assert (host.name, host.state, host.vcpus) == ("renamed", "available", 16)
    forged = operator.post(reverse("admin:compute_vm_change", args=[vm.pk]), {"status": "stopped"})
    assert forged.status_code == 403


def test_a_user_is_made_with_a_hashed_password(operator: Client, tenant: Tenant) -> None:
    url = reverse("admin:tenancy_user_add")
    data = {
        "email": "New@Acme.test",
        "tenant": tenant.pk,
        "role": "operator",
        "is_active": "on",
        "time_zone": "UTC",
    }
    refused = operator.post(url, {**data, "new_password": "short"})
    assert refused.status_code == 200
    assert not User.objects.filter(email="new@acme.test").exists()
    operator.post(url, {**data, "new_password": "a fine long secret 7"})
    user = User.objects.get(email="new@acme.test")
    assert user.check_password("a fine long secret 7")
    assert not user.is_staff
