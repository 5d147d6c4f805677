"""Which NIC gets which address, also when many ask at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from network.actions import (
    Defaults,
    NicRequest,
    addresses,
    create_nics,
    create_subnet,
    release_nics,
)
from network.models import Nic, PrivateAddress, Subnet
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

pytestmark = pytest.mark.django_db


@pytest.fixture
def small(defaults: Defaults, actor: Actor) -> Subnet:
    """A subnet with five addresses: .2 to .6."""
    return create_subnet(actor=actor, vpc=defaults.vpc, name="small", cidr="10.0.9.0/29")


def take(subnet: Subnet, *asked: str | None, vm: str = "vm-1") -> list[str]:
    with transaction.atomic():
        nics = create_nics(
            subnet=subnet,
            requests=[
                NicRequest(vm_id=f"{vm}-{number}", address=one) for number, one in enumerate(asked)
            ],
        )
        return [nic.addresses.get().address for nic in nics]


@pytest.mark.usefixtures("scoped")
def test_the_lowest_free_addresses_come_first(small: Subnet) -> None:
    assert take(small, None, None) == ["10.0.9.2", "10.0.9.3"]
    assert take(small, None, vm="vm-2") == ["10.0.9.4"]
    assert addresses.free_count(small) == 2


@pytest.mark.usefixtures("scoped")
def test_a_freed_address_is_given_again(small: Subnet) -> None:
    take(small, None, None)
    assert release_nics("vm-1-0") == 1
    assert take(small, None, vm="vm-2") == ["10.0.9.2"]


@pytest.mark.usefixtures("scoped")
def test_chosen_and_automatic_addresses_mix_in_one_batch(small: Subnet) -> None:
    assert take(small, None, "10.0.9.2", None, "10.0.9.6") == [
        "10.0.9.3", "10.0.9.2", "10.0.9.4", "10.0.9.6",
    ]  # fmt: skip
    assert take(small, None, vm="vm-2") == ["10.0.9.5"]


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.0.9.0", "address_reserved"),
        ("10.0.9.1", "address_reserved"),
        ("10.0.9.7", "address_reserved"),
        ("10.0.9.8", "address_outside_subnet"),
        ("192.0.2.1", "address_outside_subnet"),
        ("10.0.9", "address_invalid"),
        ("10.0.9.2/29", "address_invalid"),
        ("fd00::1", "address_invalid"),
        ("010.0.9.2", "address_invalid"),
        ("10.0.9.2' OR 1=1", "address_invalid"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_with_the_reason(
    small: Subnet, address: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        take(small, None, address)
    assert (refused.value.code, refused.value.field) == (code, "address")
    assert not PrivateAddress.objects.filter(subnet=small).exists()


@pytest.mark.usefixtures("scoped")
def test_a_taken_address_is_refused(small: Subnet) -> None:
    take(small, "10.0.9.4")
    with pytest.raises(Conflict) as refused:
        take(small, "10.0.9.4", vm="vm-2")
    assert (refused.value.code, refused.value.field) == ("address_taken", "address")
    with pytest.raises(Conflict):
        addresses.check_all(small, ["10.0.9.4"])
    addresses.check_all(small, ["10.0.9.5"])


@pytest.mark.usefixtures("scoped")
def test_a_list_of_addresses_is_refused_with_the_line(small: Subnet) -> None:
    take(small, "10.0.9.4")
    asked = ["", "10.0.9.3", "10.0.9.4", "10.0.9.1", "10.0.9.3"]
    found = addresses.refusals(small, asked, field="private_ips")
    assert [(one.code, (one.numbers or {})["line"]) for one in found] == [
        ("address_taken", 3), ("address_reserved", 4), ("address_repeated", 5),
    ]  # fmt: skip
    assert {one.field for one in found} == {"private_ips"}
    assert found[0].message == str(found[0]) == "Line 3: 10.0.9.4 is already in use."
    with pytest.raises(Conflict) as refused:
        take(small, None, "10.0.9.4", vm="vm-2")
    assert (refused.value.code, refused.value.numbers) == ("address_taken", {"line": 2})
    assert PrivateAddress.objects.filter(subnet=small).count() == 1


@pytest.mark.usefixtures("scoped")
def test_one_address_cannot_be_asked_for_twice_in_a_batch(small: Subnet) -> None:
    with pytest.raises(InvalidInput) as refused:
        take(small, "10.0.9.4", "10.0.9.4")
    assert refused.value.code == "address_repeated"


@pytest.mark.usefixtures("scoped")
def test_a_batch_that_does_not_fit_gets_nothing_and_learns_the_numbers(small: Subnet) -> None:
    take(small, None, None, None)
    with pytest.raises(Conflict) as refused:
        take(small, None, None, "10.0.9.6", vm="vm-2")
    assert refused.value.code == "subnet_exhausted"
    assert refused.value.numbers == {"free": 2, "asked": 3}
    assert addresses.free_count(small) == 2


@pytest.mark.usefixtures("scoped")
def test_a_subnet_that_is_gone_gives_nothing(small: Subnet) -> None:
    Subnet.objects.filter(pk=small.pk).delete()
    with pytest.raises(NotFound):
        take(small, None)


@pytest.mark.usefixtures("scoped")
def test_a_wide_subnet_is_walked_no_further_than_needed(defaults: Defaults, actor: Actor) -> None:
    wide = create_subnet(actor=actor, vpc=defaults.vpc, name="wide", cidr="10.0.128.0/17")
    assert take(wide, None) == ["10.0.128.2"]
    assert take(wide, "10.0.255.254", vm="vm-2") == ["10.0.255.254"]
    assert addresses.free_count(wide) == 32_768 - 3 - 2


def race(workers: int, work: Callable[[int], Any]) -> list[ScloudError]:
    """Run ``work`` in threads with connections of their own; return the refusals."""
    start = threading.Barrier(workers)
    refusals: list[ScloudError] = []
    accidents: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(10)
            work(number)
        except ScloudError as error:
            refusals.append(error)
        except BaseException as error:
            accidents.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if accidents:
        raise accidents[0]
    return refusals


@pytest.mark.django_db(transaction=True)
def test_of_twenty_that_race_for_five_addresses_exactly_five_get_one(
    tenant: Tenant, small: Subnet
) -> None:
    def work(number: int) -> None:
        with scope(tenant=tenant):
            take(small, None, vm=f"vm-{number}")

    refusals = race(20, work)

    assert {refusal.code for refusal in refusals} == {"subnet_exhausted"}
    assert len(refusals) == 15
    with scopes_disabled():
        held = list(PrivateAddress.objects.filter(subnet=small).values_list("address", flat=True))
        assert sorted(held) == [f"10.0.9.{last}" for last in range(2, 7)]
        assert Nic.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_of_ten_that_race_for_one_address_exactly_one_gets_it(
    tenant: Tenant, small: Subnet
) -> None:
    def work(number: int) -> None:
        with scope(tenant=tenant):
            take(small, "10.0.9.5", vm=f"vm-{number}")

    refusals = race(10, work)

    assert [refusal.code for refusal in refusals] == ["address_taken"] * 9


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_race_is_real(tenant: Tenant, small: Subnet) -> None:
    """The control: the same choice without the subnet's lock gives one address to two."""
    chosen: list[str] = []
    both_have_chosen = threading.Barrier(2)

    def work(number: int) -> None:
        with scope(tenant=tenant), transaction.atomic():
            found = addresses._lowest_free(small, 1, avoid=[])
            both_have_chosen.wait(10)
            chosen.extend(map(str, found))

    assert race(2, work) == []
    assert chosen == ["10.0.9.2", "10.0.9.2"]


@pytest.mark.django_db(transaction=True)
def test_with_the_lock_the_second_waits_for_the_first(tenant: Tenant, small: Subnet) -> None:
    first_has_chosen = threading.Event()
    order: list[str] = []

    def work(number: int) -> None:
        with scope(tenant=tenant), transaction.atomic():
            if number == 1:
                first_has_chosen.wait(10)
            nic = create_nics(subnet=small, requests=[NicRequest(vm_id=f"vm-{number}")])[0]
            order.append(nic.addresses.get().address)
            if number == 0:
                first_has_chosen.set()
                # The other one is at the lock now; it must not get past it before the commit.
                threading.Event().wait(0.3)
                order.append("first commits")

    assert race(2, work) == []
    assert order == ["10.0.9.2", "first commits", "10.0.9.3"]
