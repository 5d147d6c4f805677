"""Alarms of the platform, and whom it tells of them, in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.actions import notices
from alarms.actions import operators as actions
from alarms.models import OperatorContact, OperatorWebhook, PlatformAlarm
from scloud.lib import destinations
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ButtonAdmin, ReadOnlyAdmin, YesNoFilter, administrator
from scloud.tenancy.models import canonical_email

if TYPE_CHECKING:
    # Generic for the type checker only.
    ContactModelForm = forms.ModelForm[OperatorContact]
    WebhookModelForm = forms.ModelForm[OperatorWebhook]
else:
    ContactModelForm = WebhookModelForm = forms.ModelForm


def _acknowledge(actor: Actor, alarm: PlatformAlarm) -> str:
    actions.acknowledge_platform_alarm(actor=actor, alarm=alarm)
    return _("The alarm was acknowledged.")


def _not_to_acknowledge(alarm: PlatformAlarm) -> str:
    if alarm.recovered_at is not None:
        return _("The alarm is not open any more.")
    if alarm.acknowledged_at is not None:
        return _("%(who)s has acknowledged it already.") % {"who": alarm.acknowledged_by}
    return ""


@admin.register(PlatformAlarm)
class PlatformAlarmAdmin(ReadOnlyAdmin, ButtonAdmin):
    """What is wrong with the platform, and was."""

    list_display = (
        "severity",
        "text",
        "opened_at",
        "acknowledged_by",
        "recovered_at",
    )
    list_display_links = ("text",)
    list_filter = (
        ("recovered_at", YesNoFilter),
        ("acknowledged_at", YesNoFilter),
        "severity",
        "condition",
    )
    search_fields = ("id", "subject", "text", "acknowledged_by")
    date_hierarchy = "opened_at"
    change_list_template = "alarms/admin/platform_alarms.html"
    buttons = (
        Button(
            "acknowledge",
            gettext_lazy("Acknowledge"),
            _acknowledge,
            _not_to_acknowledge,
            batch=True,
            right="platform.acknowledge_alarm",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlatformAlarm]:
        """Return those that have opened."""
        rows: QuerySet[PlatformAlarm] = super().get_queryset(request)
        return rows.filter(opened_at__isnull=False)


class ReceiverAdmin(ButtonAdmin):
    """Rows of operators that the actions store, change and remove."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return those of the platform."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(tenant__isnull=True)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a refusal of the action, which has stored nothing, on the page that was sent."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ScloudError as error:
            self.message_user(request, error.for_operators(), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """By the action."""
        self.remove(administrator(request, None), obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Each by the action."""
        for obj in queryset:
            self.remove(administrator(request, None), obj)

    def remove(self, actor: Actor, obj: Any) -> None:
        """Remove a row."""
        raise NotImplementedError


class ContactForm(ContactModelForm):
    """An e-mail address."""

    class Meta:
        model = OperatorContact
        fields = ("name", "email")

    def clean_email(self) -> str:
        """Each address once."""
        email = canonical_email(self.cleaned_data["email"])
        if OperatorContact.objects.filter(tenant__isnull=True, email=email).exists():
            raise forms.ValidationError(_("There is a contact with this address."))
        return email


def _test_contact(actor: Actor, contact: OperatorContact) -> str:
    notices.test_contact(actor=actor, contact=contact)
    return _("The test message is being sent.")


@admin.register(OperatorContact)
class OperatorContactAdmin(ReceiverAdmin):
    """E-mail addresses that alarms of the platform are sent to."""

    form = ContactForm
    list_display = ("name", "email", "created_at")
    search_fields = ("name", "email")
    fields = ("name", "email")
    buttons = (
        Button(
            "test",
            gettext_lazy("Send test message"),
            _test_contact,
            batch=True,
            right="alarms.test_contact",
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Another address is another row, with its own deliveries."""
        return () if obj is None else ("email",)

    def save_model(
        self, request: HttpRequest, obj: OperatorContact, form: Any, change: bool
    ) -> None:
        """By the actions."""
        actor = administrator(request, None)
        if change:
            notices.edit_contact(actor=actor, contact=obj, name=obj.name)
        else:
            actions.add_operator_contact(actor=actor, contact=obj)

    def remove(self, actor: Actor, obj: OperatorContact) -> None:
        """Remove an address."""
        notices.delete_contact(actor=actor, contact=obj)


class WebhookForm(WebhookModelForm):
    """A webhook; what is secret is never shown again."""

    url = forms.CharField(
        label=gettext_lazy("URL"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vLargeTextField", "autocomplete": "off"}),
        help_text=gettext_lazy("Not shown again. Leave it empty to keep it."),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Signs what is sent. Leave it empty to keep it."),
    )

    class Meta:
        model = OperatorWebhook
        fields = ("name", "format", "enabled")

    def clean_url(self) -> str:
        """A new webhook needs a URL that may be called."""
        url: str = self.cleaned_data["url"].strip()
        if not url and self.instance.sealed_url:
            return ""
        try:
            return destinations.configured().check_url(url)
        except InvalidInput as error:
            raise forms.ValidationError(f"{error.message} {error.remedy or ''}") from error


def _test_webhook(actor: Actor, webhook: OperatorWebhook) -> str:
    notices.test_webhook(actor=actor, webhook=webhook)
    return _("The test message is being sent.")


def _turned_off(webhook: OperatorWebhook) -> str:
    return "" if webhook.enabled else _("It is turned off.")


@admin.register(OperatorWebhook)
class OperatorWebhookAdmin(ReceiverAdmin):
    """Webhooks that alarms of the platform are sent to. Of a URL only the host is shown."""

    form = WebhookForm
    list_display = ("name", "host", "format", "enabled", "created_at")
    search_fields = ("name", "host")
    fields = ("name", "format", "host", "url", "secret", "enabled")
    readonly_fields: ClassVar[tuple[str, ...]] = ("host",)
    buttons = (
        Button(
            "test",
            gettext_lazy("Send test message"),
            _test_webhook,
            _turned_off,
            batch=True,
            right="alarms.test_webhook",
        ),
    )

    def save_model(
        self, request: HttpRequest, obj: OperatorWebhook, form: Any, change: bool
    ) -> None:
        """By the actions."""
        actor = administrator(request, None)
        url, secret = form.cleaned_data["url"], form.cleaned_data["secret"]
        if not change:
            actions.add_operator_webhook(actor=actor, webhook=obj, url=url, secret=secret)
            return
        notices.edit_webhook(
            actor=actor,
            webhook=obj,
            name=obj.name,
            webhook_format=obj.format,
            enabled=obj.enabled,
            url=url,
            secret=secret,
        )

    def remove(self, actor: Actor, obj: OperatorWebhook) -> None:
        """Remove a webhook."""
        notices.remove_webhook(actor=actor, webhook=obj)
