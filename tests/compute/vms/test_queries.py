"""Reads of VMs: what a row shows, what is found, what is not, and in how many queries."""

from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from compute.queries import vms as vm_queries
from scloud.lib.errors import NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform, make_vm


def test_a_row_shows_disks_addresses_network_and_billing(platform: Platform, actor: Actor) -> None:
    vm = make_vm(
        platform,
        actor,
        name="web",
        method="month",
        data_disk_type=platform.disk_type,
        data_disk_gib=100,
    )
    with scope(tenant=actor.tenant):
        row: Any = vm_queries.vms(platform.region).get()
        assert row.pk == vm.pk
        assert vm_queries.system_gib(row) == 40
        assert vm_queries.data_gib(row) == 100
        assert vm_queries.private_ips(row) == ["10.0.0.2"]
        assert row.nic_rows[0]["vpc"] == "default"
        assert row.billing_method == "month"
        assert vm_queries.paid_until(row) is not None


def test_rows_do_not_raise_the_number_of_queries(
    platform: Platform, actor: Actor, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        make_vm(platform, actor, name=f"n{number}")
    with scope(tenant=actor.tenant), django_assert_num_queries(1):
        for row in vm_queries.vms(platform.region):
            assert row.cluster.alias
            assert row.image.name
            assert vm_queries.private_ips(row)


def test_external_ips_of_a_row_are_found_by_an_index(platform: Platform, actor: Actor) -> None:
    with scope(tenant=actor.tenant), transaction.atomic(), connection.cursor() as cursor:
        # A table of a few rows is read whole else, whatever indexes it has.
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql, parameters = vm_queries.vms(platform.region)[:10].query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", parameters)
        assert "eip_bound_to" in "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("word", ["web", "shop", "10.0.0.2", "VM-", "Prod", "env=p", "blue"])
def test_search_finds_name_remark_id_tag_and_address(
    platform: Platform, actor: Actor, word: str
) -> None:
    vm = make_vm(platform, actor, name="web", remark="the shop", tags=["env=prod", "Blue"])
    with scope(tenant=actor.tenant):
        assert vm_queries.vms().filter(vm_queries.matching(word)).get().pk == vm.pk
        for other in ("10.9.9.9", "{", "prodblue", '"', "%"):
            assert not vm_queries.vms().filter(vm_queries.matching(other)).exists()


def test_filters_by_vpc_and_billing_method(platform: Platform, actor: Actor) -> None:
    make_vm(platform, actor, name="a", method="hour")
    monthly = make_vm(platform, actor, name="b", method="month")
    with scope(tenant=actor.tenant):
        row: Any = vm_queries.vms()[0]
        vpc = row.nic_rows[0]["vpc_id"]
        assert vm_queries.in_vpcs(vm_queries.vms(), [vpc]).count() == 2
        assert vm_queries.in_vpcs(vm_queries.vms(), ["vpc-none00000"]).count() == 0
        assert vm_queries.paid_by(vm_queries.vms(), ["month"]).get().pk == monthly.pk


def test_filter_choices_take_one_query(
    platform: Platform,
    actor: Actor,
    tenant: Tenant,
    other_tenant: Tenant,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    make_vm(platform, actor)
    platform.cluster.tenants.add(tenant)
    with scope(tenant=tenant), django_assert_num_queries(1):
        choices = vm_queries.filter_choices(tenant, platform.region)
    assert choices.clusters == [("x86", "x86 standard")]
    assert [label for _, label in choices.images] == ["Debian 12"]
    assert [label for _, label in choices.vpcs] == ["default"]
    with scope(tenant=other_tenant):
        assert vm_queries.filter_choices(other_tenant, platform.region).clusters == []


def test_a_foreign_binned_or_unknown_vm_is_not_found(
    platform: Platform, actor: Actor, other_tenant: Tenant
) -> None:
    vm = make_vm(platform, actor)
    binned = make_vm(platform, actor, "binned")
    with scope(tenant=other_tenant), pytest.raises(NotFound):
        vm_queries.vm(vm.pk)
    with scope(tenant=actor.tenant):
        assert vm_queries.vm(vm.pk).pk == vm.pk
        with pytest.raises(NotFound):
            vm_queries.vm(binned.pk)
        assert vm_queries.vm(binned.pk, binned=True).pk == binned.pk
        assert list(vm_queries.vms()) == [vm]
