"""The verbs of alarm templates and their rules, in the order of their menus."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from alarms.verbs import inputs
from scloud.verbs.catalogue import Answer, Batch, Catalogue, Dialog, Route, Verb

ENDS = _("Open alarms of the rule end.")

TEMPLATES = Catalogue(
    "alarm_template",
    app="alarms",
    argument="template",
    public=(
        Verb(
            "add_alarm_rule",
            _("Add rule"),
            icon="plus",
            elsewhere="POST /alarm-templates/{id}/rules",
            dialog=Dialog(
                name="alarm-rule-add",
                icon="",
                press=_("Add"),
                done=_("The rule was added."),
            ),
        ),
        Verb(
            "edit_alarm_template",
            _("Edit"),
            icon="pencil",
            input=inputs.TemplateEditInput,
            route=Route(
                "Change name, remark, or when missing data opens an alarm.",
                method="patch",
                answer=Answer.ROW,
            ),
            dialog=Dialog(
                title=_("Edit alarm template"), press=_("Save"), icon="", done=_("Saved.")
            ),
        ),
        Verb(
            "set_alarm_template_group",
            _("Choose notification group"),
            icon="bell-ringing",
            input=inputs.TemplateGroupInput,
            route=Route(
                "Have another group notified of the alarms of a template, or nobody.",
                path="set-group",
                answer=Answer.ROW,
                example=("A group", {"group": "group-0q8zt5mva"}),
            ),
            dialog=Dialog(path="set-group", icon="", press=_("Save"), done=_("Saved.")),
        ),
        Verb(
            "copy_alarm_template",
            _("Copy"),
            icon="copy",
            input=inputs.TemplateCopyInput,
            route=Route(
                "Create an alarm template with the same rules.",
                answer=Answer.MADE,
                made="alarm_template",
                example=("A copy", {"name": "web-2"}),
            ),
            dialog=Dialog(
                title=_("Copy alarm template"),
                icon="",
                done=_("The alarm template was copied."),
            ),
        ),
        Verb(
            "make_default_alarm_template",
            _("Set as default"),
            icon="star",
            route=Route(
                "Give this template to new resources; those that exist keep theirs.",
                answer=Answer.ROW,
            ),
            dialog=Dialog(
                icon="",
                text=_("New resources of this type get this template. Existing ones keep theirs."),
                done=_("%(name)s is the default template."),
            ),
        ),
        Verb(
            "delete_alarm_template",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete an alarm template that no resource uses.",
                method="delete",
                answer=Answer.NOTHING,
            ),
            dialog=Dialog(
                group=1,
                title=_("Delete alarm template"),
                icon="",
                text=_("Cannot be deleted while resources use it. This cannot be undone."),
                done=_("The alarm template was deleted."),
                leaves=True,
            ),
        ),
    ),
)

RULES = Catalogue(
    "alarm_rule",
    app="alarms",
    argument="rule",
    public=(
        Verb(
            "edit_alarm_rule",
            _("Edit"),
            icon="pencil",
            elsewhere="PUT /alarm-rules/{id}",
            dialog=Dialog(
                path="edit",
                title=_("Edit rule"),
                press=_("Save"),
                icon="",
                text=ENDS,
                done=_("The rule was changed."),
            ),
        ),
        Verb(
            "remove_alarm_rule",
            _("Remove"),
            icon="trash",
            danger=True,
            elsewhere="DELETE /alarm-rules/{id}",
            dialog=Dialog(
                path="remove",
                group=1,
                title=_("Remove rule"),
                icon="",
                text=ENDS,
                done=_("The rule was removed."),
            ),
            batch=Batch(ENDS, path="remove", title=_("Remove rules")),
        ),
    ),
)
