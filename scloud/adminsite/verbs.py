"""The buttons of the catalogue's verbs in Django admin."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.utils.translation import gettext as _

from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ButtonAdmin
from scloud.verbs import actions, refusals
from scloud.verbs.catalogue import Verb, of_kind


def _press(verb: Verb, actor: Actor, row: Any) -> str:
    actions.invoke(verb, actor=actor, row=row)
    known = verb.admin
    assert known is not None
    said = str(known.done) or _("%(verb)s: %(name)s")
    return said % {"verb": verb.label, "name": row.name}


def verb_buttons(kind: str) -> tuple[Button, ...]:
    return tuple(
        Button(
            verb.admin_path,
            verb.label,
            partial(_press, verb),
            partial(refusals.for_platform, verb=verb),
            confirm=verb.admin.confirm,
            batch=verb.admin.batch,
            right=verb.permission,
        )
        for verb in of_kind(kind).public.values()
        if verb.admin is not None
    )


class VerbAdmin(ButtonAdmin):
    """A kind's rows with the buttons of its verbs, after those of its own."""

    kind: ClassVar[str]

    def get_buttons(self) -> tuple[Button, ...]:
        """Return its own buttons and those of the catalogue."""
        return (*self.buttons, *verb_buttons(self.kind))
