"""The pages of disks, snapshots and images, and the dialogs of VM verbs with input."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from compute.models import Disk, Image, Snapshot, SnapshotSchedule
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api_storage.conftest import Things, buy_disk, end_jobs, fresh
from tests.compute.factories import Platform

HTMX = {"HX-Request": "true"}


def token_in(html: str) -> str:
    found = re.search(r'name="quote_token" value="([^"]+)"', html)
    assert found, html
    return found[1]


def page(console: Client, name: str, *args: str, query: str = "") -> str:
    response = console.get(reverse(name, args=args) + query, headers=HTMX)
    assert response.status_code == 200, response.content
    return response.content.decode()


def send(console: Client, url_name: str, /, *args: str, **data: Any) -> Any:
    return console.post(reverse(url_name, args=args), data, headers=HTMX)


def test_the_disk_list_shows_what_the_specification_names(console: Client, things: Things) -> None:
    html = page(console, "disk-list")
    for part in ("data", things.disk.pk, "Unbound", "Data disk", "SSD", "20 GB", "Hourly"):
        assert part in html
    for part in (things.system.pk, "System disk", "web", "vda", "with the VM"):
        assert part in html
    assert things.system.pk not in page(console, "disk-list", query="?use=data")
    assert things.disk.pk not in page(console, "disk-list", query="?status=bound")
    export = console.get(reverse("disk-list") + "?export=xlsx")
    assert export.status_code == 200


def test_a_disk_is_bought_at_the_price_that_was_shown(console: Client, things: Things) -> None:
    html = page(console, "disk-create")
    assert "Charged now" in html
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
    assert "It has no data disk." in page(console, "vm-detach-disk", things.vm.pk)
    assert send(console, "disk-delete", things.disk.pk).status_code == 204
    assert "create one first" in page(console, "vm-attach-disk", things.vm.pk)


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
    data = {"name": "copy", "disk_type": "ssd", "size_gib": "20", "duration": "month:1"}
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
    assert "Remove it" not in page(console, "disk-schedule", things.disk.pk)
    early = send(console, "disk-schedule", things.disk.pk, **{**schedule, "state": "removed"})
    assert early.status_code == 422
    assert send(console, "disk-schedule", things.disk.pk, **schedule).status_code == 204
    html = page(console, "disk-schedule", things.disk.pk)
    assert "3, 15" in html
    assert "Remove it" in html
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


def test_snapshots_in_the_list_and_on_the_page_of_the_vm(
    console: Client, things: Things, tenant: Tenant
) -> None:
    assert things.snapshot.pk in page(console, "snapshot-list")
    html = page(console, "vm-snapshots", things.vm.pk)
    assert "Snapshot of vda" in html
    assert things.snapshot.pk not in html
    answer = send(console, "disk-snapshot", things.system.pk, name="boot")
    assert answer.status_code == 204, answer.content
    assert "boot" in page(console, "vm-snapshots", things.vm.pk)
    wrong = send(console, "snapshot-roll-back", things.snapshot.pk, typed_name="other")
    assert wrong.status_code == 422
    answer = send(console, "snapshot-roll-back", things.snapshot.pk, typed_name="before")
    assert answer.status_code == 204, answer.content
    assert fresh(things.snapshot).status == SnapshotStatus.ROLLING_BACK
    assert send(console, "snapshot-delete", things.snapshot.pk).status_code == 422


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


def test_an_image_has_a_page_with_its_vms(
    console: Client, things: Things, platform: Platform
) -> None:
    html = page(console, "image-detail", platform.image.pk)
    assert things.vm.pk in html
    assert "Debian" in html
    own = page(console, "image-detail", things.image.pk)
    assert "golden" in own
    assert things.vm.pk not in own
    assert console.get(reverse("image-detail", args=["image-000000000"])).status_code == 404


def test_search_leads_to_disks_snapshots_and_images(console: Client, things: Things) -> None:
    for thing in (things.disk, things.snapshot, things.image):
        found = page(console, "search", query=f"?q={thing.pk}")
        assert reverse(f"{thing.KIND}-detail", args=[thing.pk]) in found


def test_a_disk_is_made_of_a_snapshot(console: Client, things: Things) -> None:
    html = page(console, "snapshot-create-disk", things.snapshot.pk)
    data = {"name": "back", "disk_type": "ssd", "size_gib": "20", "duration": "month:1"}
    answer = send(
        console, "snapshot-create-disk", things.snapshot.pk, **data, quote_token=token_in(html)
    )
    assert answer.status_code == 204, answer.content
    with scopes_disabled():
        assert Disk.objects.filter(name="back").exists()


FACTS = {
    "name": "Mine",
    "os_family": "linux",
    "distribution": "debian",
    "architecture": "x86_64",
    "min_disk_gib": "2",
}


def test_images_are_listed_imported_renamed_downloaded_deleted(
    console: Client, things: Things, platform: Platform, tmp_path: Path, settings: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    html = page(console, "image-list")
    assert things.image.pk in html
    assert platform.image.pk in html
    assert platform.image.pk not in page(console, "image-list", query="?kind=own")
    answer = send(console, "image-import", **FACTS, url="file:///etc/passwd")
    assert answer.status_code == 422
    answer = send(console, "image-import", **FACTS, url="https://images.example.com/a.raw")
    assert answer.status_code < 300, answer.content
    file = SimpleUploadedFile("a.raw", b"\0" * 4096)
    answer = send(console, "image-upload", **{**FACTS, "name": "Sent"}, file=file)
    assert answer.status_code < 300, answer.content
    with scopes_disabled():
        assert set(Image.objects.filter(status="importing").values_list("name", flat=True)) == {
            "Mine",
            "Sent",
        }
    assert send(console, "image-rename", things.image.pk, name="gold").status_code == 204
    assert send(console, "image-download", things.image.pk).status_code == 204
    assert console.get(reverse("image-file", args=[things.image.pk])).status_code == 409
    assert send(console, "image-delete", platform.image.pk).status_code == 422
    # Something is being done to it; when that has ended it can go.
    answer = send(console, "image-delete", things.image.pk)
    assert answer.status_code == 204, answer.content


@pytest.mark.parametrize("name", ["disk-list", "snapshot-list", "image-list"])
def test_lists_cost_the_same_however_many_rows(
    console: Client, things: Things, platform: Platform, actor: Actor, name: str
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as seen:
            page(console, name)
        return len(seen)

    page(console, name)
    before = cost()
    for number in range(3):
        disk = buy_disk(platform, actor, f"more-{number}")
        fields = {"tenant_id": disk.tenant_id, "region": platform.region}
        with scopes_disabled():
            Snapshot.objects.create(
                disk=disk, name="s", size_gib=20, status=SnapshotStatus.AVAILABLE, **fields
            )
            Image.objects.create(
                pool=platform.pool, name=f"image {number}", distribution="debian", **fields
            )
    assert cost() == before


def test_foreign_things_are_not_found(
    things: Things, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    urls = [
        *(reverse(f"disk-{s}", args=[things.disk.pk]) for s in ("attach", "expand", "delete")),
        reverse("snapshot-roll-back", args=[things.snapshot.pk]),
        reverse("vm-snapshots", args=[things.vm.pk]),
        reverse("image-delete", args=[things.image.pk]),
        reverse("image-file", args=[things.image.pk]),
        reverse("vm-attach-disk", args=[things.vm.pk]),
    ]
    assert {stranger.get(url, headers=HTMX).status_code for url in urls} == {404}
