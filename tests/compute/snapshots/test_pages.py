"""The pages and dialogs of snapshots."""

from __future__ import annotations

from django.test import Client

from compute.models import Disk
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.console import page, send, token_in
from tests.compute.things import Things, fresh


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


def test_a_disk_is_made_of_a_snapshot(console: Client, things: Things) -> None:
    html = page(console, "snapshot-create-disk", things.snapshot.pk)
    data = {"name": "back", "disk_type": "ssd", "size_gib": "20", "duration": "hour:1"}
    answer = send(
        console, "snapshot-create-disk", things.snapshot.pk, **data, quote_token=token_in(html)
    )
    assert answer.status_code == 204, answer.content
    with scopes_disabled():
        assert Disk.objects.filter(name="back").exists()
