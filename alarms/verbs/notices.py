"""The verbs of contacts, notification groups, webhooks and silences."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from alarms.verbs import inputs
from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Field, Route, Verb

CONTACTS = Catalogue(
    "contact",
    app="alarms",
    public=(
        Verb(
            "verify_contact",
            _("Verify"),
            icon="mail-check",
            input=inputs.CodeInput,
            route=Route(
                "Verify an address by the code that was sent to it.",
                answer=Answer.ROW,
                example=("A code", {"code": "K7QX-2MNP"}),
            ),
            dialog=Dialog(
                icon="",
                text=_("Enter the code that was sent to the address."),
                done=_("The address was verified."),
                fields={"code": Field(_("Code"))},
            ),
        ),
        Verb(
            "send_contact_code",
            _("Send a new code"),
            icon="mail",
            route=Route("Send a new code to an address that is not verified.", path="send-code"),
            dialog=Dialog(path="send-code", how="post", done=_("The code is being sent.")),
        ),
        Verb(
            "test_contact",
            _("Send test message"),
            icon="send",
            route=Route("Send a test message; what came of it is among the deliveries."),
            dialog=Dialog(how="post", done=_("The test message is being sent.")),
        ),
        Verb(
            "edit_contact",
            _("Rename"),
            icon="pencil",
            input=inputs.ContactEditInput,
            route=Route("Rename a contact.", method="patch", answer=Answer.ROW),
            dialog=Dialog(
                icon="", press=_("Save"), done=_("Saved."), fields={"name": Field(_("Name"))}
            ),
        ),
        Verb(
            "delete_contact",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete a contact; groups go on without it.",
                method="delete",
                answer=Answer.NOTHING,
            ),
            dialog=Dialog(
                group=1,
                icon="",
                text=_("Notification groups continue without it."),
                done=_("The contact was deleted."),
            ),
        ),
    ),
)

GROUPS = Catalogue(
    "notification_group",
    app="alarms",
    argument="group",
    public=(
        Verb(
            "add_webhook",
            _("Add webhook"),
            icon="plus",
            elsewhere="POST /notification-groups/{id}/webhooks",
            dialog=Dialog(icon="", press=_("Add"), done=_("The webhook was added.")),
        ),
        Verb(
            "edit_notification_group",
            _("Edit"),
            icon="pencil",
            elsewhere="PUT /notification-groups/{id}",
            dialog=Dialog(
                title=_("Edit notification group"), icon="", press=_("Save"), done=_("Saved.")
            ),
        ),
        Verb(
            "delete_notification_group",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete a notification group that no alarm template names, with its webhooks.",
                method="delete",
                answer=Answer.NOTHING,
            ),
            dialog=Dialog(
                group=1,
                icon="",
                text=_("Cannot be deleted while alarm templates use it. Its webhooks are deleted."),
                done=_("The notification group was deleted."),
                leaves=True,
            ),
        ),
    ),
)

WEBHOOKS = Catalogue(
    "webhook",
    app="alarms",
    public=(
        Verb(
            "test_webhook",
            _("Send test message"),
            icon="send",
            route=Route("Send a test message to a webhook; see the deliveries."),
            dialog=Dialog(how="post", done=_("The test message is being sent.")),
        ),
        Verb(
            "edit_webhook",
            _("Edit"),
            icon="pencil",
            elsewhere="PUT /webhooks/{id}",
            dialog=Dialog(title=_("Edit webhook"), icon="", press=_("Save"), done=_("Saved.")),
        ),
        Verb(
            "remove_webhook",
            _("Remove"),
            icon="trash",
            danger=True,
            route=Route("Remove a webhook.", method="delete", answer=Answer.NOTHING),
            dialog=Dialog(
                group=1,
                icon="",
                text=_("No more messages are sent to it."),
                done=_("The webhook was removed."),
            ),
        ),
    ),
)

SILENCES = Catalogue(
    "silence",
    app="alarms",
    public=(
        Verb(
            "end_silence",
            _("End now"),
            icon="bell",
            route=Route(
                "End a silence now; one that has not begun is deleted.", answer=Answer.NOTHING
            ),
            dialog=Dialog(
                icon="",
                text=_("From now on alarms are notified again."),
                done=_("The silence has ended."),
            ),
        ),
    ),
)
