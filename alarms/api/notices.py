"""Contacts, notification groups, webhooks, silences and deliveries in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alarms.actions import notices as actions
from alarms.api.serializers import AllowedActionsMixin
from alarms.models import Contact, Delivery, NotificationGroup, Silence, Webhook
from alarms.models.notices import default_zone
from alarms.queries import notices as queries
from alarms.queries import templates as template_queries
from alarms.states.notices import WebhookFormat
from alarms.verbs.inputs import GENEROUS
from scloud.rest.inputs import valid
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import VerbViewSet, show
from scloud.rest.views import ResourceViewSet
from scloud.verbs.inputs import pick


class ContactSerializer(AllowedActionsMixin, ShownSerializer[Contact]):
    """An e-mail address; nothing is sent to it before it is verified."""

    kind = "contact"

    class Meta:
        model = Contact
        fields = ("id", "name", "email", "verified_at", "created_at", "allowed_actions")
        read_only_fields = fields


class ContactInput(serializers.Serializer[Any]):
    """A new contact; a code is sent to the address."""

    name = serializers.CharField(max_length=GENEROUS)
    email = serializers.CharField(max_length=GENEROUS)


class NotificationGroupSerializer(AllowedActionsMixin, ShownSerializer[NotificationGroup]):
    """Contacts and webhooks that are notified of the alarms of some templates."""

    kind = "notification_group"
    contacts = serializers.SerializerMethodField()
    webhook_count = serializers.IntegerField(read_only=True)
    template_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = NotificationGroup
        fields = (
            "id",
            "name",
            "remark",
            "contacts",
            "webhook_count",
            "template_count",
            "quiet_from",
            "quiet_until",
            "quiet_critical",
            "time_zone",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields

    def get_contacts(self, group: NotificationGroup) -> list[str]:
        """Return the ids of its contacts."""
        return [one.pk for one in group.contacts.all()]


class NotificationGroupInput(serializers.Serializer[Any]):
    """A notification group as a whole."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, default="")
    contacts = serializers.ListField(
        child=serializers.CharField(max_length=20), max_length=200, default=list
    )
    quiet_from = serializers.TimeField(allow_null=True, default=None)
    quiet_until = serializers.TimeField(allow_null=True, default=None)
    quiet_critical = serializers.BooleanField(default=False)
    time_zone = serializers.CharField(max_length=60, default=default_zone)


class WebhookSerializer(AllowedActionsMixin, ShownSerializer[Webhook]):
    """A webhook of a group; of its URL only the host is shown."""

    kind = "webhook"
    signed = serializers.SerializerMethodField()

    class Meta:
        model = Webhook
        fields = (
            "id",
            "group",
            "name",
            "host",
            "format",
            "signed",
            "enabled",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields
        # Only those of operators, which the API does not show, have none.
        extra_kwargs = {"group": {"allow_null": False}}

    def get_signed(self, webhook: Webhook) -> bool:
        """Return whether it has a secret."""
        return bool(webhook.sealed_secret)


class WebhookInput(serializers.Serializer[Any]):
    """A new webhook."""

    name = serializers.CharField(max_length=GENEROUS)
    url = serializers.CharField(max_length=1200, write_only=True)
    format = serializers.ChoiceField(
        choices=WebhookFormat.choices, default=WebhookFormat.SCLOUD, source="webhook_format"
    )
    secret = serializers.CharField(
        max_length=GENEROUS, allow_blank=True, default="", write_only=True, trim_whitespace=False
    )


class WebhookEditInput(WebhookInput):
    """A webhook as it shall be; an empty URL or secret stays as it is."""

    url = serializers.CharField(max_length=1200, write_only=True, allow_blank=True, default="")
    enabled = serializers.BooleanField(default=True)


class SilenceSerializer(AllowedActionsMixin, ShownSerializer[Silence]):
    """A time of planned work in which nobody is notified."""

    kind = "silence"

    class Meta:
        model = Silence
        fields = (
            "id",
            "reason",
            "resource_id",
            "template",
            "starts_at",
            "ends_at",
            "created_by",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields


class SilenceInput(serializers.Serializer[Any]):
    """A new silence, of one resource, of a template's, or of all."""

    reason = serializers.CharField(max_length=GENEROUS)
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    resource_id = serializers.CharField(max_length=20, allow_blank=True, default="")
    template = serializers.CharField(max_length=20, allow_null=True, default=None)


class DeliverySerializer(ShownSerializer[Delivery]):
    """One message to one contact or webhook, with its tries."""

    class Meta:
        model = Delivery
        fields = (
            "id",
            "to",
            "subject",
            "notices",
            "is_test",
            "state",
            "tries",
            "http_status",
            "error",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields


def _contacts(ids: list[str]) -> list[Contact]:
    """Return the contacts with these ids. Raises InvalidInput."""
    rows = queries.contacts()
    return [pick(rows, one, field="contacts", what="contact") for one in dict.fromkeys(ids)]


class ContactViewSet(VerbViewSet):
    """Contacts."""

    kind = "contact"
    tag = "Notifications"
    serializer_class = ContactSerializer
    view_permission = "alarms.view_contact"

    def get_queryset(self) -> QuerySet[Contact]:
        """Return the tenant's contacts."""
        return queries.contacts()

    @extend_schema(
        request=ContactInput,
        responses={201: ContactSerializer},
        examples=[
            OpenApiExample(
                "On call",
                value={"name": "on-call", "email": "on-call@example.org"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a contact; a code is sent to the address, which verifies it."""
        made = actions.create_contact(actor=self.actor, **valid(ContactInput, request))
        return Response(self.shown(self.kind, made.pk), status=201)


class NotificationGroupViewSet(VerbViewSet):
    """Notification groups."""

    kind = "notification_group"
    tag = "Notifications"
    serializer_class = NotificationGroupSerializer
    view_permission = "alarms.view_group"

    def get_queryset(self) -> QuerySet[NotificationGroup]:
        """Return the tenant's groups."""
        return queries.groups()

    @extend_schema(
        request=NotificationGroupInput,
        responses={201: NotificationGroupSerializer},
        examples=[
            OpenApiExample(
                "Not at night",
                value={
                    "name": "operations",
                    "contacts": ["contact-4k2p09xqa"],
                    "quiet_from": "22:00",
                    "quiet_until": "07:00",
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a notification group; alarm templates name it."""
        data = valid(NotificationGroupInput, request)
        data["contacts"] = _contacts(data["contacts"])
        made = actions.create_notification_group(actor=self.actor, **data)
        return Response(self.shown(self.kind, made.pk), status=201)

    @extend_schema(request=NotificationGroupInput, responses=NotificationGroupSerializer)
    def update(self, request: Request, pk: str) -> Response:
        """Change a notification group as a whole."""
        group = self.get_object()
        data = valid(NotificationGroupInput, request)
        data["contacts"] = _contacts(data["contacts"])
        actions.edit_notification_group(actor=self.actor, group=group, **data)
        return Response(self.shown(self.kind, group.pk))

    @extend_schema(methods=["GET"], responses=WebhookSerializer(many=True))
    @extend_schema(
        methods=["POST"],
        request=WebhookInput,
        responses={201: WebhookSerializer},
        examples=[
            OpenApiExample(
                "Slack",
                value={
                    "name": "chat",
                    "format": "slack",
                    "url": "https://hooks.example.org/services/T0/B0/x",
                },
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None, filter_backends=[])
    def webhooks(self, request: Request, pk: str) -> Response:
        """List the webhooks of a group, or add one."""
        group = self.get_object()
        if request.method == "GET":
            context = self.get_serializer_context()
            rows = queries.webhooks(group)
            return Response(WebhookSerializer(rows, many=True, context=context).data)
        data = valid(WebhookInput, request)
        made = actions.add_webhook(actor=self.actor, group=group, **data)
        return Response(self.shown("webhook", made.pk), status=201)


class WebhookViewSet(VerbViewSet):
    """Webhooks of notification groups."""

    kind = "webhook"
    tag = "Notifications"
    serializer_class = WebhookSerializer
    view_permission = "alarms.view_group"

    def get_queryset(self) -> QuerySet[Webhook]:
        """Return the tenant's webhooks."""
        return queries.webhooks()

    @extend_schema(request=WebhookEditInput, responses=WebhookSerializer)
    def update(self, request: Request, pk: str) -> Response:
        """Change a webhook; an empty URL or secret stays as it is."""
        webhook = self.get_object()
        data = valid(WebhookEditInput, request)
        actions.edit_webhook(actor=self.actor, webhook=webhook, **data)
        return Response(self.shown(self.kind, webhook.pk))


class SilenceViewSet(VerbViewSet):
    """Silences."""

    kind = "silence"
    tag = "Notifications"
    serializer_class = SilenceSerializer
    view_permission = "alarms.view_silence"

    def get_queryset(self) -> QuerySet[Silence]:
        """Return the tenant's silences."""
        return queries.silences()

    @extend_schema(
        request=SilenceInput,
        responses={201: SilenceSerializer},
        examples=[
            OpenApiExample(
                "Planned work",
                value={
                    "reason": "New release",
                    "starts_at": "2027-03-01T22:00:00Z",
                    "ends_at": "2027-03-02T02:00:00Z",
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Notify nobody during a time of planned work; alarms are recorded all the same."""
        data = valid(SilenceInput, request)
        if data["template"] is not None:
            rows = template_queries.templates()
            data["template"] = pick(rows, data["template"], field="template", what="template")
        made = actions.create_silence(actor=self.actor, **data)
        return Response(self.shown(self.kind, made.pk), status=201)


@extend_schema(tags=["Notifications"])
class DeliveryViewSet(ResourceViewSet):
    """Messages that were sent, and what came of them."""

    serializer_class = DeliverySerializer
    view_permission = "alarms.view_delivery"

    def get_queryset(self) -> QuerySet[Delivery]:
        """Return the tenant's messages."""
        return queries.deliveries()


show("contact", ContactSerializer, lambda actor, pk: queries.contacts().get(pk=pk))
show(
    "notification_group", NotificationGroupSerializer, lambda actor, pk: queries.groups().get(pk=pk)
)
show("webhook", WebhookSerializer, lambda actor, pk: queries.webhooks().get(pk=pk))
show("silence", SilenceSerializer, lambda actor, pk: queries.silences().get(pk=pk))
