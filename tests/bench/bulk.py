"""Tenants with very many VMs, made in seconds: one real VM, multiplied by the database."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.db import connection, models

from billing.models import Subscription
from compute.models import VM, Disk
from network.models import ExternalAddress, ExternalIp, Nic, NicNetwork, PrivateAddress
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform, make_platform, make_vm
from tests.outside import buy_ip, make_segment

EMAIL, PASSWORD = "bench@scloud.test", "correct horse 9 battery"


@dataclasses.dataclass(frozen=True)
class Crowd:
    """A tenant with many VMs."""

    tenant: Tenant
    user: User
    platform: Platform


def copies(template: models.Model, count: int, **changes: str) -> None:
    """Insert ``count`` copies of a row; ``changes`` are SQL expressions over ``n`` from 1."""
    table = connection.ops.quote_name(template._meta.db_table)
    names, values = [], []
    for field in template._meta.concrete_fields:
        if isinstance(field, models.AutoField | models.BigAutoField):
            continue
        column = str(field.column)
        names.append(connection.ops.quote_name(column))
        values.append(changes.pop(column, f"source.{names[-1]}"))
    assert not changes, f"{template._meta.label} has no columns {sorted(changes)}"
    key = template._meta.pk
    assert key is not None
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM {table} AS source, generate_series(1, %s) AS n "
            f"WHERE source.{connection.ops.quote_name(str(key.column))} = %s",
            [count, template.pk],
        )


def crowd(count: int) -> Crowd:
    """Make a tenant with ``count`` VMs, each with two disks, a NIC, an address, a subscription."""
    region = Region.objects.create(id="bench", name="Bench")
    platform = make_platform(region)
    tenant = Tenant.objects.create(name="Bench")
    user = User.objects.create_user(EMAIL, PASSWORD, tenant=tenant, role=Role.OWNER)
    actor = Actor(tenant=tenant, user=user, role=user.role, via="console", ip="192.0.2.7")
    first = make_vm(
        platform,
        actor,
        name="node-0",
        method="month",
        data_disk_type=platform.disk_type,
        data_disk_gib=100,
    )
    with scope(tenant=tenant):
        _multiply(first, count - 1)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return Crowd(tenant, user, platform)


def _ident(prefix: str) -> str:
    # An odd factor modulo a power of two: different for every n, and scattered as real ids are.
    return f"'{prefix}-' || lpad(to_hex(mod(n::bigint * 40503254377, 68719476736)), 9, '0')"


def _multiply(first: VM, count: int) -> None:
    ident, vm = _ident, _ident("vm")
    copies(
        first,
        count,
        id=vm,
        name="'node-' || n",
        uuid="gen_random_uuid()",
        created_at="source.created_at - n * interval '1 minute'",
        status="CASE mod(n, 4) WHEN 0 THEN 'stopped' ELSE 'running' END",
        power_state="CASE mod(n, 4) WHEN 0 THEN 'stopped' ELSE 'running' END",
    )
    for disk in Disk.objects.filter(vm=first):
        copies(disk, count, id=ident("disk" if disk.is_system else "data"), vm_id=vm)
    for nic in Nic.objects.filter(vm_id=first.pk):
        name = ident("nic" if nic.network == NicNetwork.INTERNAL else "outer")
        octets = r"regexp_replace(lpad(to_hex(n), 8, '0'), '(..)(..)(..)(..)', '\1:\2:\3:\4')"
        copies(
            nic,
            count,
            id=name,
            vm_id=vm,
            port_uuid="gen_random_uuid()",
            mac=f"'52:5{5 + (nic.index or 0)}:' || {octets}",
        )
        for address in PrivateAddress.objects.filter(nic=nic):
            copies(address, count, nic_id=name, address="inet '10.16.0.0' + n")
    paid = Subscription.objects.get(resource_id=first.pk)
    copies(paid, count, resource_id=vm, resource_name="'node-' || n")


def external_ips(crowd: Crowd, count: int) -> None:
    """Give the tenant so many external IPs, half of them bound to its VMs, each paid."""
    segment = make_segment(crowd.platform.region, cidr="198.18.0.0/16", gateway="198.18.0.1")
    actor = Actor(
        tenant=crowd.tenant, user=crowd.user, role=crowd.user.role, via="console", ip="192.0.2.7"
    )
    first = buy_ip(actor, segment, name="eip-0")
    ident = _ident("eip")
    with scope(tenant=crowd.tenant):
        copies(
            first,
            count - 1,
            id=ident,
            name="'eip-' || n",
            address="inet '198.18.1.0' + n",
            created_at="source.created_at - n * interval '1 minute'",
        )
        held = ExternalAddress.objects.get(external_ip=first)
        copies(held, count - 1, external_ip_id=ident, address="inet '198.18.1.0' + n")
        paid = Subscription.objects.get(resource_id=first.pk)
        copies(paid, count - 1, resource_id=ident, resource_name="'eip-' || n")
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE network_externalip SET status = 'bound', bound_at = now(),
                    target_kind = 'vm', target_id = picked.vm_id, nic_id = picked.nic_id
                FROM (
                    SELECT id AS nic_id, vm_id, row_number() OVER (ORDER BY id) AS n
                    FROM network_nic WHERE tenant_id = %(tenant)s AND network = 'external'
                ) AS picked
                WHERE network_externalip.tenant_id = %(tenant)s
                    AND mod(picked.n, 2) = 0 AND name = 'eip-' || picked.n
                """,
                {"tenant": crowd.tenant.pk},
            )
            cursor.execute("VACUUM ANALYZE")


def counted(tenant: Tenant) -> dict[str, Any]:
    """Return how many rows of each kind a tenant has: what is measured must be there."""
    with scope(tenant=tenant):
        return {
            model.__name__: model.objects.count()
            for model in (VM, Disk, Nic, PrivateAddress, Subscription, ExternalIp)
        }
