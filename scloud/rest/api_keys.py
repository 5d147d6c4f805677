"""API keys in the API. A key may look at its user's keys; people make and change them."""

from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.accounts import actions
from scloud.rest.fields import WholeNumber
from scloud.rest.inputs import valid
from scloud.rest.shown import ShownSerializer
from scloud.rest.views import ResourceViewSet
from scloud.tenancy.models import ApiKey

_SHOWN: Final = (
    "id", "name", "scopes", "networks", "expires_at", "revoked_at", "last_used_at",
    "last_used_ip", "created_at",
)  # fmt: skip


class ApiKeySerializer(ShownSerializer[ApiKey]):
    """A key without its secret."""

    networks = serializers.ListField(child=serializers.CharField(), read_only=True)
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = _SHOWN
        read_only_fields: tuple[str, ...] = _SHOWN


class NewApiKeySerializer(ApiKeySerializer):
    """A key that was just made, with its secret, which is shown only this once."""

    secret = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = (*_SHOWN, "secret")
        read_only_fields = fields


class NetworksInput(serializers.Serializer[Any]):
    """From where a key may be used; an empty list means from everywhere."""

    networks = serializers.ListField(child=serializers.CharField(max_length=60), max_length=100)


class ApiKeyInput(serializers.Serializer[Any]):
    """A new key. Without scopes it may do what its user may."""

    name = serializers.CharField(max_length=60)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=60), max_length=100, default=list
    )
    networks = serializers.ListField(
        child=serializers.CharField(max_length=60), max_length=100, default=list
    )
    expires_in_days = WholeNumber(
        min_value=1,
        max_value=actions.MAX_KEY_DAYS,
        required=False,
        help_text="Without it the platform's usual life time.",
    )
    never_expires = serializers.BooleanField(default=False)


@extend_schema(tags=["API keys"])
class ApiKeyViewSet(ResourceViewSet):
    """The caller's API keys."""

    serializer_class = ApiKeySerializer
    view_permission = "tenancy.manage_api_keys"

    def get_queryset(self) -> QuerySet[ApiKey]:
        """Return the keys of the user who calls, or whose key calls."""
        keys: QuerySet[ApiKey] = ApiKey.objects.filter(user=self.actor.user)
        return keys

    @extend_schema(
        request=ApiKeyInput,
        responses={201: NewApiKeySerializer},
        examples=[
            OpenApiExample(
                "For backups",
                value={
                    "name": "backup",
                    "scopes": ["compute.*"],
                    "networks": ["192.0.2.0/24"],
                    "expires_in_days": 90,
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Make a key. The answer is not kept for an Idempotency-Key, because of its secret."""
        key, secret = actions.create_api_key(actor=self.actor, **valid(ApiKeyInput, request))
        return Response({**self.get_serializer(key).data, "secret": secret}, status=201)

    create.keeps_answer = False  # type: ignore[attr-defined]  # read by scloud.rest.idempotency

    @extend_schema(
        request=NetworksInput,
        responses={200: ApiKeySerializer},
        examples=[
            OpenApiExample("One network", value={"networks": ["192.0.2.0/24"]}, request_only=True)
        ],
    )
    @action(detail=True, methods=["post"], url_path="set-networks")
    def set_networks(self, request: Request, pk: str) -> Response:
        """Say from where a key may be used."""
        key = self.get_object()

        changed = actions.set_key_networks(
            actor=self.actor, key=key, **valid(NetworksInput, request)
        )
        return Response(self.get_serializer(changed).data)

    @extend_schema(request=None, responses={200: ApiKeySerializer})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Make a key useless at once."""
        key = self.get_object()

        actions.revoke_api_key(actor=self.actor, key=key)
        return Response(self.get_serializer(self.get_object()).data)
