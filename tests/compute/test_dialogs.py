"""What every dialog has: the name of its object, what is so now, a way on where nothing fits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute.models import VM
from compute.verbs.disks import DISKS
from compute.verbs.vms import VMS
from network.actions.external_ips import bind_external_ip
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.verbs.catalogue import Verb
from tests.compute.console import HTMX, page, send
from tests.compute.factories import Platform, make_vm, settle
from tests.compute.things import Things
from tests.outside import buy_ips, make_segment

PASSWORD = "Correct.Horse8"


def asking(verbs: Any) -> list[Verb]:
    """Return the verbs with a dialog of their own for rows that are no waste."""
    return [
        verb
        for verb in verbs.values()
        if verb.dialog
        and verb.dialog.how == "dialog"
        and not verb.dialog.page
        and not verb.dialog.binned
    ]


def title_of(html: str) -> str:
    found = re.search(r'<h2 id="dialog-title">([^<]+)</h2>', html)
    assert found is not None, html[:400]
    return found[1]


@pytest.mark.parametrize("verb", asking(VMS.public), ids=lambda verb: verb.name)
def test_every_dialog_of_a_vm_names_it_in_its_title(console: Client, vm: VM, verb: Verb) -> None:
    assert verb.dialog is not None
    title = verb.dialog.title or verb.label
    assert title_of(page(console, verb.url_name, vm.pk)) == f"{title}: web"
    # Where it is a page of its own, too.
    alone = console.get(reverse(verb.url_name, args=[vm.pk])).content.decode()
    assert f"<title>{title}: web" in alone


@pytest.mark.parametrize("verb", asking(DISKS.public), ids=lambda verb: verb.name)
def test_every_dialog_of_a_disk_names_it(console: Client, things: Things, verb: Verb) -> None:
    title = title_of(page(console, verb.url_name, things.disk.pk))
    assert title.endswith(f": {things.disk.name}")


def test_a_batch_says_how_many_are_selected(
    console: Client, platform: Platform, actor: Actor
) -> None:
    ids = [make_vm(platform, actor).pk for _ in range(2)]
    html = page(console, "vm-batch-restart", query=f"?ids={ids[0]}&ids={ids[1]}")
    assert title_of(html) == "Restart: 2 selected"
    answer = send(console, "vm-batch-restart", ids=ids)
    assert title_of(answer.content.decode()) == "Restart: 2 selected"


@pytest.mark.parametrize(
    ("url_name", "status", "now"),
    [
        ("vm-modify", "stopped", ["1 vCPU, 2 GB", "Hourly"]),
        ("vm-hot-upgrade", "running", ["1 vCPU, 2 GB", "without a restart"]),
        ("vm-reinstall", "stopped", ["Image now", "Debian 12"]),
        ("vm-make-image", "stopped", ["System disk", "40 GB"]),
        ("vm-attach-disk", "running", ["Disks now", "40 GB"]),
        ("vm-reset-password", "running", ["Administrator", "root"]),
        ("vm-bind-eni", "running", ["Private IP", "10.0.0.2"]),
    ],
)
def test_a_dialog_shows_what_is_so_now(
    console: Client, platform: Platform, actor: Actor, url_name: str, status: str, now: list[str]
) -> None:
    vm = make_vm(platform, actor, status)
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(max_vcpus=8, max_memory_mib=16384)
    html = page(console, url_name, vm.pk)
    facts = html[html.index('<dl class="facts">') : html.index("</dl>")]
    for text in now:
        assert text in facts


def test_who_may_not_create_what_is_missing_is_not_sent_there(
    vm: VM, user: User, console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Create disk" in page(console, "vm-attach-disk", vm.pk)
    allows = Actor.allows
    monkeypatch.setattr(
        Actor, "allows", lambda self, right: right != "compute.create_disk" and allows(self, right)
    )
    html = page(console, "vm-attach-disk", vm.pk)
    assert "There is no unbound disk in this region." in html
    assert "Create disk" not in html


def test_without_another_size_there_is_nothing_to_press(
    console: Client, platform: Platform, vm: VM
) -> None:
    with scopes_disabled():
        for spec in platform.specs:
            spec.enabled = False
            spec.save()
    html = page(console, "vm-modify", settle(vm, "stopped").pk)
    assert "No other size is available." in html
    assert 'type="submit"' not in html


@pytest.mark.parametrize("again", [None, "", "Correct.Horse9"])
def test_a_password_is_typed_twice(console: Client, vm: VM, again: str | None) -> None:
    data = {} if again is None else {"password_again": again}
    answer = send(console, "vm-reset-password", vm.pk, password=PASSWORD, **data)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert 'aria-invalid="true"' in html
    assert PASSWORD not in html
    with scopes_disabled():
        assert not Job.objects.filter(kind="vm.reset_password").exists()


def test_the_same_password_twice_is_set(console: Client, vm: VM) -> None:
    data = {"password": PASSWORD, "password_again": PASSWORD}
    assert send(console, "vm-reset-password", vm.pk, **data).status_code == 204
    with scopes_disabled():
        assert Job.objects.filter(kind="vm.reset_password").exists()


def test_a_reinstallation_keeps_the_password_or_takes_one_that_was_typed_twice(
    console: Client, platform: Platform, vm: VM
) -> None:
    settle(vm, "stopped")
    image = {"image": platform.image.pk}
    wrong = send(console, "vm-reinstall", vm.pk, **image, password=PASSWORD)
    assert "The two passwords are not the same." in wrong.content.decode()
    assert send(console, "vm-reinstall", vm.pk, **image).status_code == 204


def test_deleting_asks_only_about_what_there_is(
    console: Client, platform: Platform, actor: Actor, tenant: Tenant
) -> None:
    vm = make_vm(platform, actor, name="web")
    html = page(console, "vm-delete", vm.pk)
    assert "delete_disks" not in html
    assert "delete_external_ips" not in html
    assert "delete_enis" not in html
    (address,) = buy_ips(actor, make_segment(platform.region))
    with scope(tenant=tenant):
        bind_external_ip(actor=actor, external_ip=address, target=vm)
    html = page(console, "vm-delete", vm.pk)
    assert "delete_external_ips" in html
    assert "delete_disks" not in html


def test_a_reader_sees_a_dialog_with_the_reason(vm: VM, user: User) -> None:
    User.objects.filter(pk=user.pk).update(role=Role.READONLY)
    browser = Client()
    browser.force_login(User.objects.get(pk=user.pk))
    assert "Your role does not include this." in page(browser, "vm-rename", vm.pk)


def toast_of(answer: Any) -> dict[str, Any]:
    (found,) = json.loads(answer.headers["HX-Trigger"])["toast"]
    assert isinstance(found, dict)
    return found


def test_deleting_from_the_list_stays_there_and_offers_to_undo(console: Client, vm: VM) -> None:
    here = {**HTMX, "HX-Current-URL": "http://testserver/vms/"}
    answer = console.post(reverse("vm-delete", args=[vm.pk]), headers=here)
    assert answer.status_code == 204
    undo = toast_of(answer)["undo"]
    assert undo == {"url": f"/bin/vm/{vm.pk}/restore/", "live": f"vm:{vm.pk}"}
    # Until it is in the bin the address is unknown; then it restores.
    assert console.post(undo["url"], headers=HTMX).status_code == 404
    settle(vm, "binned", binned_at=timezone.now())
    assert console.post(undo["url"], headers=HTMX).status_code == 204
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "restoring"


@pytest.mark.parametrize("tab", ["", "disks/", "network/"])
def test_deleting_from_a_page_of_the_vm_leads_to_the_list(
    console: Client, vm: VM, tab: str
) -> None:
    here = {**HTMX, "HX-Current-URL": f"http://testserver/vms/{vm.pk}/{tab}"}
    answer = console.post(reverse("vm-delete", args=[vm.pk]), headers=here)
    assert answer.headers["HX-Redirect"] == "/vms/"
    html = console.get("/vms/").content.decode()
    assert f'data-undo="/bin/vm/{vm.pk}/restore/"' in html
    assert f'data-undo-live="vm:{vm.pk}"' in html
    # Said once.
    assert 'data-undo="/' not in console.get("/vms/").content.decode()


def test_a_disk_leads_to_its_list_too(console: Client, things: Things) -> None:
    here = {**HTMX, "HX-Current-URL": f"http://testserver/disks/{things.disk.pk}/"}
    answer = console.post(reverse("disk-delete", args=[things.disk.pk]), headers=here)
    assert answer.headers["HX-Redirect"] == "/disks/"
    html = console.get("/disks/").content.decode()
    assert f'data-undo="/bin/disk/{things.disk.pk}/restore/"' in html


def test_what_failed_is_not_offered_for_undoing(console: Client, vm: VM) -> None:
    settle(vm, "failed")
    answer = send(console, "vm-delete", vm.pk)
    assert answer.status_code == 204
    assert "undo" not in toast_of(answer)


def test_other_verbs_cannot_be_undone(console: Client, vm: VM) -> None:
    assert "undo" not in toast_of(send(console, "vm-restart", vm.pk))
