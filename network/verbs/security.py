"""The verbs of security groups and their rules, in the order of their menus."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from network.verbs import inputs
from scloud.verbs.catalogue import Answer, Batch, Catalogue, Dialog, Route, Verb

CUT = _("Active connections that are no longer allowed will be dropped.")

SECURITY_GROUPS = Catalogue(
    "security_group",
    app="network",
    argument="group",
    public=(
        Verb(
            "add_rule",
            _("Add rule"),
            icon="plus",
            elsewhere="POST /security-groups/{id}/rules",
            dialog=Dialog(
                name="rule-add",
                icon="",
                press=_("Add"),
                done=_("The rule was added."),
            ),
        ),
        Verb(
            "add_template",
            _("Add rules from a template"),
            icon="template",
            input=inputs.TemplateInput,
            route=Route(
                "Add the rules of a template (`GET /security-group-templates`); acts at once.",
                operation="add_template_to_security_group",
                answer=Answer.SHAPE,
                shape=inputs.RulesChangedShape,
                example=(
                    "Databases for one network",
                    {"template": "database", "cidr": "10.0.1.0/24"},
                ),
            ),
            dialog=Dialog(
                icon="",
                press=_("Add"),
                text=_("Rules that the security group already has stay as they are."),
            ),
        ),
        Verb(
            "import_rules",
            _("Import rules from CSV"),
            icon="upload",
            input=inputs.RulesFileInput,
            route=Route(
                "Add the rules of a CSV file, or replace all rules by them; all or none.",
                operation="import_security_group_rules",
                answer=Answer.SHAPE,
                shape=inputs.RulesChangedShape,
                example=(
                    "One rule",
                    {"content": "direction,protocol,ports,cidr\nin,tcp,22,203.0.113.0/24\n"},
                ),
            ),
            dialog=Dialog(
                icon="",
                press=_("Import"),
                text=_(
                    "The first line names the columns: direction, protocol, ports, cidr, action, "
                    "priority, description. If one line is wrong, nothing is imported."
                ),
            ),
        ),
        Verb(
            "copy_security_group",
            _("Copy"),
            icon="copy",
            input=inputs.CopyGroupInput,
            route=Route(
                "Create a security group with the same rules.",
                answer=Answer.MADE,
                made="security_group",
                example=("A copy", {"name": "web-2"}),
            ),
            dialog=Dialog(
                title=_("Copy security group"),
                icon="",
                done=_("The security group is being created."),
            ),
        ),
        Verb(
            "rename_security_group",
            _("Rename"),
            icon="pencil",
            input=inputs.NameInput,
            route=Route(
                "Rename a security group, and change its remark if one is given.",
                method="patch",
                answer=Answer.ROW,
            ),
            dialog=Dialog(
                title=_("Rename security group"), press=_("Save"), icon="", done=_("Saved.")
            ),
        ),
        Verb(
            "delete_security_group",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete a security group that no VM uses.", method="delete", answer=Answer.NOTHING
            ),
            dialog=Dialog(
                group=1,
                title=_("Delete security group"),
                icon="",
                text=_(
                    "Cannot be deleted while VMs use it, including VMs in the recycle "
                    "bin. This cannot be undone."
                ),
                done=_("The security group was deleted."),
                leaves=True,
            ),
        ),
    ),
)

RULES = Catalogue(
    "security_group_rule",
    app="network",
    argument="rule",
    public=(
        Verb(
            "edit_rule",
            _("Edit"),
            icon="pencil",
            elsewhere="PUT /security-group-rules/{id}",
            dialog=Dialog(
                name="rule-edit",
                path="edit",
                title=_("Edit rule"),
                press=_("Save"),
                icon="",
                done=_("The rule was changed."),
            ),
        ),
        Verb(
            "remove_rule",
            _("Remove"),
            icon="trash",
            danger=True,
            elsewhere="DELETE /security-group-rules/{id}",
            dialog=Dialog(
                name="rule-remove",
                path="remove",
                group=1,
                title=_("Remove rule"),
                icon="",
                text=CUT,
                done=_("The rule was removed."),
            ),
            batch=Batch(CUT, path="remove", name="rules-remove", title=_("Remove rules")),
        ),
    ),
)
