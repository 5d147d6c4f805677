"""Fifty programs at once for the last addresses, money, quota, memory: exactly what fits is sold.

Each buyer is a thread with a connection of its own and goes the whole way through the API. What
is left afterwards is counted in every table that a purchase writes. The control at the end proves
that without the locks the same race sells too much.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction

from billing.models import Charge, Order, QuotaClaim, QuotaLimit, Subscription
from compute.hosts import placement
from compute.models import VM, Disk, Host
from network.actions import create_subnet, ensure_tenant_defaults
from network.models import Nic, PrivateAddress, Subnet
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program, program_of
from tests.billing.helpers import balances, fund
from tests.compute.factories import Platform

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.unmeasured]

BUYERS = 50
PRICE_MINOR = 15
OrderOf = Callable[..., dict[str, Any]]


@pytest.fixture
def buyers(user: User) -> list[Program]:
    """As many programs as there are buyers, each with a key of its own."""
    return [program_of(user) for _ in range(BUYERS)]


@pytest.fixture
def rich(tenant: Tenant, platform: Platform) -> Platform:
    """Money for more than all of them."""
    fund(tenant, cash="1000")
    ensure_tenant_defaults(tenant, platform.region)
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=1000)
    QuotaLimit.objects.create(tenant=tenant, item="vcpu", limit=1000)
    QuotaLimit.objects.create(tenant=tenant, item="memory_gib", limit=10_000)
    QuotaLimit.objects.create(tenant=tenant, item="disks", limit=1000)
    QuotaLimit.objects.create(tenant=tenant, item="disk_gib", limit=100_000)
    Host.objects.update(vcpus=64, memory_mib=1_000_000)
    return platform


@pytest.fixture
def small(rich: Platform, tenant: Tenant, actor: Actor) -> Subnet:
    """A subnet with five addresses to give."""
    vpc = ensure_tenant_defaults(tenant, rich.region).vpc
    return create_subnet(actor=actor, vpc=vpc, name="small", cidr="10.0.200.0/29")


def race(work: Callable[[int], str], count: int = BUYERS) -> Counter[str]:
    """Run ``work`` in threads that are let go at once; count the answers."""
    gate = threading.Barrier(count, timeout=60)
    answers: list[str] = []
    accidents: list[BaseException] = []

    def run(number: int) -> None:
        try:
            connection.ensure_connection()
            gate.wait()
            answers.append(work(number))
        except BaseException as error:
            accidents.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    if accidents:
        raise accidents[0]
    return Counter(answers)


def buy_at_once(buyers: list[Program], body: dict[str, Any]) -> Counter[str]:
    """Let every buyer quote for itself, then all buy at once; count their answers."""
    tokens = [buyer.post("/vms/quote", body).body["token"] for buyer in buyers]

    def work(number: int) -> str:
        answer = buyers[number].post("/vms", {**body, "quote_token": tokens[number]})
        if answer.status == 201:
            return "ok"
        assert answer.status in {402, 409}, answer.body
        return str(answer.body["code"])

    return race(work, len(buyers))


def assert_sold(tenant: Tenant, vms: int, *, cash_minor: int) -> None:
    """Every table says that so many VMs were sold, and the money fits."""
    assert balances(tenant) == (cash_minor, 0)
    with scopes_disabled():
        assert VM.objects.count() == vms
        assert Disk.objects.count() == vms
        assert Nic.objects.count() == 2 * vms
        assert PrivateAddress.objects.count() == vms
        assert len(set(PrivateAddress.objects.values_list("address", flat=True))) == vms
        assert Subscription.objects.count() == Charge.objects.count() == vms
        assert Job.objects.filter(kind="vm.create").count() == vms
        assert QuotaClaim.objects.filter(item="vms").count() == vms
        held = set(Nic.objects.values_list("vm_id", flat=True))
        assert held == set(VM.objects.values_list("pk", flat=True))
        assert set(QuotaClaim.objects.filter(item="vms").values_list("resource_id", flat=True)) == (
            held
        )


def test_five_addresses_are_sold_to_five_of_fifty(
    buyers: list[Program], small: Subnet, rich: Platform, order: OrderOf, tenant: Tenant
) -> None:
    answers = buy_at_once(buyers, order(rich, subnet=small.pk))
    assert answers == {"ok": 5, "subnet_exhausted": 45}
    assert_sold(tenant, 5, cash_minor=100_000 - 5 * PRICE_MINOR)


def test_the_last_money_buys_exactly_seven(
    buyers: list[Program], platform: Platform, order: OrderOf, tenant: Tenant
) -> None:
    fund(tenant, cash="1.10", gift="0.04")
    answers = buy_at_once(buyers, order(platform))
    assert answers == {"ok": 7, "insufficient_balance": 43}
    assert_sold(tenant, 7, cash_minor=114 - 7 * PRICE_MINOR)


def test_the_last_quota_is_sold_exactly(
    buyers: list[Program], rich: Platform, order: OrderOf, tenant: Tenant
) -> None:
    QuotaLimit.objects.filter(tenant=tenant, item="vcpu").update(limit=6)
    answers = buy_at_once(buyers, order(rich))
    assert answers == {"ok": 6, "quota_exceeded": 44}
    assert_sold(tenant, 6, cash_minor=100_000 - 6 * PRICE_MINOR)


def test_the_last_memory_of_the_hosts_is_sold_exactly(
    buyers: list[Program], rich: Platform, order: OrderOf, tenant: Tenant
) -> None:
    for host in Host.objects.all():
        # Room for four of 2 GiB on each, and a little that is of no use.
        Host.objects.filter(pk=host.pk).update(memory_mib=host.reserved_memory_mib + 4 * 2048 + 999)
    answers = buy_at_once(buyers, order(rich))
    assert answers == {"ok": 8, "no_capacity": 42}
    assert_sold(tenant, 8, cash_minor=100_000 - 8 * PRICE_MINOR)
    with scopes_disabled():
        spread = Counter(VM.objects.values_list("host__name", flat=True))
    assert set(spread.values()) == {4}


def test_tenants_that_race_for_the_same_hosts_do_not_lock_each_other_out(
    rich: Platform,
    tenant: Tenant,
    other_tenant: Tenant,
    user: User,
    make_user: Callable[..., User],
    order: OrderOf,
) -> None:
    """Two accounts, two subnets, the same hosts: an order of locks that is not one would hang."""
    fund(other_tenant, cash="1000")
    network = ensure_tenant_defaults(other_tenant, rich.region)
    assert network.subnet is not None
    mine = order(rich)
    theirs = {
        **mine,
        "subnet": network.subnet.pk,
        "internal_security_group": network.security_group.pk,
    }
    for host in Host.objects.all():
        Host.objects.filter(pk=host.pk).update(memory_mib=host.reserved_memory_mib + 5 * 2048)
    stranger = make_user(other_tenant)
    sides = [(program_of(user), mine), (program_of(stranger), theirs)] * 12
    tokens = [program.post("/vms/quote", body).body["token"] for program, body in sides]

    def work(number: int) -> str:
        program, body = sides[number]
        answer = program.post("/vms", {**body, "quote_token": tokens[number]})
        return "ok" if answer.status == 201 else str(answer.body["code"])

    assert race(work, len(sides)) == {"ok": 10, "no_capacity": 14}
    with scopes_disabled():
        sold = Counter(VM.objects.values_list("tenant_id", flat=True))
    assert balances(tenant) == (100_000 - PRICE_MINOR * sold[tenant.pk], 0)
    assert balances(other_tenant) == (100_000 - PRICE_MINOR * sold[other_tenant.pk], 0)


def test_one_key_sent_by_fifty_buys_once(
    rich: Platform, program: Program, order: OrderOf, tenant: Tenant
) -> None:
    body = order(rich)
    body["quote_token"] = program.post("/vms/quote", body).body["token"]

    def work(number: int) -> str:
        answer = Program(program.secret).post("/vms", body, key="the-same")
        if answer.status == 201:
            return "replayed" if "Idempotent-Replay" in answer.headers else "bought"
        return str(answer.body["code"])

    answers = race(work)
    assert answers["bought"] == 1
    assert set(answers) <= {"bought", "replayed", "idempotency_key_in_use"}
    assert_sold(tenant, 1, cash_minor=100_000 - PRICE_MINOR)


def test_one_quote_buys_once(
    rich: Platform, buyers: list[Program], order: OrderOf, tenant: Tenant
) -> None:
    body = order(rich)
    body["quote_token"] = buyers[0].post("/vms/quote", body).body["token"]

    def work(number: int) -> str:
        answer = buyers[number].post("/vms", body)
        return "ok" if answer.status == 201 else str(answer.body["code"])

    assert race(work) == {"ok": 1, "quote_used": 49}
    assert_sold(tenant, 1, cash_minor=100_000 - PRICE_MINOR)
    with scope(tenant=tenant):
        assert Order.objects.count() == 1


def test_without_the_lock_two_would_get_the_last_memory(rich: Platform, tenant: Tenant) -> None:
    """The control: the same choice without the hosts' lock is made by both."""
    Host.objects.update(memory_mib=1)
    last = Host.objects.earliest("name")
    Host.objects.filter(pk=last.pk).update(memory_mib=last.reserved_memory_mib + 2048)
    both_have_looked = threading.Barrier(2, timeout=20)

    def work(number: int) -> str:
        with scope(tenant=tenant), transaction.atomic():
            candidates = placement.candidates(rich.cluster, tenant, lock=False)
            size = placement.Demand(1, 2048)
            fitting = [one.host.name for one in candidates if one.refusal(size) is None]
            both_have_looked.wait()
            return ",".join(fitting)

    assert race(work, 2) == {last.name: 2}
