"""Contacts, notification groups with their webhooks, silences, and what was sent."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.actions import notices as actions
from alarms.models import Contact, Delivery, NotificationGroup, Silence, Webhook
from alarms.models.notices import WEBHOOKS_PER_GROUP, default_zone
from alarms.queries import notices as queries
from alarms.queries import templates as template_queries
from alarms.states.notices import DeliveryState, WebhookFormat
from alarms.verbs.inputs import GENEROUS
from network.views.common import NAMES, found, name_column
from scloud.verbs.inputs import pick
from scloud.web import http, ui
from scloud.web.details import DetailListView
from scloud.web.lists import Column, EmptyState, Filter, ListView, PageAction
from scloud.web.status import StatusView, Tone
from scloud.web.verbs import Pages, VerbDialog, VerbList, dialog, menu, register
from scloud.web.views import ActionView


class ContactForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=GENEROUS)
    email = forms.CharField(label=gettext_lazy("E-mail"), max_length=GENEROUS)


class GroupForm(forms.Form):
    """A notification group."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=GENEROUS)
    contacts = forms.MultipleChoiceField(
        label=gettext_lazy("Contacts"),
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=gettext_lazy("Only verified addresses get messages."),
    )
    quiet_from = forms.TimeField(
        label=gettext_lazy("Quiet from"),
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        help_text=gettext_lazy("Messages wait until the quiet hours are over."),
    )
    quiet_until = forms.TimeField(
        label=gettext_lazy("Quiet until"),
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )
    quiet_critical = forms.BooleanField(
        label=gettext_lazy("Quiet for critical alarms too"), required=False
    )
    time_zone = forms.CharField(
        label=gettext_lazy("Time zone"), max_length=60, initial=default_zone
    )
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=GENEROUS, required=False)

    def __init__(self, *args: Any, contacts: list[Contact], **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["contacts"].choices = [  # type: ignore[attr-defined]  # its own field
            (one.pk, str(one)) for one in contacts
        ]
        if not contacts:
            del self.fields["contacts"]

    def clean(self) -> dict[str, Any]:
        """Turn the chosen ids into contacts."""
        data: dict[str, Any] = super().clean() or {}
        chosen = data.get("contacts", [])
        data["contacts"] = list(queries.contacts().filter(pk__in=chosen))
        return data


class WebhookForm(forms.Form):
    """A webhook of a group."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=GENEROUS)
    webhook_format = forms.ChoiceField(label=gettext_lazy("Format"), choices=WebhookFormat.choices)
    url = forms.CharField(
        label=gettext_lazy("URL"),
        max_length=1200,
        help_text=gettext_lazy("A public http or https address. It is kept encrypted."),
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off"}),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret"),
        max_length=GENEROUS,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Signs each message, so that the receiver can check its origin."),
    )


class WebhookEditForm(WebhookForm):
    """A webhook as it is; URL and secret are not shown."""

    enabled = forms.BooleanField(label=gettext_lazy("Enabled"), required=False)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for name in ("url", "secret"):
            self.fields[name].required = False
            self.fields[name].help_text = _("Leave it empty to keep it.")


class SilenceForm(forms.Form):
    """A time of planned work."""

    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=GENEROUS)
    starts_at = forms.DateTimeField(
        label=gettext_lazy("Begins"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        initial=timezone.localtime,
    )
    ends_at = forms.DateTimeField(
        label=gettext_lazy("Ends"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
    resource_id = forms.CharField(
        label=gettext_lazy("Resource ID"),
        max_length=GENEROUS,
        required=False,
        help_text=gettext_lazy("A VM or an external IP; empty for all."),
    )
    template = forms.ChoiceField(label=gettext_lazy("Alarm template"), required=False)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["template"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            ("", _("All")),
            *((one.pk, f"{one.name} ({one.pk})") for one in template_queries.templates()),
        ]


# -- contacts ----------------------------------------------------------------------------------


def verified_view(contact: Contact) -> StatusView:
    """Return whether an address may be written to."""
    if contact.verified_at is not None:
        return StatusView(_("Verified"), "ok")
    return StatusView(_("Not verified"), "warn", _("Enter the code that was sent to it."))


class ContactList(VerbList):
    kind = "contact"
    title = gettext_lazy("Contacts")
    text = gettext_lazy("E-mail addresses that notification groups write to, once verified.")
    permission = "alarms.view_contact"
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("email", gettext_lazy("E-mail"), render=ui.ident, sort="email"),
        Column("status", gettext_lazy("Status"), value=verified_view, sort="verified_at",
               export=lambda row: str(verified_view(row).label)),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    search_fields = ("id", "name", "email")
    page_actions = (
        PageAction(
            gettext_lazy("Add contact"),
            "contact-create",
            dialog=True,
            permission="alarms.create_contact",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No contact yet"),
        gettext_lazy("Add an address and verify it to be notified of alarms by e-mail."),
        icon="mail",
        action_label=gettext_lazy("Add contact"),
        action_url_name="contact-create",
        action_permission="alarms.create_contact",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.contacts()


class Creation(ActionView):
    """A dialog that makes a row of a list."""

    verb = gettext_lazy("Add")
    home: ClassVar[str]

    def success_url(self, obj: Any) -> Any:
        """The list with the new row."""
        return reverse(self.home)


class ContactCreate(Creation):
    title = gettext_lazy("Add contact")
    form_class = ContactForm
    success_text = gettext_lazy("The contact was added. A code is being sent to the address.")
    home = "contact-list"

    def perform(self, obj: Any, data: dict[str, Any]) -> Contact:
        return actions.create_contact(actor=self.actor, **data)


register(
    Pages(
        kind="contact",
        prefix="contacts",
        permission="alarms.view_contact",
        one=lambda request, pk, binned: found(queries.contacts(), pk),
        several=lambda request, ids: queries.contacts().filter(pk__in=ids),
    )
)


# -- groups and webhooks -----------------------------------------------------------------------


class GroupList(VerbList):
    kind = "notification_group"
    title = gettext_lazy("Notification groups")
    text = gettext_lazy("Who is notified of alarms: contacts by e-mail, and webhooks.")
    permission = "alarms.view_group"
    columns = (
        name_column("notification-group-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("contacts", gettext_lazy("Contacts"), value="contact_count", sort="contact_count",
               align="end"),
        Column("webhooks", gettext_lazy("Webhooks"), value="webhook_count", sort="webhook_count",
               align="end"),
        Column("templates", gettext_lazy("Alarm templates"), value="template_count",
               sort="template_count", align="end"),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    page_actions = (
        PageAction(
            gettext_lazy("Create notification group"),
            "notification-group-create",
            dialog=True,
            permission="alarms.create_notification_group",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No notification group yet"),
        gettext_lazy("A group is notified of the alarms of the templates that name it."),
        icon="bell-ringing",
        action_label=gettext_lazy("Create notification group"),
        action_url_name="notification-group-create",
        action_permission="alarms.create_notification_group",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.groups()


def enabled_view(webhook: Webhook) -> StatusView:
    """Return whether messages are sent to a webhook."""
    return StatusView(_("On"), "ok") if webhook.enabled else StatusView(_("Off"), "off")


class GroupDetail(VerbList, DetailListView):
    kind = "webhook"
    title = gettext_lazy("Webhooks")
    permission = "alarms.view_group"
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("host", gettext_lazy("Host"), render=ui.ident, sort="host"),
        Column("format", gettext_lazy("Format"), value="get_format_display", sort="format"),
        Column("signed", gettext_lazy("Signed"), value=lambda row: bool(row.sealed_secret)),
        Column("enabled", gettext_lazy("Status"), value=enabled_view, sort="enabled",
               export=lambda row: str(enabled_view(row).label)),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    search_fields = ("id", "name", "host")
    search_placeholder = gettext_lazy("Search by name or host")
    empty = EmptyState(
        gettext_lazy("No webhook yet"),
        gettext_lazy("Messages are posted to webhooks as JSON, or to Slack, DingTalk or WeCom."),
        icon="webhook",
    )

    def group(self) -> NotificationGroup:
        """The group of the address. Raises NotFound."""
        row: NotificationGroup = found(queries.groups(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        return queries.webhooks(self.group())

    def page_context(self) -> dict[str, Any]:
        group: Any = self.group()
        add, *others = menu("notification_group", group, self.actor)
        quiet = None
        if group.quiet_from is not None:
            quiet = f"{group.quiet_from:%H:%M} – {group.quiet_until:%H:%M} {group.time_zone}"
        used = group.template_count
        return {
            "object": group,
            "status": StatusView(_("In use"), "ok") if used else StatusView(_("Not used"), "off"),
            "crumbs": [
                (_("Notification groups"), reverse("notification-group-list")),
                (group.name, ""),
            ],
            "primary": add,
            "actions": others,
            "facts": [
                (_("ID"), group.pk, group.pk),
                (_("Contacts"), ", ".join(str(one) for one in group.contacts.all())),
                (_("Webhooks"), f"{group.webhook_count} / {WEBHOOKS_PER_GROUP}"),
                (_("Alarm templates"), used),
                (_("Quiet hours"), quiet),
                (_("Remark"), group.remark),
                (_("Created"), ui.moment(group.created_at)),
            ],
        }


class GroupCreate(ActionView):
    title = gettext_lazy("Create notification group")
    verb = gettext_lazy("Create")
    form_class = GroupForm
    success_text = gettext_lazy("The notification group was created.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"contacts": list(queries.contacts())}

    def perform(self, obj: Any, data: dict[str, Any]) -> NotificationGroup:
        return actions.create_notification_group(actor=self.actor, **data)

    def succeeded(self, obj: Any, result: NotificationGroup) -> HttpResponse:
        """To the group, whose webhooks come next."""
        to = reverse("notification-group-detail", args=[result.pk])
        return http.done(self.request, self.success_text, to=to)


register(
    Pages(
        kind="notification_group",
        prefix="notification-groups",
        permission="alarms.view_group",
        one=lambda request, pk, binned: found(queries.groups(), pk),
        several=lambda request, ids: queries.groups().filter(pk__in=ids),
        names=NAMES,
        home=lambda group: reverse("notification-group-list"),
    )
)
register(
    Pages(
        kind="webhook",
        prefix="webhooks",
        permission="alarms.view_group",
        one=lambda request, pk, binned: found(queries.webhooks(), pk),
        several=lambda request, ids: queries.webhooks().filter(pk__in=ids),
    )
)


@dialog("notification_group", "edit_notification_group")
class GroupEdit(VerbDialog):
    form_class = GroupForm

    def get_form_kwargs(self, obj: NotificationGroup) -> dict[str, Any]:
        """Begin with what it says now."""
        fields = ("name", "remark", "quiet_from", "quiet_until", "quiet_critical", "time_zone")
        now = {name: getattr(obj, name) for name in fields}
        chosen = [one.pk for one in obj.contacts.all()]
        return {"contacts": list(queries.contacts()), "initial": {**now, "contacts": chosen}}


@dialog("notification_group", "add_webhook")
class WebhookAdd(VerbDialog):
    form_class = WebhookForm

    def success_url(self, obj: NotificationGroup) -> Any:
        """The group's page with the new row."""
        return reverse("notification-group-detail", args=[obj.pk])


@dialog("webhook", "edit_webhook")
class WebhookEdit(VerbDialog):
    form_class = WebhookEditForm

    def get_form_kwargs(self, obj: Webhook) -> dict[str, Any]:
        """Begin with what may be shown of it."""
        return {
            "initial": {
                "name": obj.name,
                "webhook_format": obj.format,
                "enabled": obj.enabled,
            }
        }


# -- silences ----------------------------------------------------------------------------------


def silence_view(silence: Silence) -> StatusView:
    """Return whether a silence holds now."""
    now = timezone.now()
    if silence.ends_at <= now:
        return StatusView(_("Over"), "off")
    return (
        StatusView(_("Planned"), "off")
        if silence.starts_at > now
        else StatusView(_("Silent now"), "warn")
    )


class SilenceList(VerbList):
    kind = "silence"
    title = gettext_lazy("Silences")
    text = gettext_lazy("During planned work alarms are recorded, and nobody is notified.")
    permission = "alarms.view_silence"
    columns = (
        Column("reason", gettext_lazy("Reason"), sort="reason", main=True),
        Column("resource", gettext_lazy("Resource"),
               value=lambda row: row.resource_id or _("All"), sort="resource_id"),
        Column("template", gettext_lazy("Alarm template"),
               value=lambda row: row.template.name if row.template else _("All")),
        Column("starts", gettext_lazy("Begins"), value="starts_at", render=ui.moment,
               sort="starts_at"),
        Column("ends", gettext_lazy("Ends"), value="ends_at", render=ui.moment, sort="ends_at"),
        Column("status", gettext_lazy("Status"), value=silence_view,
               export=lambda row: str(silence_view(row).label)),
        Column("by", gettext_lazy("Created by"), value="created_by", default=False),
    )  # fmt: skip
    search_fields = ("id", "reason", "resource_id")
    search_placeholder = gettext_lazy("Search by reason or resource")
    page_actions = (
        PageAction(
            gettext_lazy("Create silence"),
            "silence-create",
            dialog=True,
            permission="alarms.create_silence",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No silence"),
        gettext_lazy("Create one before planned work, so that nobody is notified of it."),
        icon="bell-off",
        action_label=gettext_lazy("Create silence"),
        action_url_name="silence-create",
        action_permission="alarms.create_silence",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.silences()


class SilenceCreate(Creation):
    title = gettext_lazy("Create silence")
    verb = gettext_lazy("Create")
    form_class = SilenceForm
    success_text = gettext_lazy("The silence was created.")
    home = "silence-list"

    def perform(self, obj: Any, data: dict[str, Any]) -> Silence:
        chosen = data.pop("template")
        template = None
        if chosen:
            rows = template_queries.templates()
            template = pick(rows, chosen, field="template", what="alarm template")
        return actions.create_silence(actor=self.actor, template=template, **data)


register(
    Pages(
        kind="silence",
        prefix="silences",
        permission="alarms.view_silence",
        one=lambda request, pk, binned: found(queries.silences(), pk),
        several=lambda request, ids: queries.silences().filter(pk__in=ids),
    )
)


# -- deliveries --------------------------------------------------------------------------------

_TONES: dict[str, Tone] = {
    DeliveryState.SENDING.value: "busy",
    DeliveryState.SENT.value: "ok",
    DeliveryState.FAILED.value: "error",
}


def delivery_view(delivery: Delivery) -> StatusView:
    """Return how far a message has come."""
    label = DeliveryState(delivery.state).label
    return StatusView(label, _TONES[delivery.state], delivery.error)


class DeliveryList(ListView):
    kind = "delivery"
    title = gettext_lazy("Deliveries")
    text = gettext_lazy("Messages of the last 90 days. Failed tries are repeated for hours.")
    permission = "alarms.view_delivery"
    columns = (
        Column("subject", gettext_lazy("Message"), sort="subject", main=True),
        Column("to", gettext_lazy("To"), sort="to"),
        Column("notices", gettext_lazy("Alarms"), sort="notices", align="end"),
        Column("state", gettext_lazy("Status"), value=delivery_view, sort="state",
               export="get_state_display"),
        Column("error", gettext_lazy("Error")),
        Column("tries", gettext_lazy("Tries"), sort="tries", align="end"),
        Column("http", gettext_lazy("HTTP status"), value="http_status", align="end",
               default=False),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
        Column("ended", gettext_lazy("Ended"), value="ended_at", sort="ended_at", default=False),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    filters = (
        Filter("state", gettext_lazy("Status"), choices=DeliveryState.choices),
        Filter(
            "test",
            gettext_lazy("Test"),
            choices=(("yes", gettext_lazy("Yes")), ("no", gettext_lazy("No"))),
            apply=lambda rows, values: rows.filter(is_test__in=[v == "yes" for v in values]),
        ),
    )
    search_fields = ("id", "to", "subject")
    search_placeholder = gettext_lazy("Search by receiver or message")
    empty = EmptyState(
        gettext_lazy("Nothing was sent yet"),
        gettext_lazy("Messages appear here when alarms are notified."),
        icon="send",
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.deliveries()
