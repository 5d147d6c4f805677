"""Bases of the views of a VM's verbs, and the short ways to make one from its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise

from compute.models import VM
from compute.queries import vms as vm_queries
from compute.states import vms as states
from compute.views.common import refusal
from scloud.web.views import ActionView, PostView

Text = str | Promise
Action = Callable[..., Any]


class VerbAction(ActionView):
    """A verb with its dialog, which says at once why it would be refused."""

    rule: ClassVar[str]

    def refusal(self, obj: Any) -> str:
        """Return why the caller cannot use the verb now; empty when it can."""
        raise NotImplementedError

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """The refusal, if there is one."""
        reason = self.refusal(obj)
        return {**super().get_dialog_context(obj), "warnings": [reason] if reason else []}

    def get_success_text(self, obj: Any, result: Any) -> Text:
        """The text, with the resource's name in it."""
        return str(self.success_text) % {"name": obj.name}


class VmAction(VerbAction):
    """A verb of a VM with its dialog: a confirmation, or a form whose data the action takes."""

    permission = "compute.view_vm"
    live_kind = "vm"
    action: ClassVar[Action]
    binned: ClassVar[bool] = False

    def get_object(self) -> VM:
        """The VM of the address."""
        return vm_queries.vm(self.kwargs["vm_id"], binned=self.binned)

    def refusal(self, obj: Any) -> str:
        """By the VM's state and the caller's role."""
        return refusal(obj, self.rule, self.actor)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action."""
        return type(self).action(actor=self.actor, vm=obj, **data)


class VmPost(PostView):
    """A verb that acts at once."""

    permission = "compute.view_vm"
    live_kind = "vm"
    rule: ClassVar[str]
    action: ClassVar[Action]

    def get_object(self) -> VM:
        """The VM of the address."""
        return vm_queries.vm(self.kwargs["vm_id"])

    def perform(self, obj: Any) -> Any:
        """Call the action."""
        return type(self).action(actor=self.actor, vm=obj)


def dialog(
    rule: str,
    action: Action,
    *,
    text: Text,
    done: Text,
    base: type[VmAction] = VmAction,
    form_class: type[forms.Form] | None = None,
    **attributes: Any,
) -> type[VmAction]:
    """Make the dialog of a verb from its rule, its action and its words."""
    known = states.VMS.rule(rule)
    return type(
        "".join(word.capitalize() for word in rule.split("_")),
        (base,),
        {
            "rule": rule,
            "action": action,
            "title": known.label,
            "verb": known.label,
            "icon": known.icon,
            "danger": known.danger,
            "text": text,
            "success_text": done,
            "form_class": form_class or base.form_class,
            **attributes,
        },
    )


def at_once(rule: str, action: Action, *, done: Text) -> type[VmPost]:
    """Make the view of a verb that needs no question."""
    name = "".join(word.capitalize() for word in rule.split("_"))
    return type(name, (VmPost,), {"rule": rule, "action": action, "success_text": done})
