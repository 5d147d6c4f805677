"""Can A reach B? In the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from network.api.serializers import RuleSerializer
from network.queries import reach as queries
from network.rules.evaluate import Because
from network.verbs.inputs import GENEROUS
from scloud.rest.fields import WholeNumber
from scloud.rest.views import ActorMixin


class ReachInput(serializers.Serializer[Any]):
    """The question: may a new connection go from the one to the other?"""

    source = serializers.CharField(  # type: ignore[assignment]  # the metaclass takes it away
        max_length=GENEROUS, help_text="The ID of a VM or of a network interface, or an address."
    )
    destination = serializers.CharField(max_length=GENEROUS, help_text="As the source.")
    protocol = serializers.CharField(
        max_length=GENEROUS, help_text="`tcp`, `udp` or `icmp` (ping)."
    )
    port = WholeNumber(required=False, help_text="Of TCP and UDP.")


class ReachEnd(serializers.Serializer[Any]):
    """An end as it takes part; outside the tenant's networks it has an address only."""

    address = serializers.CharField()
    nic = serializers.CharField(source="nic.pk", read_only=True, default=None, allow_null=True)
    vm = serializers.CharField(source="nic.vm_id", read_only=True, default=None, allow_null=True)


class ReachStep(serializers.Serializer[Any]):
    """What a network interface's security group decides; ``rule`` is the deciding one."""

    allowed = serializers.BooleanField(source="verdict.allowed")
    because = serializers.ChoiceField(
        source="verdict.because", choices=[one.value for one in Because]
    )
    security_group = serializers.CharField(source="nic.security_group_id", allow_null=True)
    rule = RuleSerializer(source="verdict.rule", allow_null=True)


class ReachAnswer(serializers.Serializer[Any]):
    """The answer; ``reason`` is ``allowed`` or the first obstacle."""

    allowed = serializers.BooleanField()
    reason = serializers.CharField()
    source = ReachEnd()  # type: ignore[assignment]  # the metaclass takes it away
    destination = ReachEnd()
    egress = ReachStep(allow_null=True)
    ingress = ReachStep(allow_null=True)


@extend_schema(tags=["Security groups"])
class ReachView(ActorMixin):
    """Connection test."""

    view_permission = "network.view_security_group"

    @extend_schema(
        parameters=[ReachInput],
        responses=ReachAnswer,
        examples=[
            OpenApiExample(
                "Denied at the destination",
                value={
                    "allowed": False,
                    "reason": "ingress_denied",
                    "source": {"address": "10.0.0.2", "nic": "nic-1", "vm": "vm-1"},
                    "destination": {"address": "10.0.0.3", "nic": "nic-2", "vm": "vm-2"},
                    "egress": {
                        "allowed": True,
                        "because": "unfiltered",
                        "security_group": None,
                        "rule": None,
                    },
                    "ingress": {
                        "allowed": False,
                        "because": "no_rule",
                        "security_group": "sg-0q8zt5mva",
                        "rule": None,
                    },
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        """Say whether a new connection gets through, and which rules decide; sends no packet."""
        asked = ReachInput(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(ReachAnswer(queries.reach(**asked.validated_data)).data)
