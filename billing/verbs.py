"""The verbs of budgets."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Route, Verb

BUDGETS = Catalogue(
    "budget",
    app="billing",
    public=(
        Verb(
            "edit_budget",
            _("Edit"),
            icon="pencil",
            elsewhere="PUT /billing/budgets/{id}",
            dialog=Dialog(title=_("Edit budget"), icon="", press=_("Save"), done=_("Saved.")),
        ),
        Verb(
            "delete_budget",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route("Delete a budget.", method="delete", answer=Answer.NOTHING),
            dialog=Dialog(
                group=1,
                icon="",
                text=_("Nobody is told any more, and it stops no purchases."),
                done=_("The budget was deleted."),
            ),
        ),
    ),
)
