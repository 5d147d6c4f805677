"""The verbs of alarms."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from scloud.verbs.catalogue import Answer, Batch, Catalogue, Dialog, Route, Verb

ALARMS = Catalogue(
    "alarm",
    app="alarms",
    public=(
        Verb(
            "acknowledge_alarm",
            _("Acknowledge"),
            icon="check",
            route=Route(
                "Say that somebody takes care of an open alarm: it is not repeated any more.",
                answer=Answer.ROW,
            ),
            dialog=Dialog(
                text=_("The alarm stays open until it recovers. No more reminders are sent."),
                done=_("The alarm was acknowledged."),
            ),
            batch=Batch(_("The alarms stay open until they recover. No more reminders are sent.")),
        ),
    ),
)
