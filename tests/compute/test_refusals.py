"""What the actions refuse, each with its code, its field and its bounds, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from compute.actions import base_images, disks, images, snapshots
from compute.actions.base_images import ChangedFacts
from compute.actions.images import ImageFacts
from compute.actions.vms import changes, create
from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, Cluster, Disk, DiskType, Image, Spec, StoragePool
from compute.models.snapshot import SnapshotSchedule
from compute.rules.orders import DiskOrder
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from network.actions import create_security_group
from network.models import SecurityGroup
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.compute.factories import Platform, make_order, make_platform, make_vm

pytestmark = pytest.mark.usefixtures("unscoped")
Refused = tuple[str, str | None]


def refused(work: Callable[[], object]) -> ScloudError:
    """Return the refusal of what must be refused."""
    with pytest.raises(ScloudError) as found:
        work()
    return found.value


def said(work: Callable[[], object]) -> Refused:
    error = refused(work)
    return error.code, error.field


@pytest.fixture
def abroad(db: None) -> Platform:
    """Another region, with everything in it."""
    return make_platform(Region.objects.create(id="far", name="Far"), cluster_id="far", hosts=1)


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    return make_vm(platform, actor)


@pytest.fixture
def stopped(vm: VM) -> VM:
    VM.objects.filter(pk=vm.pk).update(status=VmStatus.STOPPED)
    vm.refresh_from_db()
    return vm


# --- an order of VMs

Change = Callable[[Platform], dict[str, Any]]


def image(platform: Platform, **columns: Any) -> Image:
    """Return another image like the platform's own, but for these columns."""
    values: dict[str, Any] = {
        "region": platform.region,
        "pool": platform.pool,
        "name": "Other",
        "distribution": "debian",
        "min_disk_gib": 2,
    }
    made: Image = Image.objects.create(**{**values, **columns})
    return made


ORDERS: list[tuple[str, Change, Refused, dict[str, Any] | None]] = [
    (
        "none",
        lambda _p: {"count": 0},
        ("count_out_of_range", "count"),
        {"min": 1, "max": 10, "asked": 0},
    ),
    (
        "too many",
        lambda _p: {"count": 11},
        ("count_out_of_range", "count"),
        {"min": 1, "max": 10, "asked": 11},
    ),
    (
        "a size of another model",
        lambda p: {
            "spec": Spec.objects.create(
                cluster=Cluster.objects.create(id="arm", region=p.region, alias="Arm"),
                vcpus=1,
                memory_mib=2048,
            )
        },
        ("spec_unknown", "spec"),
        None,
    ),
    (
        "a size that is no longer offered",
        lambda p: {
            "spec": Spec.objects.create(cluster=p.cluster, vcpus=3, memory_mib=512, enabled=False)
        },
        ("spec_unknown", "spec"),
        None,
    ),
    (
        "another architecture",
        lambda p: {"image": image(p, architecture="aarch64")},
        ("architecture_differs", "image"),
        None,
    ),
    (
        "a withdrawn image",
        lambda p: {"image": image(p, withdrawn_at=timezone.now())},
        ("image_not_available", "image"),
        None,
    ),
    (
        "an image that is being imported",
        lambda p: {"image": image(p, status=ImageStatus.IMPORTING)},
        ("image_not_available", "image"),
        None,
    ),
    (
        "a system disk that the image does not fit on",
        lambda p: {"image": image(p, min_disk_gib=41)},
        ("disk_smaller_than_image", "system_disk_gib"),
        {"min": 41, "asked": 40},
    ),
    (
        "an image in another pool",
        lambda p: {
            "image": image(
                p,
                pool=StoragePool.objects.create(
                    id="slow", region=p.region, kind="fake", location="slow"
                ),
            )
        },
        ("image_in_other_pool", "system_disk_type"),
        None,
    ),
    (
        "fewer names than VMs",
        lambda _p: {"count": 2, "names": ["one"]},
        ("names_count", "names"),
        {"asked": 2, "given": 1},
    ),
    (
        "a name that is none",
        lambda _p: {"count": 2, "names": ["one", "a b"]},
        ("name_invalid", "names"),
        {"min": 1, "max": 30, "length": 3},
    ),
    (
        "fewer addresses than VMs",
        lambda _p: {"count": 2, "private_ips": ["10.0.0.9"]},
        ("private_ips_count", "private_ips"),
        {"asked": 2, "given": 1},
    ),
    ("no login", lambda _p: {"password": ""}, ("login_missing", "password"), None),
    (
        "a data disk of a size that is not offered",
        lambda p: {"data_disk_type": p.disk_type, "data_disk_gib": 1},
        ("disk_size_out_of_range", "data_disk_gib"),
        {"min": 10, "max": 8000, "asked": 1},
    ),
]


@pytest.mark.parametrize(
    ("change", "code", "numbers"), [one[1:] for one in ORDERS], ids=[one[0] for one in ORDERS]
)
def test_an_order_that_cannot_be_is_refused(
    platform: Platform,
    tenant: Tenant,
    change: Change,
    code: Refused,
    numbers: dict[str, Any] | None,
) -> None:
    order = make_order(platform, tenant, **change(platform))
    error = refused(lambda: create.check_order(tenant, order))
    assert (error.code, error.field) == code
    if numbers is not None:
        assert error.numbers == numbers


def test_an_order_at_its_bounds_is_taken(platform: Platform, tenant: Tenant) -> None:
    order = make_order(
        platform,
        tenant,
        count=10,
        image=image(platform, min_disk_gib=40),
        data_disk_type=platform.disk_type,
        data_disk_gib=10,
        remark="x" * 200,
    )
    checked = create.check_order(tenant, order)
    assert checked.names == [f"{order.name}-{number}" for number in range(1, 11)]
    named = replace(order, count=2, names=["one", "two"], private_ips=["10.0.0.9", ""])
    assert create.check_order(tenant, named).names == ["one", "two"]
    # A price is told before there is a password.
    create.check_order(tenant, replace(order, password=""), complete=False)
    assert refused(lambda: create.check_order(tenant, replace(order, password=""))).code == (
        "login_missing"
    )


@pytest.mark.parametrize(
    "field",
    [
        "cluster",
        "image",
        "system_disk_type",
        "subnet",
        "data_disk_type",
        "internal_security_group",
        "external_security_group",
    ],
)
def test_what_is_ordered_together_is_of_one_region(
    platform: Platform, abroad: Platform, tenant: Tenant, actor: Actor, field: str
) -> None:
    far = DiskType.objects.create(id="far-ssd", region=abroad.region, pool=abroad.pool, alias="x")
    group: SecurityGroup = create_security_group(actor=actor, region=abroad.region, name="far")
    elsewhere: dict[str, Any] = {
        "cluster": {"cluster": abroad.cluster},
        "image": {"image": abroad.image},
        "system_disk_type": {"system_disk_type": far},
        "subnet": {"subnet": make_order(abroad, tenant).subnet},
        "data_disk_type": {"data_disk_type": far, "data_disk_gib": 20},
        "internal_security_group": {"internal_group": group},
        "external_security_group": {"external_group": group},
    }
    order = make_order(platform, tenant, **elsewhere[field])
    assert said(lambda: create.check_order(tenant, order)) == ("region_differs", field)


def test_the_platform_itself_buys_nothing(
    platform: Platform, tenant: Tenant, disk_order: DiskOrder
) -> None:
    nobody = Actor.system(None)
    order = make_order(platform, tenant)
    assert said(lambda: create.quote_vms(actor=nobody, order=order))[0] == "tenant_missing"
    assert said(lambda: disks.quote_disk(actor=nobody, order=disk_order))[0] == "tenant_missing"


# --- disks


@pytest.fixture
def disk_order(platform: Platform) -> DiskOrder:
    return DiskOrder(region=platform.region, disk_type=platform.disk_type, size_gib=20, name="data")


@pytest.fixture
def disk(platform: Platform, tenant: Tenant) -> Disk:
    """An unbound disk."""
    made: Disk = Disk.objects.create(
        tenant=tenant,
        region=platform.region,
        name="data",
        disk_type=platform.disk_type,
        pool=platform.pool,
        size_gib=20,
        status=DiskStatus.UNBOUND,
    )
    return made


def test_a_disk_and_its_vm_are_of_one_region(
    vm: VM, disk: Disk, abroad: Platform, actor: Actor
) -> None:
    Disk.objects.filter(pk=disk.pk).update(region=abroad.region)
    disk.refresh_from_db()
    assert said(lambda: disks.attach_disk(actor=actor, vm=vm, disk=disk)) == (
        "region_differs",
        "disk",
    )


@pytest.mark.parametrize(("architecture", "most"), [("x86_64", 6), ("aarch64", 3)])
def test_a_vm_takes_as_many_disks_as_its_model_says(
    vm: VM, disk: Disk, actor: Actor, architecture: str, most: int
) -> None:
    Cluster.objects.filter(pk=vm.cluster_id).update(architecture=architecture)
    vm = VM.objects.get(pk=vm.pk)
    places = [f"vd{letter}" for letter in "bcdefg"[:most]]
    row = {
        "tenant": disk.tenant,
        "region": disk.region,
        "disk_type": disk.disk_type,
        "pool": disk.pool,
        "size_gib": 20,
    }
    for place in set(places) - {"vdc"}:
        Disk.objects.create(name=place, vm=vm, target=place, status=DiskStatus.BOUND, **row)
    job = disks.attach_disk(actor=actor, vm=vm, disk=disk)
    # The lowest place that is free.
    assert (job.target_id, Disk.objects.get(pk=disk.pk).target) == (vm.pk, "vdc")
    Job.objects.all().update(status="succeeded")
    more = Disk.objects.create(name="more", status=DiskStatus.UNBOUND, **row)
    error = refused(lambda: disks.attach_disk(actor=actor, vm=vm, disk=more))
    assert (error.code, error.numbers) == ("too_many_disks", {"limit": most, "has": most})


def test_a_copy_is_of_the_type_and_at_least_the_size_of_its_source(
    disk: Disk, disk_order: DiskOrder, platform: Platform, tenant: Tenant
) -> None:
    other = DiskType.objects.create(
        id="hdd", region=platform.region, pool=platform.pool, alias="HDD"
    )
    for order, code, field in (
        (replace(disk_order, disk_type=other), "disk_type_differs", "disk_type"),
        (replace(disk_order, size_gib=19), "disk_smaller_than_source", "size_gib"),
    ):
        error = refused(partial(disks.check_order, tenant, order, disk))
        assert (error.code, error.field) == (code, field)
    assert error.numbers == {"min": 20, "asked": 19}
    disks.check_order(tenant, disk_order, disk)


def test_a_disk_only_grows(disk: Disk, actor: Actor) -> None:
    for size in (20, 19):
        error = refused(partial(disks.quote_expansion, actor=actor, disk=disk, size_gib=size))
        assert (error.code, error.field) == ("shrink_refused", "size_gib")
        assert error.numbers == {"min": 21, "asked": size}


# --- schedules of snapshots

SCHEDULE = {"hours": [3], "weekdays": [0], "keep_count": 3}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"hours": []}, "hours_invalid"),
        ({"hours": [-1, 3]}, "hours_invalid"),
        ({"hours": [3, 24]}, "hours_invalid"),
        ({"weekdays": []}, "weekdays_invalid"),
        ({"weekdays": [-1]}, "weekdays_invalid"),
        ({"weekdays": [0, 7]}, "weekdays_invalid"),
        ({"time_zone": "Mars/Olympus"}, "time_zone_unknown"),
        ({"keep_count": 0}, "keep_count_invalid"),
        ({"keep_count": 10}, "keep_count_invalid"),
        ({"keep_days": 0}, "keep_days_invalid"),
        ({"keep_days": 3651}, "keep_days_invalid"),
    ],
)
def test_a_schedule_beyond_its_bounds_is_refused(
    disk: Disk, actor: Actor, values: dict[str, Any], code: str
) -> None:
    error = refused(
        lambda: snapshots.set_snapshot_schedule(actor=actor, disk=disk, **{**SCHEDULE, **values})
    )
    assert (error.code, error.field) == (code, next(iter(values)))
    if code == "keep_count_invalid":
        assert error.numbers == {"min": 1, "max": 9, "asked": values["keep_count"]}
    assert not SnapshotSchedule.objects.exists()


def test_a_schedule_at_its_bounds_is_taken_and_changed(disk: Disk, actor: Actor) -> None:
    def put(**values: Any) -> SnapshotSchedule:
        return snapshots.set_snapshot_schedule(actor=actor, disk=disk, **{**SCHEDULE, **values})

    first = put(hours=[23, 0, 23], weekdays=[6, 0, 6], keep_count=9, keep_days=3650)
    assert (first.hours, first.weekdays, first.enabled) == ([0, 23], [0, 6], True)
    assert first.next_run_at is not None
    second = put(keep_count=1, keep_days=1, enabled=False)
    assert (second.pk, second.keep_count, second.keep_days) == (first.pk, 1, 1)
    assert not second.enabled
    settings = PlatformSettings.load()
    settings.snapshots_per_disk = 0
    settings.save()
    assert put(keep_count=1000).keep_count == 1000
    error = refused(lambda: put(keep_count=1001))
    assert error.numbers == {"min": 1, "max": 1000, "asked": 1001}
    kinds = Event.objects.filter(resource_id=disk.pk).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["disk.schedule_created", *["disk.schedule_changed"] * 2]


# --- images


@pytest.fixture
def facts(platform: Platform) -> ImageFacts:
    return ImageFacts(region=platform.region, pool=platform.pool, name="Own")


URL = "https://images.example.org/own.qcow2"
BAD_FACTS: list[tuple[dict[str, Any], str, str]] = [
    ({"os_family": "beos"}, "os_family_unknown", "os_family"),
    ({"architecture": "vax"}, "architecture_unknown", "architecture"),
    ({"min_disk_gib": 0}, "min_disk_invalid", "min_disk_gib"),
    ({"min_disk_gib": 100_001}, "min_disk_invalid", "min_disk_gib"),
    ({"distribution": "d" * 31}, "distribution_invalid", "distribution"),
    ({"distribution": "a\tb"}, "distribution_invalid", "distribution"),
    ({"version": "1" * 31}, "version_invalid", "version"),
    ({"version": "1\x002"}, "version_invalid", "version"),
    ({"admin_account": "9 lives"}, "account_invalid", "admin_account"),
    ({"name": " "}, "name_invalid", "name"),
    ({"name": "n" * 61}, "name_invalid", "name"),
    ({"name": "a\nb"}, "name_invalid", "name"),
    ({"remark": "r" * 201}, "remark_invalid", "remark"),
]


@pytest.mark.parametrize(("values", "code", "field"), BAD_FACTS)
def test_what_cannot_be_said_of_an_image_is_refused(
    facts: ImageFacts, actor: Actor, values: dict[str, Any], code: str, field: str
) -> None:
    wrong = replace(facts, **values)
    before = Image.objects.count()
    assert said(lambda: images.import_image_url(actor=actor, facts=wrong, url=URL)) == (code, field)
    assert Image.objects.count() == before


@pytest.mark.parametrize("checksum", ["a" * 63, "a" * 65, "g" * 64])
def test_a_checksum_has_64_hexadecimal_digits(
    facts: ImageFacts, actor: Actor, checksum: str
) -> None:
    found = said(
        lambda: images.import_image_url(actor=actor, facts=facts, url=URL, sha256=checksum)
    )
    assert found == ("sha256_invalid", "sha256")


def test_an_image_and_its_pool_are_of_one_region(
    facts: ImageFacts, abroad: Platform, actor: Actor
) -> None:
    wrong = replace(facts, pool=abroad.pool)
    assert said(lambda: images.import_image_url(actor=actor, facts=wrong, url=URL)) == (
        "region_differs",
        "pool",
    )


@pytest.mark.parametrize(
    ("values", "account"),
    [
        ({}, "root"),
        ({"distribution": " Ubuntu "}, "ubuntu"),
        ({"os_family": "windows", "distribution": "ubuntu"}, "administrator"),
        ({"admin_account": " admin "}, "admin"),
    ],
)
def test_an_image_has_the_usual_account_unless_another_is_named(
    facts: ImageFacts, actor: Actor, tenant: Tenant, values: dict[str, Any], account: str
) -> None:
    most: dict[str, Any] = {
        "name": "n" * 60,
        "version": "1" * 30,
        "min_disk_gib": 2,
        "remark": "r" * 200,
    }
    made = images.import_image_url(
        actor=actor,
        facts=replace(facts, **most, **values),
        url=URL,
        sha256=f" {'AB' * 32} ",
    )
    assert (made.admin_account, made.name, made.import_sha256) == (account, "n" * 60, "ab" * 32)
    assert (made.status, made.tenant_id) == (ImageStatus.IMPORTING, tenant.pk)


def test_facts_of_an_image_are_changed_within_the_same_bounds(platform: Platform) -> None:
    good = ChangedFacts(
        name="Debian",
        remark="",
        distribution=" debian ",
        version="1" * 30,
        admin_account="debian",
        min_disk_gib=1,
        supports_hot_upgrade=False,
        accepts_user_data=False,
        accepts_ssh_keys=True,
        watchdog=True,
        position=3,
    )
    root = Actor.system(None)
    changed = base_images.change_image(actor=root, image=platform.image, facts=good)
    changed.refresh_from_db()
    assert (changed.distribution, changed.version) == ("debian", "1" * 30)
    assert (changed.supports_hot_upgrade, changed.accepts_user_data) == (False, False)
    assert changed.watchdog
    bad: list[tuple[dict[str, Any], str]] = [
        ({"min_disk_gib": 0}, "min_disk_invalid"),
        ({"version": "1" * 31}, "version_invalid"),
        ({"distribution": "a\tb"}, "distribution_invalid"),
        ({"admin_account": ""}, "account_invalid"),
        ({"name": "n" * 61}, "name_invalid"),
    ]
    for values, code in bad:
        wrong = replace(good, **values)
        assert said(partial(base_images.check_facts, changed, wrong)) == (
            code,
            next(iter(values)),
        )


def test_base_images_are_withdrawn_and_offered_once(
    platform: Platform, tenant: Tenant, actor: Actor
) -> None:
    root = Actor.system(None)
    one = platform.image
    assert base_images.withdraw(actor=root, image=one).withdrawn_at is not None
    assert said(lambda: base_images.withdraw(actor=root, image=one))[0] == "image_withdrawn"
    assert base_images.offer(actor=root, image=one).withdrawn_at is None
    assert said(lambda: base_images.offer(actor=root, image=one))[0] == "image_offered"
    own = image(platform, tenant=tenant)
    for work in (base_images.withdraw, base_images.offer):
        assert said(partial(work, actor=root, image=own))[0] == "not_a_base_image"
    kinds = Event.objects.filter(resource_id=one.pk).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["image.withdrawn", "image.offered"]


def test_an_image_is_replaced_by_one_of_its_kind_only(
    platform: Platform, abroad: Platform, tenant: Tenant
) -> None:
    root = Actor.system(None)
    Image.objects.filter(pk=platform.image.pk).update(position=7)
    old = Image.objects.get(pk=platform.image.pk)
    for wrong, code in (
        (old, "image_differs"),
        (image(platform, tenant=tenant), "not_a_base_image"),
        (image(platform, status=ImageStatus.IMPORTING), "image_state"),
        (abroad.image, "image_differs"),
        (image(platform, os_family="windows"), "image_differs"),
        (image(platform, architecture="aarch64"), "image_differs"),
    ):
        found = refused(partial(base_images.replace, actor=root, image=old, by=wrong))
        assert found.code == code
    assert Image.objects.get(pk=old.pk).withdrawn_at is None
    new = image(platform, withdrawn_at=timezone.now())
    by = base_images.replace(actor=root, image=old, by=new)
    assert (by.name, by.position, by.withdrawn_at) == (old.name, 7, None)
    assert Image.objects.get(pk=old.pk).withdrawn_at is not None


# --- changes of a VM


def test_another_size_is_one_of_the_models_own(
    stopped: VM, platform: Platform, abroad: Platform, actor: Actor
) -> None:
    Spec.objects.filter(pk=platform.specs[2].pk).update(enabled=False)
    for spec, code in (
        (platform.specs[0], "spec_same"),
        (Spec.objects.get(pk=platform.specs[2].pk), "spec_unknown"),
        (abroad.specs[1], "spec_unknown"),
    ):
        found = said(partial(changes.quote_size, actor=actor, vm=stopped, spec=spec))
        assert found == (code, "spec")
    assert changes.quote_size(actor=actor, vm=stopped, spec=platform.specs[1]).total >= 0


def test_a_running_vm_only_grows(vm: VM, platform: Platform, actor: Actor) -> None:
    VM.objects.filter(pk=vm.pk).update(vcpus=2, memory_mib=4096, max_vcpus=4, max_memory_mib=8192)
    vm.refresh_from_db()
    odd = [
        Spec.objects.create(cluster=platform.cluster, vcpus=vcpus, memory_mib=memory_mib)
        for vcpus, memory_mib in ((1, 8192), (4, 2048), (5, 8192), (4, 9216), (4, 4096))
    ]
    codes = []
    for spec in odd[:-1]:
        error = refused(partial(changes.quote_size, actor=actor, vm=vm, spec=spec))
        assert error.field == "spec"
        codes.append(error.code)
    assert codes == [*["hot_upgrade_shrinks"] * 2, *["headroom_exceeded"] * 2]
    assert error.numbers == {"max_vcpus": 4, "max_memory_mib": 8192}
    changes.quote_size(actor=actor, vm=vm, spec=odd[-1])
    changes.quote_size(actor=actor, vm=vm, spec=platform.specs[2])


def test_a_vm_is_reinstalled_with_what_fits_its_disk_and_its_model(
    stopped: VM, platform: Platform, tenant: Tenant, other_tenant: Tenant
) -> None:
    slow = StoragePool.objects.create(
        id="slow", region=platform.region, kind="fake", location="slow"
    )
    for wrong, code in (
        (image(platform, tenant=other_tenant), "image_unknown"),
        (image(platform, tenant=tenant, status=ImageStatus.DESTROYED), "image_unknown"),
        (image(platform, tenant=tenant, status=ImageStatus.BINNED), "image_not_available"),
        (image(platform, architecture="aarch64"), "architecture_differs"),
        (image(platform, pool=slow), "image_in_other_pool"),
        (image(platform, min_disk_gib=41), "disk_smaller_than_image"),
        (image(platform, os_family="windows"), "os_family_differs"),
    ):
        error = refused(partial(changes.check_reinstall, stopped, wrong))
        assert (error.code, error.field) == (code, "image"), wrong
        if code == "disk_smaller_than_image":
            assert error.numbers == {"min": 41, "has": 40}
    changes.check_reinstall(stopped, image(platform, min_disk_gib=40))


def test_a_reinstallation_takes_the_keys_that_it_is_given(
    stopped: VM, platform: Platform, actor: Actor
) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here"
    for given, kept in ((None, None), ("", ""), (f" {key}\n", key)):
        job = changes.reinstall_vm(
            actor=actor, vm=stopped, image=platform.image, ssh_public_key=given
        )
        assert job.payload["ssh_public_key"] == kept
        assert (job.payload["image"], job.payload["password"]) == (platform.image.pk, False)
        Job.objects.filter(pk=job.pk).update(status="succeeded")
        VM.objects.filter(pk=stopped.pk).update(task="", task_job="", task_deadline=None)
        stopped.refresh_from_db()


def test_the_groups_of_a_vm_are_of_its_region_and_each_of_its_nic(
    vm: VM, platform: Platform, abroad: Platform, actor: Actor
) -> None:
    inner, outer = (
        create_security_group(actor=actor, region=platform.region, name=name)
        for name in ("inner", "outer")
    )
    far = create_security_group(actor=actor, region=abroad.region, name="far")
    for field in ("internal", "external"):
        groups: dict[str, Any] = {"internal": inner, "external": outer, field: far}
        found = said(partial(changes.change_security_groups, actor=actor, vm=vm, **groups))
        assert found == ("region_differs", field)
    changed = changes.change_security_groups(actor=actor, vm=vm, internal=inner, external=outer)
    changed.refresh_from_db()
    assert (changed.internal_security_group, changed.external_security_group) == (
        inner.pk,
        outer.pk,
    )
    changed = changes.change_security_groups(actor=actor, vm=vm, internal=None, external=None)
    changed.refresh_from_db()
    assert (changed.internal_security_group, changed.external_security_group) == ("", "")


def test_a_vm_moves_within_its_cluster(vm: VM, abroad: Platform) -> None:
    found = said(lambda: migrate_vm(actor=Actor.system(vm.tenant), vm=vm, host=abroad.hosts[0]))
    assert found == ("cluster_differs", "host")
    VM.objects.filter(pk=vm.pk).update(host=None)
    vm.refresh_from_db()
    assert said(lambda: migrate_vm(actor=Actor.system(vm.tenant), vm=vm))[0] == "vm_state"
