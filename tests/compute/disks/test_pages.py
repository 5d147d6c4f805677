"""The pages and dialogs of disks."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from compute.models import Disk, SnapshotSchedule
from compute.states.disks import Damage
from compute.transitions.disks import mark_damaged
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.console import page, send, token_in
from tests.compute.things import Things, end_jobs, fresh


def test_the_disk_list_shows_what_the_specification_names(console: Client, things: Things) -> None:
    html = page(console, "disk-list")
    for part in ("data", things.disk.pk, "Unbound", "Data disk", "SSD", "20 GB", "Hourly"):
        assert part in html
    for part in (things.system.pk, "System disk", "web", "vda", "With the VM"):
        assert part in html
    assert things.system.pk not in page(console, "disk-list", query="?use=data")
    assert things.disk.pk not in page(console, "disk-list", query="?status=bound")
    export = console.get(reverse("disk-list") + "?export=xlsx")
    assert export.status_code == 200


def test_a_disk_is_bought_at_the_price_that_was_shown(console: Client, things: Things) -> None:
    html = page(console, "disk-create")
    assert "Due now" in html
    typed = {"name": "logs", "disk_type": "ssd", "size_gib": "100", "duration": "month:2"}
    query = "?quote=1&" + "&".join(f"{key}={value}" for key, value in typed.items())
    price = page(console, "disk-create", query=query)
    assert "¥70" in price
    refused = page(console, "disk-create", query=query.replace("=100", "=1"))
    assert "The size must be" in refused
    answer = send(console, "disk-create", **typed, quote_token=token_in(price))
    assert answer.status_code < 300, answer.content
    with scopes_disabled():
        assert Disk.objects.get(name="logs").size_gib == 100


def test_a_disk_grows_and_the_dialog_says_how_the_file_system_does(
    console: Client, things: Things
) -> None:
    html = page(console, "disk-expand", things.disk.pk)
    assert "resize2fs" in html
    answer = send(console, "disk-expand", things.disk.pk, size_gib="30", quote_token=token_in(html))
    assert answer.status_code == 204, answer.content
    assert fresh(things.disk).task == "expanding"
    assert "growpart" in page(console, "disk-expand", things.system.pk)


def test_a_dialog_without_a_choice_says_what_is_missing(
    console: Client, things: Things, tenant: Tenant
) -> None:
    html = page(console, "vm-detach-disk", things.vm.pk)
    assert "The VM has no data disks." in html
    assert 'type="submit"' not in html
    assert send(console, "disk-delete", things.disk.pk).status_code == 204
    html = page(console, "vm-attach-disk", things.vm.pk)
    assert "There is no unbound disk in this region." in html
    assert f'hx-get="{reverse("disk-create")}"' in html
    assert 'type="submit"' not in html


def test_attach_from_the_disk_and_from_the_vm(
    console: Client, things: Things, tenant: Tenant
) -> None:
    assert things.vm.pk in page(console, "disk-attach", things.disk.pk)
    assert things.disk.pk in page(console, "vm-attach-disk", things.vm.pk)
    answer = send(console, "vm-attach-disk", things.vm.pk, disk=things.disk.pk)
    assert answer.status_code == 204, answer.content
    assert fresh(things.disk).task == "attaching"
    refused = send(console, "disk-detach", things.disk.pk)
    assert refused.status_code == 422
    assert "busy" in refused.content.decode()


def test_clone_delete_rename_schedule(console: Client, things: Things, tenant: Tenant) -> None:
    html = page(console, "disk-clone", things.disk.pk)
    data = {"name": "copy", "disk_type": "ssd", "size_gib": "20", "duration": "hour:1"}
    answer = send(console, "disk-clone", things.disk.pk, **data, quote_token=token_in(html))
    assert answer.status_code == 204, answer.content
    end_jobs(tenant)
    send(console, "disk-rename", things.disk.pk, name="db", remark="", tags="a, b")
    assert fresh(things.disk).tags == ["a", "b"]
    schedule = {
        "hours": "3, 15",
        "weekdays": ["0", "6"],
        "time_zone": "UTC",
        "keep_count": "2",
        "keep_days": "",
        "state": "on",
    }
    assert "Remove the schedule" not in page(console, "disk-schedule", things.disk.pk)
    early = send(console, "disk-schedule", things.disk.pk, **{**schedule, "state": "removed"})
    assert early.status_code == 422
    assert send(console, "disk-schedule", things.disk.pk, **schedule).status_code == 204
    html = page(console, "disk-schedule", things.disk.pk)
    assert "3, 15" in html
    assert "Remove the schedule" in html
    for state, rows in (("paused", [False]), ("removed", [])):
        answer = send(console, "disk-schedule", things.disk.pk, **{**schedule, "state": state})
        assert answer.status_code == 204, answer.content
        with scope(tenant=tenant):
            found = SnapshotSchedule.objects.filter(disk=things.disk)
            assert list(found.values_list("enabled", flat=True)) == rows
    html = page(console, "disk-delete", things.disk.pk)
    assert "erased" in html
    assert send(console, "disk-delete", things.disk.pk).status_code == 204
    assert fresh(things.disk).task == "deleting"


def test_a_disk_has_a_page_with_its_snapshots(console: Client, things: Things) -> None:
    html = page(console, "disk-detail", things.disk.pk)
    for part in ("data", things.disk.pk, "Unbound", "20 GB", "before", things.snapshot.pk):
        assert part in html
    assert "Attach" in html
    system = page(console, "disk-detail", things.system.pk)
    assert f"/dev/disk/by-id/virtio-{things.system.pk}" in system
    assert reverse("vm-disks", args=[things.vm.pk]) in system
    assert things.snapshot.pk not in system
    head = page(console, "disk-detail", things.disk.pk, query="?part=head")
    assert "<html" not in head
    assert 'id="head"' in head
    to = console.get(reverse("snapshot-detail", args=[things.snapshot.pk]))
    assert (to.status_code, to["Location"].split("?")[0]) == (
        302,
        reverse("disk-detail", args=[things.disk.pk]),
    )
    assert send(console, "snapshot-rename", things.snapshot.pk, name="kept").status_code == 204
    assert fresh(things.snapshot).name == "kept"


def test_a_damaged_disk_is_shown_found_and_repaired(
    console: Client, things: Things, tenant: Tenant
) -> None:
    assert "Damaged" not in page(console, "disk-detail", things.disk.pk)
    with scope(tenant=tenant):
        mark_damaged(things.disk.pk, Damage.ERRORS, errors=4)
    for html in (
        page(console, "disk-detail", things.disk.pk),
        page(console, "disk-list", query="?status=damaged"),
    ):
        assert "Damaged" in html
        assert things.disk.pk in html
        assert "A check found errors in its data: 4." in html
    assert things.disk.pk not in page(console, "disk-list", query="?status=unbound")
    assert things.system.pk not in page(console, "disk-list", query="?status=damaged")
    dialog = page(console, "disk-repair", things.disk.pk)
    for part in ("may be lost", "No snapshot can", "Correct all errors", "accept_loss"):
        assert part in dialog
    refused = send(console, "disk-repair", things.disk.pk, extent="all")
    assert refused.status_code == 422
    assert "may lose data" in refused.content.decode()
    answer = send(console, "disk-repair", things.disk.pk, extent="all", accept_loss="on")
    assert answer.status_code == 204, answer.content
    assert fresh(things.disk).task == "repairing"


def test_disks_are_checked_from_their_page_and_from_the_list(
    console: Client, things: Things, tenant: Tenant
) -> None:
    assert "Nothing is changed" in page(console, "disk-check", things.disk.pk)
    assert send(console, "disk-check", things.disk.pk).status_code == 204
    assert fresh(things.disk).task == "checking"
    end_jobs(tenant)
    ids = [things.disk.pk, things.system.pk]
    answer = console.post(reverse("disk-batch-check"), {"ids": ids}, headers={"hx-request": "true"})
    assert answer.status_code < 300, answer.content
    assert [fresh(one).task for one in (things.disk, things.system)] == ["checking"] * 2


def test_operators_see_damage_and_check_the_disk(things: Things, tenant: Tenant) -> None:
    operator = Client()
    operator.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    with scope(tenant=tenant):
        mark_damaged(things.disk.pk, Damage.SUSPECTED)
    listed = reverse("admin:compute_disk_changelist") + "?damage__exact=suspected"
    html = operator.get(listed).content.decode()
    assert things.disk.pk in html
    assert things.system.pk not in html
    html = operator.get(
        reverse("admin:compute_disk_change", args=[things.disk.pk])
    ).content.decode()
    assert "Its data could not be read." in html
    # The consent to a repair is its owner's.
    assert "repair_disk" not in html
    operator.post(reverse("admin:compute_disk_do", args=[things.disk.pk, "check_disk"]))
    assert fresh(things.disk).task == "checking"
