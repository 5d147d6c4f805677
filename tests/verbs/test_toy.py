"""A new verb is declared, and is everywhere: nothing else in the product has to know it."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator

from compute.models import VM
from compute.rules.refusals import vm_refusal
from scloud.audit.models import Event, Operation
from scloud.jobs.models import Job
from scloud.rest.checks import mistakes
from scloud.tenancy.models import User
from scloud.verbs.catalogue import Verb
from tests.api.client import program_of
from tests.compute.box import Box
from tests.compute.console import HTMX
from tests.verbs.toy import URLS


def jobs(vm: VM) -> list[Job]:
    return list(Job.objects.filter(target_id=vm.pk, kind="vm.nudge"))


def test_the_rule_table_and_the_start_up_check(box: Box, nudge: Verb) -> None:
    assert mistakes() == []
    vm = box.vm()
    assert vm_refusal(vm, nudge.name) is None
    VM.objects.filter(pk=vm.pk).update(status="stopped")
    vm.refresh_from_db()
    assert vm_refusal(vm, nudge.name) == "Not possible while stopped; allowed when running."


def test_the_api_and_the_worker(box: Box, nudge: Verb, user: User) -> None:
    vm = box.vm()
    program = program_of(user)
    allowed = program.get(f"/vms/{vm.pk}").body["allowed_actions"]
    assert {"verb": "nudge_vm", "allowed": True, "reason": None} in allowed
    wrong = program.post(f"/vms/{vm.pk}/nudge", {"strength": 10})
    assert wrong.status == 400
    assert wrong.body["field"] == "strength"
    begun = program.post(f"/vms/{vm.pk}/nudge", {"strength": 7})
    assert begun.status == 202
    box.run()
    job = Job.objects.get(pk=begun.body["job_id"])
    assert (job.status, job.result["strength"]) == ("succeeded", 7)
    assert Event.objects.filter(resource_id=vm.pk, kind="vm.nudged").exists()
    assert Operation.objects.filter(verb="compute.nudge_vm", succeeded=True).count() == 1


def test_the_schema(nudge: Verb) -> None:
    make: Any = SchemaGenerator
    document = make(urlconf=URLS).get_schema(request=None, public=True)
    operation = document["paths"]["/api/v1/vms/{id}/nudge"]["post"]
    assert operation["tags"] == ["VMs"]
    assert operation["description"] == "Nudge a running VM."
    sent = operation["requestBody"]["content"]["application/json"]
    assert sent["examples"]["Hard"]["value"] == {"strength": 9}
    assert "202" in operation["responses"]


def test_the_menu_and_the_dialog(box: Box, nudge: Verb, console: Client) -> None:
    vm = box.vm()
    url = f"/vms/{vm.pk}/nudge/"
    assert reverse(nudge.url_name, args=[vm.pk]) == url
    assert url in console.get(reverse("vm-detail", args=[vm.pk])).content.decode()
    shown = console.get(url, headers=HTMX).content.decode()
    assert "The guest notices." in shown
    assert 'name="strength"' in shown
    answer = console.post(url, {"strength": "3"}, headers=HTMX)
    assert answer.status_code == 204
    assert f"{vm.name} is being nudged." in answer.headers["HX-Trigger"]
    assert [job.payload["strength"] for job in jobs(vm)] == [3]
    # A second one is refused, and the dialog says so beforehand.
    assert "The VM is busy" in console.get(url, headers=HTMX).content.decode()
    assert console.post(url, {"strength": "3"}, headers=HTMX).status_code == 422


def test_the_batch(box: Box, nudge: Verb, console: Client, user: User) -> None:
    vm, other = box.vm(name="one"), box.vm(name="two")
    url = "/vms/batch/nudge/"
    assert url in console.get(reverse("vm-list")).content.decode()
    question = console.get(url, {"ids": [vm.pk]}, headers=HTMX).content.decode()
    assert "The chosen VMs are nudged." in question
    done = console.post(url, {"ids": [vm.pk], "strength": "2"}, headers=HTMX)
    assert done.status_code == 200
    assert len(jobs(vm)) == 1
    rows = program_of(user).post("/vms/batch", {"verb": "nudge_vm", "ids": [vm.pk, other.pk]})
    assert rows.status == 200
    assert [row["error"] and row["error"]["code"] for row in rows.body] == ["vm_state", None]
    assert rows.body[1]["job_id"] == jobs(other)[0].pk


def test_the_button_of_the_operators(box: Box, nudge: Verb) -> None:
    vm = box.vm()
    operator = Client()
    operator.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    url = reverse("admin:compute_vm_do", args=[vm.pk, "nudge_vm"])
    page = operator.get(reverse("admin:compute_vm_change", args=[vm.pk])).content.decode()
    assert url in page
    assert "Its tenant may notice." in operator.get(url).content.decode()
    assert operator.post(url).status_code == 302
    assert len(jobs(vm)) == 1
    entry = Operation.objects.get(verb="compute.nudge_vm")
    assert entry.via == "admin"


def test_without_the_declaration_there_is_nothing(box: Box, console: Client, user: User) -> None:
    vm = box.vm()
    assert console.get(f"/vms/{vm.pk}/nudge/", headers=HTMX).status_code == 404
    assert program_of(user).post(f"/vms/{vm.pk}/nudge", {}).status == 404
