"""Room of pools: what is promised, what is kept free, what copies under way will take."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.queries import capacity
from compute.actions import images
from compute.actions.disks import clone_disk, expand_disk, quote_disk, quote_expansion
from compute.actions.vms.changes import make_image
from compute.hosts import pools
from compute.hosts.pools import GIB, Room
from compute.models import Disk, Image, StoragePool
from compute.states.pools import PoolState
from compute.sweeps.pools import reconcile_pools
from scloud.lib.errors import NoCapacity
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box
from tests.compute.disks.test_tasks import buy, order, ready


def room(
    *, total: int = 1000, available: int = 500, factor: str | None = None, **taken: int
) -> Room:
    """A pool with a reserve of a tenth; figures in bytes."""
    pool = StoragePool(
        id="fast",
        total_bytes=total,
        available_bytes=available,
        overprovisioning=None if factor is None else Decimal(factor),
        reserve_percent=10,
        observed_at=timezone.now(),
        state=PoolState.AVAILABLE,
    )
    return Room(pool, taken.get("promised", 0), taken.get("reserved", 0))


@pytest.mark.parametrize(
    ("made", "promised", "written", "refusal"),
    [
        (room(), 10**9, 400, None),
        (room(), 0, 401, "free"),
        (room(reserved=100), 0, 300, None),
        (room(reserved=100), 0, 301, "free"),
        (room(available=100), 1, 0, None),
        (room(available=99), 1, 0, "free"),
        (room(factor="1.5", promised=1400), 100, 0, None),
        (room(factor="1.5", promised=1400), 101, 0, "promised"),
        (room(total=0, available=0, factor="1.0"), 100, 100, None),
    ],
)
def test_what_fits(made: Room, promised: int, written: int, refusal: str | None) -> None:
    assert made.refusal(promised, written) == refusal


def test_an_unusable_pool_takes_nothing() -> None:
    made = room()
    for state in PoolState:
        made.pool.state = state
        usable = state in (PoolState.UNKNOWN, PoolState.AVAILABLE)
        assert made.refusal(0, 0) == (None if usable else "state")


def now(box: Box) -> Room:
    """The pool's room by the rows."""
    pool = StoragePool.objects.get(pk=box.platform.pool.pk)
    return pools.rooms([pool])[pool.pk]


def bound(box: Box, **columns: object) -> None:
    """Set columns of the pool as an administrator or the sweep does."""
    StoragePool.objects.filter(pk=box.platform.pool.pk).update(**columns)


def refused(call: Callable[[], object], *, code: str = "no_storage") -> NoCapacity:
    with pytest.raises(NoCapacity) as caught:
        call()
    assert caught.value.code == code
    assert "pool" not in caught.value.message
    assert "bytes" in caught.value.detail
    return caught.value


def test_orders_respect_what_may_be_promised(box: Box, operator: Client) -> None:
    vm = box.vm(stopped=True)
    disk = ready(box, 20)
    reconcile_pools()
    of_images = sum(one.size_bytes for one in Image.objects.all())
    assert now(box).promised == (40 + 20) * GIB + of_images
    total = now(box).pool.total_bytes
    system = box.system_disk(vm)
    assert system.stored_bytes == box.storage.volume_info(system.pk).stored_bytes

    # 30 GB more may be promised: a disk, then growth, a copy and another VM are refused.
    bound(box, overprovisioning=Decimal("0.1"), total_bytes=(90 * GIB + of_images) * 10)
    refused(lambda: buy(box, 31))
    second = buy(box, 20)
    quote = quote_expansion(actor=box.actor, disk=disk, size_gib=31)

    def grow(size: int) -> object:
        return expand_disk(actor=box.actor, disk=disk, size_gib=size, quote_token=quote.token)

    error = refused(lambda: grow(31))
    assert (error.message, error.field) == (
        "The disk cannot grow to this size right now.",
        "size_gib",
    )
    quote = quote_expansion(actor=box.actor, disk=disk, size_gib=30)
    grow(30)
    # What grows counts from the order on.
    assert now(box).promised == now(box).limit
    refused(lambda: buy(box, 10))
    box.run()
    assert now(box).promised == now(box).limit
    refused(lambda: box.vm())
    bound(box, total_bytes=total, overprovisioning=None)
    box.run()
    second.refresh_from_db()
    assert second.status == "unbound"
    assert vm.pk

    # Operators see the figures, and when all will be promised.
    bound(box, overprovisioning=Decimal("2.0"))
    html = operator.get(reverse("admin:compute_host_capacity")).content.decode()
    assert "May be promised" in html
    (amount,) = [one for one in capacity.amounts() if one.is_promised]
    assert (amount.used, amount.total) == (now(box).promised, now(box).limit)
    assert amount.label == f"Promised space of {box.platform.pool.pk}"


def test_copies_and_images_respect_what_is_free(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk = ready(box, 20)
    reconcile_pools()
    with scopes_disabled():
        Disk.objects.filter(pk=disk.pk).update(stored_bytes=15 * GIB)
        Disk.objects.filter(vm=vm).update(stored_bytes=15 * GIB)
    # A reserve of 100 GB, and 20 GB above it.
    bound(box, total_bytes=1000 * GIB, reserve_percent=10, available_bytes=120 * GIB)
    disk.refresh_from_db()
    wanted = order(box, 20)
    quote = quote_disk(actor=box.actor, order=wanted, source=disk)
    clone_disk(actor=box.actor, disk=disk, order=wanted, quote_token=quote.token)
    assert now(box).reserved == 15 * GIB
    # 5 GB are left: too little for an image of the system disk, enough for an empty disk.
    error = refused(lambda: make_image(actor=box.actor, vm=vm, name="golden"))
    assert error.message == "There is no space for the image here right now."
    buy(box, 10)
    box.run()
    assert now(box).reserved == 0
    image = make_image(actor=box.actor, vm=vm, name="golden")
    assert now(box).reserved == 15 * GIB
    box.run()
    assert now(box).reserved == 0
    image.refresh_from_db()
    assert image.status == "available"
    # Below the reserve nothing new is made, whatever it writes at once.
    bound(box, available_bytes=99 * GIB)
    facts = images.ImageFacts(region=box.platform.region, pool=now(box).pool, name="own")
    refused(
        lambda: images.import_image_url(
            actor=box.actor, facts=facts, url="https://example.org/image.qcow2"
        )
    )
    refused(lambda: buy(box, 10))
    assert not Disk.objects.filter(task="creating").exists()


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client
