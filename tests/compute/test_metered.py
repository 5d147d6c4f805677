"""What of snapshots, images and the recycle bin is charged afterwards, and where it is shown."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import catalog, hooks, pricelists, usage
from billing.models import Usage
from billing.pricing import Method
from compute.actions import disks, images, snapshots
from compute.actions.vms import changes, lifecycle
from compute.models import Disk, Image
from compute.rules.storage import BIN_SKU, IMAGE_SKU, SNAPSHOT_SKU
from compute.verbs.disks import DISKS
from compute.verbs.vms import VMS
from scloud.lib.errors import InsufficientBalance
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box
from tests.compute.disks.test_tasks import ready
from tests.compute.images.test_tasks import facts, qcow2, run, upload
from tests.compute.snapshots.test_tasks import take

__all__ = ["qcow2"]
GIB = 1024**3
HX = {"HX-Request": "true"}


def held(box: Box) -> dict[str, set[tuple[str, str, int]]]:
    """(kind, id, GB) of all that the meters know of, by their SKU."""
    with scopes_disabled():
        found = {sku: list(meter.read()) for sku, meter in hooks.meters().items()}
    tenant, region = box.actor.tenant, box.platform.region
    assert tenant is not None
    assert {(one.tenant_id, one.region_id) for all_ in found.values() for one in all_} <= {
        (tenant.pk, region.pk)
    }
    return {
        sku: {(one.resource_kind, one.resource_id, int(one.quantity)) for one in all_}
        for sku, all_ in found.items()
    }


def test_what_is_there_is_measured_priced_and_refused_while_unpaid(
    box: Box, qcow2: bytes, console: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    vm, disk = box.vm(stopped=True), ready(box, 30)
    system = Disk.objects.get(vm=vm, is_system=True)
    image = run(box, upload(box, qcow2))
    Image.objects.filter(pk=image.pk).update(size_bytes=2 * GIB + 1)
    # Base images are nobody's, and a snapshot on its way may fail.
    assert Image.objects.filter(tenant=None).exists()
    kept = take(box, disk, "kept")
    coming = snapshots.create_snapshot(actor=box.actor, disk=system, name="coming")
    assert held(box) == {
        SNAPSHOT_SKU: {("snapshot", kept.pk, 30)},
        IMAGE_SKU: {("image", image.pk, 3)},
        BIN_SKU: set(),
    }
    box.run()
    assert ("snapshot", coming.pk, system.size_gib) in held(box)[SNAPSHOT_SKU]
    snapshots.delete_snapshot(actor=box.actor, snapshot=kept)
    box.run()
    disks.delete_disk(actor=box.actor, disk=disk)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    images.delete_image(actor=box.actor, image=image)
    assert held(box)[BIN_SKU] == {
        ("vm", vm.pk, system.size_gib),
        ("disk", disk.pk, 30),
        ("image", image.pk, 3),
    }
    assert held(box)[IMAGE_SKU] == set()

    # The dialogs name the price once there is one.
    vm, disk = box.vm(stopped=True), ready(box, 20)
    pages = [
        reverse(DISKS.rule("create_snapshot").url_name, args=[disk.pk]),
        reverse(VMS.rule("make_image").url_name, args=[vm.pk]),
        reverse("image-import"),
    ]
    words = "per GB and hour"
    assert [words in console.get(page, headers=HX).content.decode() for page in pages] == [
        False
    ] * 3
    region, tenant = box.platform.region, box.actor.tenant
    assert tenant is not None
    now = timezone.now()
    book = catalog.book_of(catalog.price_list_at(region, now))
    prices = {**book.prices, (SNAPSHOT_SKU, Method.HOUR): Decimal("0.0002")}
    prices[IMAGE_SKU, Method.HOUR] = Decimal("0.0003")
    listed = pricelists.publish(pricelists.draft(region, prices))
    shown = [console.get(page, headers=HX).content.decode() for page in pages]
    assert ["0.0002 per GB and hour" in shown[0], "20 GB" in shown[0]] == [True, True]
    assert all("0.0003 per GB and hour" in page for page in shown[1:])

    # More is owed for a day that is over than the balance has.
    midnight = usage.day_of(now)[0]
    Usage.objects.create(
        tenant=tenant,
        region=region,
        price_list=listed,
        sku=SNAPSHOT_SKU,
        resource_kind="snapshot",
        resource_id="snap-gone",
        quantity=10**9,
        discount=0,
        begin=midnight - timedelta(hours=2),
        end=midnight,
    )
    for refused in (
        lambda: snapshots.create_snapshot(actor=box.actor, disk=disk, name="more"),
        lambda: changes.make_image(actor=box.actor, vm=vm, name="more"),
        lambda: images.import_image_url(
            actor=box.actor, facts=facts(box), url="http://example.com/a.qcow2"
        ),
    ):
        with pytest.raises(InsufficientBalance) as error:
            refused()
        assert (error.value.code, (error.value.numbers or {})["owed"]) == (
            "usage_unpaid",
            "400000.00",
        )
    # What exists goes on, and can be deleted.
    disks.delete_disk(actor=box.actor, disk=disk)
