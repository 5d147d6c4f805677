"""A quote refuses what the purchase would refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from billing.models import QuotaLimit
from compute.actions import disks, snapshots
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.create import create_vms, quote_vms
from compute.models import VM, Disk, Image, Spec
from compute.rules import validation
from compute.rules.orders import DiskOrder
from network.actions.vpcs import create_subnet, create_vpc
from network.models import Vpc
from scloud.lib.errors import ScloudError
from tests.compute.box import Box, box, fabric, make_box
from tests.compute.disks.test_tasks import order, ready
from tests.compute.factories import make_order
from tests.compute.snapshots.test_tasks import take

__all__ = ["box", "fabric", "make_box"]


def told(call: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(ScloudError) as refused:
        call()
    return refused.value.code, refused.value.field


ORDERS: list[tuple[dict[str, Any], str, str]] = [
    ({"system_disk_gib": 1}, "disk_size_out_of_range", "system_disk_gib"),
    ({"private_ips": ["203.0.113.7"]}, "address_outside_subnet", "private_ips"),
    ({"private_ips": ["10.0.0.1"]}, "address_reserved", "private_ips"),
    ({"private_ips": ["x"]}, "address_invalid", "private_ips"),
    ({"private_ips": ["10.0.0.9", "10.0.0.9"], "count": 2}, "address_repeated", "private_ips"),
    ({"private_ips": ["10.0.0.9"], "count": 2}, "private_ips_count", "private_ips"),
    ({"password": "weak"}, "password_length", "password"),
    ({"password": "weakweakweak"}, "password_weak", "password"),
    ({"name": "a b"}, "name_invalid", "name"),
    ({"names": ["a b"]}, "name_invalid", "names"),
    ({"remark": "x" * 201}, "remark_invalid", "remark"),
    ({"tags": ["a=b=c"]}, "tag_invalid", "tags"),
    ({"ssh_public_key": "ssh-rsa AAAA"}, "ssh_key_cut_off", "ssh_public_key"),
    ({"user_data": "hello"}, "user_data_invalid", "user_data"),
    ({"count": 11}, "count_out_of_range", "count"),
]


@pytest.mark.parametrize(("wrong", "code", "field"), ORDERS)
def test_the_quote_of_a_vm_refuses_as_its_purchase_does(
    box: Box, wrong: dict[str, Any], code: str, field: str
) -> None:
    assert box.actor.tenant is not None
    wanted = make_order(box.platform, box.actor.tenant, **wrong)
    assert told(lambda: quote_vms(actor=box.actor, order=wanted)) == (code, field)
    buy = told(lambda: create_vms(actor=box.actor, order=wanted, quote_token="none"))
    assert buy == (code, field)


def test_a_quote_may_still_lack_the_login_and_the_purchase_may_not(box: Box) -> None:
    assert box.actor.tenant is not None
    wanted = make_order(box.platform, box.actor.tenant, password=None)
    quote = quote_vms(actor=box.actor, order=wanted)
    buy = told(lambda: create_vms(actor=box.actor, order=wanted, quote_token=quote.token))
    assert buy == ("login_missing", "password")


def test_an_image_refuses_what_it_does_nothing_with_before_money_moves(box: Box) -> None:
    Image.objects.filter(pk=box.platform.image.pk).update(
        accepts_user_data=False, accepts_ssh_keys=False
    )
    image = Image.objects.get(pk=box.platform.image.pk)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
    assert validation.check_ssh_keys(key) == key
    assert box.actor.tenant is not None
    for wrong, told_as in (
        ({"user_data": "#!/bin/sh"}, ("user_data_unsupported", "user_data")),
        ({"ssh_public_key": key}, ("ssh_key_unsupported", "ssh_public_key")),
    ):
        wanted = make_order(box.platform, box.actor.tenant, image=image, **wrong)
        assert told(lambda wanted=wanted: quote_vms(actor=box.actor, order=wanted)) == told_as  # type: ignore[misc]  # bound at once


def test_a_reinstallation_refuses_what_the_image_does_nothing_with(box: Box) -> None:
    """What was ordered with the VM goes into its new disk too; a new key counts instead of it."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
    with_data = box.vm(stopped=True, name="data", user_data="#!/bin/sh\n")
    with_key = box.vm(stopped=True, name="key", ssh_public_key=key)
    bare = box.vm(stopped=True, name="bare")
    Image.objects.filter(pk=box.platform.image.pk).update(
        accepts_user_data=False, accepts_ssh_keys=False
    )
    image = Image.objects.get(pk=box.platform.image.pk)
    for vm, typed, told_as in (
        (with_data, None, ("user_data_unsupported", "user_data")),
        (with_key, None, ("ssh_key_unsupported", "ssh_public_key")),
        (bare, key, ("ssh_key_unsupported", "ssh_public_key")),
    ):
        assert told_as == told(
            lambda vm=vm, typed=typed: changes.reinstall_vm(  # type: ignore[misc]  # bound at once
                actor=box.actor, vm=vm, image=image, ssh_public_key=typed
            )
        )
        vm.refresh_from_db()
        assert (vm.status, vm.task) == ("stopped", "")
    changes.reinstall_vm(actor=box.actor, vm=with_key, image=image, ssh_public_key="")
    box.run()
    with_key.refresh_from_db()
    assert (with_key.status, with_key.failure) == ("stopped", "")


def test_a_quota_that_is_full_is_told_by_the_quote(box: Box) -> None:
    assert box.actor.tenant is not None
    vm = box.vm(method="month")
    disk = ready(box, method="month")
    QuotaLimit.objects.create(item="vcpu", limit=1)
    QuotaLimit.objects.create(item="disk_gib", limit=50)
    wanted = make_order(box.platform, box.actor.tenant)
    assert told(lambda: quote_vms(actor=box.actor, order=wanted))[0] == "quota_exceeded"
    bigger = next(one for one in box.platform.specs if one.vcpus == 2)
    assert told(lambda: changes.quote_size(actor=box.actor, vm=vm, spec=bigger))[0] == (
        "quota_exceeded"
    )
    expansion = told(lambda: disks.quote_expansion(actor=box.actor, disk=disk, size_gib=20))
    assert expansion[0] == "quota_exceeded"
    new = told(lambda: disks.quote_disk(actor=box.actor, order=order(box, 10)))
    assert new[0] == "quota_exceeded"


def _size(box: Box, vm: VM, spec: Spec, verb: str) -> tuple[Any, Any]:
    verbs = {"modify_vm": changes.modify_vm, "hot_upgrade_vm": changes.hot_upgrade_vm}
    return (
        told(lambda: changes.quote_size(actor=box.actor, vm=vm, spec=spec, verb=verb)),
        told(lambda: verbs[verb](actor=box.actor, vm=vm, spec=spec, quote_token="none")),
    )


def test_the_quote_of_a_size_refuses_as_the_change_does(box: Box) -> None:
    vm = box.vm()
    spec = {one.vcpus: one for one in box.platform.specs}
    for verb, size, code in (
        ("modify_vm", 2, "vm_state"),
        ("hot_upgrade_vm", 1, "spec_same"),
        ("hot_upgrade_vm", 8, "headroom_exceeded"),
    ):
        quote, change = _size(box, vm, spec[size], verb)
        assert quote == change
        assert quote[0] == code
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    for verb in ("modify_vm", "hot_upgrade_vm"):
        quote, change = _size(box, vm, spec[2], verb)
        assert quote == change
        assert quote[0] == "vm_state"


def test_the_quote_of_a_disk_refuses_as_its_purchase_does(box: Box) -> None:
    disk = ready(box, 20)
    kept = take(box, disk, "kept")
    small: DiskOrder = order(box, 10)
    for source in (disk, kept):
        quote = told(lambda s=source: disks.quote_disk(actor=box.actor, order=small, source=s))  # type: ignore[misc]  # bound at once
        assert quote == ("disk_smaller_than_source", "size_gib")
    bad = order(box, 10, tags=["a=b=c"])
    assert told(lambda: disks.quote_disk(actor=box.actor, order=bad)) == ("tag_invalid", "tags")
    snapshots.delete_snapshot(actor=box.actor, snapshot=kept)
    kept.refresh_from_db()
    fits = order(box, 20)
    for source, code in ((disk, "disk_state"), (kept, "disk_state")):
        quote = told(lambda s=source: disks.quote_disk(actor=box.actor, order=fits, source=s))  # type: ignore[misc]  # bound at once
        assert quote[0] == code
    grow = told(lambda: disks.quote_expansion(actor=box.actor, disk=disk, size_gib=30))
    assert grow[0] == "disk_state"
    assert Disk.objects.count() == 1


# -- what an error suggests can be had


@pytest.mark.parametrize(
    "typed",
    ["10.0.0.1/16", "8.8.8.8/12", "10.1.2.3/8", "10.0.0.1/30", "192.168.7.9/24", "172.16.5.4/20"],
)
def test_a_range_that_is_suggested_for_a_vpc_is_taken(box: Box, typed: str) -> None:
    region = box.platform.region
    with pytest.raises(ScloudError) as refused:
        create_vpc(actor=box.actor, region=region, name="mine", cidr=typed)
    remedy = refused.value.remedy or ""
    if "Did you mean" in remedy:
        meant = remedy.removeprefix("Did you mean ").removesuffix("?")
        assert create_vpc(actor=box.actor, region=region, name="mine", cidr=meant).cidr == meant
    else:
        assert refused.value.code in ("cidr_not_private", "cidr_mask")


@pytest.mark.parametrize(
    "typed", ["10.9.1.7/24", "10.9.0.9/24", "10.9.0.200/25", "10.8.0.1/24", "10.9.4.1/30"]
)
def test_a_range_that_is_suggested_for_a_subnet_is_taken(box: Box, typed: str) -> None:
    vpc: Vpc = create_vpc(
        actor=box.actor, region=box.platform.region, name="mine", cidr="10.9.0.0/16"
    )
    create_subnet(actor=box.actor, vpc=vpc, name="first", cidr="10.9.0.0/24")
    with pytest.raises(ScloudError) as refused:
        create_subnet(actor=box.actor, vpc=vpc, name="second", cidr=typed)
    remedy = refused.value.remedy or ""
    if "Did you mean" in remedy:
        meant = remedy.removeprefix("Did you mean ").removesuffix("?")
        assert create_subnet(actor=box.actor, vpc=vpc, name="second", cidr=meant).cidr == meant
    else:
        assert refused.value.code in ("cidr_overlaps", "cidr_outside_vpc", "cidr_mask")


# -- DNS servers


@pytest.mark.parametrize(
    "server",
    ["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.251", "255.255.255.255", "240.0.0.1",
     "169.254.1.1", "10.9.0.0", "10.9.0.255", "fe80::1", "dns"],
)  # fmt: skip
def test_a_dns_server_that_cannot_answer_is_refused(box: Box, server: str) -> None:
    vpc = create_vpc(actor=box.actor, region=box.platform.region, name="mine", cidr="10.9.0.0/16")
    told_as = told(
        lambda: create_subnet(
            actor=box.actor, vpc=vpc, name="one", cidr="10.9.0.0/24", dns_servers=[server]
        )
    )
    assert told_as in (("dns_unusable", "dns_servers"), ("dns_invalid", "dns_servers"))
    made = create_subnet(
        actor=box.actor,
        vpc=vpc,
        name="one",
        cidr="10.9.0.0/24",
        dns_servers=["10.9.0.1", "9.9.9.9", "9.9.9.9"],
    )
    assert made.dns_servers == ["10.9.0.1", "9.9.9.9"]
