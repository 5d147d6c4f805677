"""What every tenant starts with in a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import IntegrityError, transaction

from network.actions.security import create_security_group
from network.actions.vpcs import create_subnet, create_vpc
from network.models import SecurityGroup, Subnet, Vpc
from network.rules import templates
from network.rules.rule_values import RuleInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

NAME: Final = "default"
VPC_RANGE: Final = "10.0.0.0/16"
SUBNET_RANGE: Final = "10.0.0.0/24"


@dataclass(frozen=True, slots=True)
class Defaults:
    """A tenant's default network in a region; no subnet if the tenant deleted it."""

    vpc: Vpc
    subnet: Subnet | None
    security_group: SecurityGroup


def default_rules() -> tuple[RuleInput, ...]:
    """In: SSH, RDP, HTTP, HTTPS, ICMP, ICMPv6. Out: everything."""
    return templates.BY_KEY["default"].rules()


def ensure_tenant_defaults(tenant: Tenant, region: Region) -> Defaults:
    """Make the tenant's default VPC, subnet and security group be there; any number of times.

    A default subnet that the tenant deleted is not made again. Raises QuotaExceeded.
    """
    actor = Actor.system(tenant)
    with scope(tenant=tenant):
        vpc = Vpc.objects.filter(region=region, is_default=True).first()
        if vpc is None:
            vpc = _create_vpc(actor, region)
        subnet = Subnet.objects.filter(vpc=vpc).order_by("created_at", "pk").first()
        group = SecurityGroup.objects.filter(region=region, is_default=True).first()
        if group is None:
            group = _create_group(actor, region)
    return Defaults(vpc=vpc, subnet=subnet, security_group=group)


def welcome(tenant: Tenant) -> None:
    """Make the tenant's default network be there in each region that takes resources."""
    for region in Region.objects.filter(enabled=True):
        ensure_tenant_defaults(tenant, region)


def _create_vpc(actor: Actor, region: Region) -> Vpc:
    try:
        with transaction.atomic():
            vpc = create_vpc(actor=actor, region=region, name=NAME, cidr=VPC_RANGE, is_default=True)
            create_subnet(actor=actor, vpc=vpc, name=NAME, cidr=SUBNET_RANGE)
            return vpc
    except IntegrityError:
        # Somebody else made it in the same moment; the constraint let only one of us through.
        existing: Vpc = Vpc.objects.get(region=region, is_default=True)
        return existing


def _create_group(actor: Actor, region: Region) -> SecurityGroup:
    try:
        with transaction.atomic():
            return create_security_group(
                actor=actor, region=region, name=NAME, rules=default_rules(), is_default=True
            )
    except IntegrityError:
        existing: SecurityGroup = SecurityGroup.objects.get(region=region, is_default=True)
        return existing
