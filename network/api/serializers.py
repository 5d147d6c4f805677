"""What the API reads and writes. The rules are the actions' own."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from network.models import (
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from network.queries import vpcs as vpc_queries
from network.verbs.inputs import GENEROUS as _GENEROUS
from network.verbs.inputs import StaticRouteInput, StaticRouteShape
from scloud.rest.shown import ShownSerializer
from scloud.tenancy.actor import Actor
from scloud.verbs import refusals

_COMMON = ("id", "region", "name", "remark", "status", "sync_error", "created_at")


class AllowedActionsMixin(serializers.Serializer[Any]):
    """``allowed_actions``: what the caller may try with it now."""

    kind: ClassVar[str]
    allowed_actions = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed_actions(self, row: Any) -> list[str]:
        """Return the verbs that nothing is known against."""
        actor: Actor = self.context["view"].actor
        found = refusals.allowed_actions(actor, self.kind, row)
        return [verb for verb, reason in found if not reason]


class VpcSerializer(AllowedActionsMixin, ShownSerializer[Vpc]):
    """A VPC."""

    kind = "vpc"
    status = serializers.CharField(read_only=True)
    subnet_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = Vpc
        fields = (*_COMMON, "cidr", "ipv6_cidr", "is_default", "subnet_count", "allowed_actions")
        read_only_fields = fields


class SubnetSerializer(AllowedActionsMixin, ShownSerializer[Subnet]):
    """A subnet with how many of its addresses are free."""

    kind = "subnet"
    status = serializers.CharField(read_only=True)
    gateway = serializers.SerializerMethodField()
    ipv6_gateway = serializers.SerializerMethodField()
    dns_servers = serializers.SerializerMethodField()
    free_addresses = serializers.SerializerMethodField()
    routes = serializers.SerializerMethodField()

    class Meta:
        model = Subnet
        fields = (
            *_COMMON,
            "vpc",
            "cidr",
            "gateway",
            "ipv6_cidr",
            "ipv6_gateway",
            "dns_servers",
            "routes",
            "free_addresses",
            "allowed_actions",
        )
        read_only_fields = fields

    def get_gateway(self, subnet: Subnet) -> str:
        """Return the gateway's address."""
        return str(subnet.gateway)

    @extend_schema_field(serializers.IPAddressField(protocol="IPv6", allow_null=True))
    def get_ipv6_gateway(self, subnet: Subnet) -> str | None:
        """Return the router's IPv6 address; null while IPv6 is off."""
        gateway = subnet.ipv6_gateway
        return None if gateway is None else str(gateway)

    @extend_schema_field(serializers.ListField(child=serializers.IPAddressField()))
    def get_dns_servers(self, subnet: Subnet) -> list[str]:
        """Return the DNS servers of both IP versions, those of IPv4 first."""
        return [str(one) for one in subnet.name_servers]

    def get_free_addresses(self, subnet: Subnet) -> int:
        """Return how many addresses are free."""
        return vpc_queries.free_addresses(subnet)

    @extend_schema_field(StaticRouteShape(many=True))
    def get_routes(self, subnet: Subnet) -> list[dict[str, str]]:
        """Return the static routes that guests are told."""
        return [
            {"destination": str(one.destination), "next_hop": str(one.next_hop)}
            for one in subnet.static_routes
        ]


class RuleSerializer(ShownSerializer[SecurityGroupRule]):
    """A rule of a security group."""

    ports = serializers.SerializerMethodField()

    class Meta:
        model = SecurityGroupRule
        fields = (
            "id",
            "direction",
            "protocol",
            "ports",
            "cidr",
            "action",
            "priority",
            "description",
            "created_at",
        )
        read_only_fields = fields

    def get_ports(self, rule: SecurityGroupRule) -> str | None:
        """``22`` or ``8000-8100``; null for all."""
        return rule.ports or None


class SecurityGroupSerializer(AllowedActionsMixin, ShownSerializer[SecurityGroup]):
    """A security group."""

    kind = "security_group"
    status = serializers.CharField(read_only=True)
    rule_count = serializers.IntegerField(read_only=True)
    nic_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = SecurityGroup
        fields = (*_COMMON, "is_default", "rule_count", "nic_count", "allowed_actions")
        read_only_fields = fields


class VpcInput(serializers.Serializer[Any]):
    """A new VPC."""

    region = serializers.CharField(max_length=_GENEROUS)
    name = serializers.CharField(max_length=_GENEROUS)
    cidr = serializers.CharField(max_length=_GENEROUS, help_text="Such as 10.0.0.0/16.")
    remark = serializers.CharField(max_length=_GENEROUS, allow_blank=True, default="")


class SubnetInput(serializers.Serializer[Any]):
    """A new subnet."""

    vpc = serializers.CharField(max_length=_GENEROUS)
    name = serializers.CharField(max_length=_GENEROUS)
    cidr = serializers.CharField(max_length=_GENEROUS, help_text="Such as 10.0.1.0/24.")
    remark = serializers.CharField(max_length=_GENEROUS, allow_blank=True, default="")
    dns_servers = serializers.ListField(
        child=serializers.CharField(max_length=_GENEROUS), max_length=20, default=list
    )
    routes = serializers.ListField(child=StaticRouteInput(), max_length=200, default=list)
    ipv6 = serializers.BooleanField(
        default=False, help_text="Give it a private IPv6 range, and each VM an address of it."
    )


class RuleInputSerializer(serializers.Serializer[Any]):
    """A new rule, or what a rule is to be. ``ports``: ``22``, ``8000-8100``, or null for all."""

    direction = serializers.ChoiceField(choices=RuleDirection.choices)
    protocol = serializers.ChoiceField(choices=RuleProtocol.choices)
    cidr = serializers.CharField(max_length=_GENEROUS)
    ports = serializers.CharField(
        max_length=_GENEROUS, allow_blank=True, allow_null=True, default=None
    )
    action = serializers.ChoiceField(choices=RuleAction.choices, default=RuleAction.ACCEPT)
    priority = serializers.ChoiceField(choices=RulePriority.choices, default=RulePriority.MEDIUM)
    description = serializers.CharField(max_length=_GENEROUS, allow_blank=True, default="")

    def validate_ports(self, ports: str | None) -> str:
        """Return the text of the rule itself, which is empty for all."""
        return ports or ""


class SecurityGroupInput(serializers.Serializer[Any]):
    """A new security group with the rules it begins with."""

    region = serializers.CharField(max_length=_GENEROUS)
    name = serializers.CharField(max_length=_GENEROUS)
    remark = serializers.CharField(max_length=_GENEROUS, allow_blank=True, default="")
    rules = serializers.ListField(child=RuleInputSerializer(), default=list, max_length=1000)
    templates = serializers.ListField(
        child=serializers.CharField(max_length=_GENEROUS),
        default=list,
        max_length=100,
        help_text="Keys of templates whose rules it has too.",
    )


class TemplateRuleSerializer(serializers.Serializer[Any]):
    """A rule of a template, as a rule that is added. ``ports``: null for all."""

    direction = serializers.ChoiceField(choices=RuleDirection.choices)
    protocol = serializers.ChoiceField(choices=RuleProtocol.choices)
    cidr = serializers.CharField()
    ports = serializers.CharField(allow_null=True)
    action = serializers.ChoiceField(choices=RuleAction.choices)
    priority = serializers.ChoiceField(choices=RulePriority.choices)
    description = serializers.CharField(allow_blank=True)


class TemplateSerializer(serializers.Serializer[Any]):
    """A set of rules to begin with."""

    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    rules = TemplateRuleSerializer(many=True)
