"""What the verbs of the network take. The actions decide what is allowed."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from scloud.rest.fields import Lines, WholeNumber
from scloud.verbs.inputs import Reference, VerbInput

# Longer than what is allowed, so that the action refuses with its own code and remedy.
GENEROUS = 300
# Of the examples.
QUOTED = "eyJ0ZW5hbnQiOi..."


class NameInput(VerbInput):
    """A new name or remark; what is left out stays."""

    name = serializers.CharField(max_length=GENEROUS, required=False)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)


class StaticRouteShape(serializers.Serializer[Any]):
    """What guests of a subnet reach through another address of it."""

    destination = serializers.CharField(max_length=GENEROUS, help_text="Such as 192.0.2.0/24.")
    next_hop = serializers.CharField(
        max_length=GENEROUS, help_text="An address of the subnet, such as 10.0.0.9."
    )


class StaticRouteInput(StaticRouteShape):
    """A static route that a subnet shall have."""


class SubnetOptionsInput(VerbInput):
    """What guests are told; what is left out stays, an empty list removes all."""

    dns_servers = serializers.ListField(
        child=serializers.CharField(max_length=GENEROUS), max_length=20, required=False
    )
    routes = serializers.ListField(child=StaticRouteInput(), max_length=200, required=False)


class CopyGroupInput(VerbInput):
    """The name of the copy, and its remark unless it keeps the original's."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)


class ExternalIpAlarmTemplateInput(VerbInput):
    """The alarm template of an external IP from now on; null for none."""

    template = Reference("alarms.external_ip_templates", what="alarm template", allow_null=True)


class TemplateInput(VerbInput):
    """Which template, and the source that replaces its own."""

    template = serializers.CharField(max_length=GENEROUS)
    cidr = serializers.CharField(max_length=GENEROUS, allow_blank=True, default="")


class RulesFileInput(VerbInput):
    """A CSV file; with ``replace`` the group has exactly its rules afterwards.

    The first line names the columns: direction, protocol, ports, cidr, action, priority,
    description; direction, protocol and cidr are needed.
    """

    content = Lines(max_length=200_000)
    replace = serializers.BooleanField(default=False)


class RulesChangedShape(serializers.Serializer[Any]):
    """What became of a set of rules; ``present`` ones were there already."""

    added = serializers.IntegerField()
    present = serializers.IntegerField()
    removed = serializers.IntegerField()


class TaggedInput(VerbInput):
    """A new name, remark or new tags of an external IP or an ENI; what is left out stays."""

    name = serializers.CharField(max_length=GENEROUS, required=False)
    remark = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )


class ConfirmInput(VerbInput):
    """The name of the external IP, as a confirmation that it is to be destroyed."""

    confirm_name = serializers.CharField(max_length=60, required=False)


class BindInput(VerbInput):
    """What the external IP is bound to: kind and id."""

    builds: ClassVar[dict[str, tuple[str, ...]]] = {"target": ("target_kind", "target")}
    target_kind = serializers.CharField(max_length=20, default="vm")
    target = serializers.CharField(max_length=20, help_text="The id, such as that of a VM.")


class BandwidthInput(VerbInput):
    """Another bandwidth."""

    bandwidth_mbps = WholeNumber(min_value=1, max_value=100_000)


class BandwidthPurchaseInput(BandwidthInput):
    """Another bandwidth at exactly the quoted price."""

    quote_token = serializers.CharField(
        max_length=2000, help_text="From .../change-bandwidth/quote."
    )


class BindEniInput(VerbInput):
    """The VM that the ENI is bound to."""

    vm = Reference("network.vms", what="VM")


class GroupInput(VerbInput):
    """The group from now on; null for none, which leaves the interface unfiltered."""

    security_group = Reference(
        "network.security_groups", what="security group", allow_null=True, source="group"
    )
