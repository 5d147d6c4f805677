"""The verbs of a VM in the console: the table decides, foreigners see nothing."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from compute.models import VM
from compute.rules.refusals import vm_refusal
from compute.states.vms import VmStatus, VmTask
from compute.verbs.vms import VM_RULES
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from scloud.verbs.catalogue import Dialog, Verb
from tests.compute.factories import PASSWORD, Platform, make_vm, settle

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
WITH_VIEW = [verb for verb in VM_RULES.values() if verb.dialog and not verb.dialog.page]


def dialog_of(verb: Verb) -> Dialog:
    assert verb.dialog is not None
    return verb.dialog


STATES = [
    (VmStatus.RUNNING, ""),
    (VmStatus.STOPPED, ""),
    (VmStatus.EXPIRED, ""),
    (VmStatus.FAILED, ""),
    (VmStatus.RUNNING, VmTask.RESTARTING),
    (VmStatus.STOPPED, VmTask.STARTING),
]


def form_of(verb: Verb, vm: VM, platform: Platform) -> dict[str, Any]:
    """What a person would type into the verb's dialog."""
    return {
        "rename_vm": {"name": "other", "remark": "", "tags": "a, b=c"},
        "protect_vm": {"protected": "on"},
        "reset_password": {"password": PASSWORD, "password_again": PASSWORD},
        "make_image": {"name": "golden", "remark": ""},
        "reinstall_vm": {"image": platform.image.pk, "password": ""},
        "change_security_groups": {"internal": "", "external": ""},
        "change_placement_group": {"group": ""},
        "change_alarm_template": {"template": ""},
    }.get(verb.name, {})


@pytest.mark.parametrize(("status", "task"), STATES, ids=lambda value: str(value) or "idle")
def test_every_verb_is_done_or_refused_as_the_table_says(
    console: Client, platform: Platform, actor: Actor, status: VmStatus, task: VmTask
) -> None:
    # With a price, or with something to choose: test_every_verb_over_http.py tries those.
    elsewhere = {
        "renew_vm",
        "modify_vm",
        "hot_upgrade_vm",
        "attach_disk",
        "detach_disk",
        "bind_external_ip",
        "unbind_external_ip",
        "bind_eni",
        "unbind_eni",
        "change_private_ip",
        "update_machine_type",
    }
    vm = make_vm(platform, actor, status, name="subject", cash="100")
    if task:
        columns = {"task": task, "task_deadline": vm.created_at}
        with scope(tenant=actor.tenant):
            VM.objects.filter(pk=vm.pk).update(**columns)
    wrong = []
    for verb in WITH_VIEW:
        if dialog_of(verb).binned or verb.name in elsewhere:
            continue
        mark = transaction.savepoint()
        with scope(tenant=actor.tenant):
            vm = VM.objects.get(pk=vm.pk)
            allowed = vm_refusal(vm, verb.name) is None
        url = reverse(verb.url_name, args=[vm.pk])
        response = console.post(url, form_of(verb, vm, platform), **HTMX)
        if (response.status_code in (200, 204)) != allowed:
            wrong.append((verb.name, response.status_code))
        transaction.savepoint_rollback(mark)
    assert wrong == []


def test_a_foreign_vm_does_not_exist(
    console: Client, platform: Platform, other_tenant: Tenant, make_user: Any
) -> None:
    stranger = make_user(other_tenant)
    theirs = Actor(tenant=other_tenant, user=stranger, role=stranger.role, via="console")
    binned, running = (make_vm(platform, theirs, status) for status in ("binned", "running"))
    wrong = []
    for verb in WITH_VIEW:
        vm = binned if dialog_of(verb).binned else running
        url = reverse(verb.url_name, args=[vm.pk])
        answers = [console.post(url, {"typed_name": vm.name}, **HTMX).status_code]
        if dialog_of(verb).how != "post":
            answers.append(console.get(url, **HTMX).status_code)
        if set(answers) != {404}:
            wrong.append((verb.name, answers))
    assert wrong == []


def test_asking_changes_nothing(console: Client, platform: Platform, actor: Actor) -> None:
    binned, stopped = (make_vm(platform, actor, status) for status in ("binned", "stopped"))
    wrong = []
    for verb in WITH_VIEW:
        vm = binned if dialog_of(verb).binned else stopped
        answer = console.get(reverse(verb.url_name, args=[vm.pk]), **HTMX)
        before = (vm.status, vm.task, vm.name)
        vm.refresh_from_db()
        expected = 405 if dialog_of(verb).how == "post" else 200
        if answer.status_code != expected or (vm.status, vm.task, vm.name) != before:
            wrong.append((verb.name, answer.status_code, vm.status, vm.task, vm.name))
    assert wrong == []


def test_a_new_size_is_charged_as_it_was_shown(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, "stopped", method="month")
    url = reverse("vm-modify", args=[vm.pk])
    price = console.get(url, {"spec": platform.specs[1].pk}, **HTMX).content.decode()
    token = price.split('name="quote_token" value="')[1].split('"')[0]
    done = console.post(url, {"spec": platform.specs[1].pk, "quote_token": token}, **HTMX)
    assert done.status_code == 204
    vm.refresh_from_db()
    assert (vm.vcpus, vm.task) == (2, "modifying")


def test_a_renewal_without_a_fresh_price_is_refused(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, "running", method="month")
    url = reverse("vm-renew", args=[vm.pk])
    shown = console.get(url, **HTMX).content.decode()
    token = shown.split('name="quote_token" value="')[1].split('"')[0]
    changed = console.post(url, {"periods": "2", "quote_token": token}, **HTMX)
    assert changed.status_code == 422
    assert "It now costs" in changed.content.decode()
    assert console.post(url, {"periods": "1", "quote_token": token}, **HTMX).status_code == 204


def test_a_password_that_is_reset_is_never_sent_back(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor)
    weak = "weakweak-weak"
    response = console.post(reverse("vm-reset-password", args=[vm.pk]), {"password": weak}, **HTMX)
    assert response.status_code == 422
    assert weak not in response.content.decode()


@pytest.mark.parametrize("url", ["vm-delete", "vm-batch-delete"])
@pytest.mark.parametrize("along", [True, False])
def test_data_disks_go_along_only_where_asked(
    console: Client, platform: Platform, actor: Actor, url: str, along: bool
) -> None:
    vm = make_vm(platform, actor, data_disk_type=platform.disk_type, data_disk_gib=10)
    batch = "batch" in url
    address = reverse(url) if batch else reverse(url, args=[vm.pk])
    ids = {"ids": [vm.pk]} if batch else {}
    assert 'name="delete_disks"' in console.get(address, ids, **HTMX).content.decode()
    answer = console.post(address, {**ids, **({"delete_disks": "on"} if along else {})}, **HTMX)
    assert answer.status_code in (200, 204)
    with scope(tenant=actor.tenant):
        (disk,) = vm.disks.filter(is_system=False)
        job = Job.objects.get(kind="vm.delete")
    assert job.payload["disks"] == ([disk.pk] if along else [])


def test_vnc_information_is_shown_once(console: Client, platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor)
    html = console.post(reverse("vm-vnc-information", args=[vm.pk]), **HTMX).content.decode()
    assert "Shown only once." in html
    assert vm.pk in html


def test_the_bin_restores_and_destroys_by_name(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="gone")
    vm = settle(vm, "binned", binned_at=vm.created_at)
    page = console.get(reverse("bin")).content.decode()
    assert vm.pk in page
    destroy = reverse("bin-destroy", args=["vm", vm.pk])
    assert console.post(destroy, {"typed_name": "other"}, **HTMX).status_code == 422
    vm.refresh_from_db()
    assert vm.task == ""
    assert console.post(reverse("bin-restore", args=["vm", vm.pk]), **HTMX).status_code == 204
    vm.refresh_from_db()
    assert vm.task == "restoring"
    settle(vm, "binned", binned_at=vm.created_at)
    assert console.post(destroy, {"typed_name": "gone"}, **HTMX).status_code == 204
    vm.refresh_from_db()
    assert vm.task == "destroying"


def test_a_batch_in_the_bin_needs_the_number_typed(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vms = [settle(make_vm(platform, actor, name=f"g{n}"), "binned") for n in range(2)]
    url = reverse("bin-batch-destroy", args=["vm"])
    ids = [vm.pk for vm in vms]
    assert console.post(url, {"ids": ids, "typed_count": "1"}, **HTMX).status_code == 422
    done = console.post(url, {"ids": ids, "typed_count": "2"}, **HTMX).content.decode()
    assert "2 of 2 accepted." in done


def test_foreign_and_unknown_bins_do_not_exist(
    console: Client, platform: Platform, other_tenant: Tenant, make_user: Any
) -> None:
    stranger = make_user(other_tenant)
    vm = make_vm(
        platform,
        Actor(tenant=other_tenant, user=stranger, role=stranger.role, via="console"),
        "binned",
    )
    assert console.get(reverse("bin-kind", args=["nonsense"])).status_code == 404
    for verb in ("restore", "destroy", "renew"):
        url = reverse(f"bin-{verb}", args=["vm", vm.pk])
        assert console.get(url, **HTMX).status_code == 404
        assert console.post(url, {"typed_name": vm.name}, **HTMX).status_code == 404
