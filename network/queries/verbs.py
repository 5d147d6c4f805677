"""The rows that the input of a verb may name, and what is built of its values."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from network.models import Eni, ExternalIp, SecurityGroup
from network.queries import enis as eni_queries
from network.queries import external_ips as queries
from network.rules import targets
from network.rules.targets import Target
from scloud.tenancy.actor import Actor
from scloud.verbs.inputs import builder, rows


@rows("network.external_ips")
def external_ips(actor: Actor, row: Any) -> QuerySet[ExternalIp]:
    """Return the tenant's external IPs."""
    return queries.external_ips()


@rows("network.external_ips_of")
def external_ips_of(actor: Actor, row: Any) -> QuerySet[ExternalIp]:
    """Return the external IPs that are bound to the row."""
    return queries.external_ips_of(str(row.KIND), str(row.pk))


@rows("network.enis")
def enis(actor: Actor, row: Any) -> QuerySet[Eni]:
    """Return the tenant's ENIs."""
    return eni_queries.enis()


@rows("network.enis_of")
def enis_of(actor: Actor, row: Any) -> QuerySet[Eni]:
    """Return the ENIs that are bound to the VM."""
    return eni_queries.enis_of(str(row.pk))


@rows("network.vms")
def vms(actor: Actor, row: Any) -> QuerySet[Any]:
    """Return the tenant's VMs."""
    kind = targets.kind_named("vm")
    assert kind is not None
    return kind.rows()


@rows("network.security_groups")
def security_groups(actor: Actor, row: Eni) -> QuerySet[SecurityGroup]:
    """Return the security groups of the row's region."""
    found: QuerySet[SecurityGroup] = SecurityGroup.objects.filter(region=row.region)
    return found


@builder("external_ip.target")
def target_of(actor: Actor, row: ExternalIp, data: dict[str, Any]) -> Target:
    """Return what is named by kind and id. Raises InvalidInput."""
    return targets.find(data["target_kind"], data["target"])
