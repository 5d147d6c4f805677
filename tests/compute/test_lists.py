"""What holds for the lists of all kinds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from compute.models import Image, Snapshot
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.console import HTMX, page
from tests.compute.factories import Platform
from tests.compute.things import Things, buy_disk


def test_search_leads_to_disks_snapshots_and_images(console: Client, things: Things) -> None:
    for thing in (things.disk, things.snapshot, things.image):
        found = page(console, "search", query=f"?q={thing.pk}")
        assert reverse(f"{thing.KIND}-detail", args=[thing.pk]) in found


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
