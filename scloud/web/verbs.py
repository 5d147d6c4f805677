"""The console's part of the catalogue: dialogs, menus, buttons, batches and URLs of every verb.

An app says once how the pages of a kind find its rows (:class:`Pages`). A verb then has its dialog
by being declared; one that needs more than a question and plain fields has a dialog class of its
own, made known with :func:`dialog`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db.models import QuerySet
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from rest_framework import serializers

from scloud.lib.form_fields import PlainIntegerField
from scloud.resources import kinds
from scloud.tenancy.actor import Actor
from scloud.verbs import actions, inputs, refusals
from scloud.verbs.catalogue import Text, Verb, of_kind
from scloud.web import http
from scloud.web.forms import nothing_to_choose, repeated
from scloud.web.http import ConsoleRequest
from scloud.web.lists import BatchAction, ListView, RowAction
from scloud.web.views import ActionView, BatchView, Instead, PostView

Lines = list[tuple[Any, ...]]
REMARK = gettext_lazy("Remark")
SHOWN_REFUSALS = 5


@dataclass(frozen=True, kw_only=True)
class Names:
    """How the rows of a kind are named: what the one dialog for it asks, and how long it may be."""

    longest: int = 30
    remark: Text = REMARK
    longest_remark: int = 200
    tags: bool = False
    help: Text = ""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """How the console finds the rows of a kind.

    ``prefix`` begins the URLs, ``key`` is the parameter with the id. ``one`` returns the row of an
    address, with True those of the recycle bin too, and raises NotFound; ``several`` returns the
    rows of ids. ``permission`` is what seeing a dialog needs. ``lines`` says what a dialog shows of
    a row for a verb, ``home`` where to go from the page of a row that is gone.
    """

    kind: str
    prefix: str
    key: str = "pk"
    permission: str = ""
    one: Callable[[ConsoleRequest, str, bool], Any]
    several: Callable[[ConsoleRequest, list[str]], QuerySet[Any]]
    names: Names = Names()
    lines: Callable[[str, Any], Lines] | None = None
    home: Callable[[Any], str] | None = None


_pages: dict[str, Pages] = {}
_dialogs: dict[tuple[str, str], type[ActionView]] = {}
_batches: dict[tuple[str, str], type[VerbBatch]] = {}
D = TypeVar("D", bound=type[ActionView])


def register(pages: Pages) -> None:
    """Make known how the rows of a kind are found."""
    _pages[pages.kind] = pages


def dialog(kind: str, *verbs: str) -> Callable[[D], D]:
    """Make a class the dialog of verbs that need more than a question and plain fields."""

    def keep(view: D) -> D:
        for verb in verbs:
            _dialogs[kind, verb] = view
        return view

    return keep


def batch_dialog(kind: str, verb: str) -> Callable[[type[VerbBatch]], type[VerbBatch]]:
    """Make a class the dialog of a batch that needs more than a question and plain fields."""

    def keep(view: type[VerbBatch]) -> type[VerbBatch]:
        _batches[kind, verb] = view
        return view

    return keep


def split_tags(text: str) -> list[str]:
    """Return what was typed between commas, without blanks."""
    return [tag.strip() for tag in text.split(",") if tag.strip()]


class NamesForm(forms.Form):
    """Name and remark, and tags where the kind has them."""

    name = forms.CharField(label=gettext_lazy("Name"))
    remark = forms.CharField(required=False)
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        max_length=1000,
        required=False,
        help_text=gettext_lazy("Separated by commas: web, env=production"),
    )

    def __init__(self, *args: Any, names: Names, **more: Any) -> None:
        super().__init__(*args, **more)
        help_text: Any = names.help
        remark: Any = names.remark
        self.fields["name"] = forms.CharField(
            label=_("Name"), max_length=names.longest, help_text=help_text
        )
        self.fields["remark"] = forms.CharField(
            label=remark, max_length=names.longest_remark, required=False
        )
        if not names.tags:
            del self.fields["tags"]

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


def _form_field(field: Any, label: Text, help_text: Text) -> forms.Field:
    """Return how a field of an input is asked for."""
    words: dict[str, Any] = {"label": label, "help_text": help_text}
    if isinstance(field, serializers.BooleanField):
        return forms.BooleanField(required=False, **words)
    if isinstance(field, serializers.IntegerField):
        return PlainIntegerField(
            min_value=field.min_value,
            max_value=field.max_value,
            required=field.required,
            **words,
        )
    if isinstance(field, serializers.ChoiceField):
        return forms.ChoiceField(choices=list(field.choices.items()), **words)
    secret = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.CharField(
        max_length=field.max_length,
        required=field.required and not field.allow_blank,
        strip=field.trim_whitespace,
        widget=secret if field.write_only else forms.TextInput(),
        **words,
    )


def form_of(verb: Verb, data: Any = None, *, row: Any = None) -> forms.Form | None:
    """Return the form of the fields that a verb's dialog asks for; None where it asks none."""
    known = verb.dialog
    if known is None or not known.fields:
        return None
    asked = {str(one.source): one for one in inputs.fields_of(verb).values()}
    fields = {
        name: _form_field(asked[name], words.label, words.help)
        for name, words in known.fields.items()
    }
    initial = {
        name: getattr(row, str(asked[name].field_name))
        for name in known.fields
        if hasattr(row, str(asked[name].field_name))
    }
    form: forms.Form = type("VerbForm", (forms.Form,), fields)(data, initial=initial)
    return form


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """What a dialog says where there is nothing to choose, with the page or dialog that helps."""

    text: Text
    label: Text = ""
    url_name: str = ""
    permission: str = ""
    dialog: bool = True


class VerbDialog(ActionView):
    """A verb with its dialog, which says at once why it would be refused.

    ``nothing`` is said where a list that has to be chosen from is empty.
    """

    declared: ClassVar[Verb]
    pages: ClassVar[Pages]
    binned: ClassVar[bool] = False
    _back: http.Undo | None = None
    nothing: ClassVar[Nothing] = Nothing(text=gettext_lazy("There is nothing to choose from."))

    def get_object(self) -> Any:
        return self.pages.one(self.request, self.kwargs[self.pages.key], self.binned)

    def refusal(self, obj: Any) -> str:
        """Return why the caller cannot use the verb now; empty when it can."""
        return refusals.refusal(self.actor, obj, self.declared)

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form | None:
        """The form of the class, else the fields that the catalogue names."""
        if self.form_class is not None:
            return super().get_form(obj, data, files)
        return form_of(self.declared, data, row=obj)

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What the kind says of the row, and the refusal, if there is one."""
        reason = self.refusal(obj)
        lines = self.pages.lines(self.declared.name, obj) if self.pages.lines else []
        found = super().get_dialog_context(obj)
        return {**found, "lines": lines, "warnings": [reason] if reason else []}

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Say that there is nothing to choose, and what would help whoever may do that."""
        if form is None or not any(nothing_to_choose(field) for field in form.fields.values()):
            return None
        known = self.nothing
        if not known.url_name or not self.actor.allows(known.permission):
            return Instead(known.text)
        return Instead(known.text, known.label, reverse(known.url_name), known.dialog)

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return what the action is given, of the form's cleaned data."""
        return data

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action, with the name that was typed where it takes one."""
        # Asked before it is done: afterwards the row has another state.
        self._back = self._restoring(obj)
        values = self.values(obj, data)
        if self.type_name and "confirm_name" in inputs.parameters_of(self.declared):
            values["confirm_name"] = self.request.POST.get("typed_name", "").strip()
        return actions.invoke(self.declared, actor=self.actor, row=obj, **values)

    def get_success_text(self, obj: Any, result: Any) -> Text:
        """The text, with the row's name in it."""
        return str(self.success_text) % {"name": obj.name}

    def success_url(self, obj: Any) -> Any:
        """Away from the row's own page, where that is gone now."""
        known = self.declared.dialog
        if known is None or not known.leaves or self.pages.home is None:
            return None
        here = (self.request.htmx.current_url_abs_path if self.request.htmx else "") or ""
        pk = self.kwargs[self.pages.key]
        return self.pages.home(obj) if not self.request.htmx or pk in here else None

    def undo(self, obj: Any) -> http.Undo | None:
        """Restoring what was deleted."""
        return self._back

    def _restoring(self, obj: Any) -> http.Undo | None:
        """Return how a deletion is taken back; what has failed is not kept in the bin."""
        kind = self.declared.kind
        restore = of_kind(kind).public.get(f"restore_{kind}")
        if (
            self.declared.name != f"delete_{kind}"
            or restore is None
            or kind not in {one.kind for one in kinds.binnable()}
            or obj.status == "failed"
            or not self.actor.allows(restore.permission)
        ):
            return None
        return http.Undo(reverse("bin-restore", args=[kind, obj.pk]), f"{kind}:{obj.pk}")


class RenameDialog(VerbDialog):
    """Name, remark and tags, of any kind."""

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        now = {"name": obj.name, "remark": obj.remark}
        if self.pages.names.tags:
            now["tags"] = ", ".join(obj.tags)
        return NamesForm(data, names=self.pages.names, initial=now)


class VerbPost(PostView):
    declared: ClassVar[Verb]
    pages: ClassVar[Pages]
    binned: ClassVar[bool] = False

    def get_object(self) -> Any:
        return self.pages.one(self.request, self.kwargs[self.pages.key], self.binned)

    def perform(self, obj: Any) -> Any:
        return actions.invoke(self.declared, actor=self.actor, row=obj)


class VerbBatch(BatchView):
    declared: ClassVar[Verb]
    pages: ClassVar[Pages]

    def get_objects(self, ids: list[str]) -> list[Any]:
        """The chosen rows of the tenant."""
        return list(self.pages.several(self.request, ids))

    def get_form(self, data: Any = None) -> forms.Form | None:
        """The fields that the catalogue names."""
        return form_of(self.declared, data)

    def get_dialog_context(self, objects: list[Any]) -> dict[str, Any]:
        """Say beforehand which of them will be refused."""
        said = [
            f"{row.name}: {reason}"
            for row in objects
            if (reason := refusals.refusal(self.actor, row, self.declared))
        ]
        more = len(said) - SHOWN_REFUSALS
        return {"warnings": said[:SHOWN_REFUSALS] + ([f"+{more}"] if more > 0 else [])}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        return actions.invoke(self.declared, actor=self.actor, row=obj, **data)


def _dialog_view(verb: Verb, pages: Pages) -> type[ActionView] | type[PostView]:
    known = verb.dialog
    assert known is not None
    shared: dict[str, Any] = {
        "declared": verb,
        "pages": pages,
        "permission": pages.permission,
        "live_kind": verb.kind,
        "binned": known.binned,
        "success_text": known.done,
    }
    name = "".join(word.capitalize() for word in verb.name.split("_"))
    if known.how == "post":
        return type(name, (VerbPost,), shared)
    usual = RenameDialog if verb.name == f"rename_{verb.kind}" else VerbDialog
    base = _dialogs.get((verb.kind, verb.name), usual)
    view: type[ActionView] = type(
        name,
        (base,),
        {
            **shared,
            "title": known.title or verb.label,
            "verb": known.press or verb.label,
            "icon": verb.icon if known.icon is None else known.icon,
            "danger": verb.danger,
            "text": known.text,
            "type_name": known.type_name,
        },
    )
    secrets = [str(one.source) for one in inputs.fields_of(verb).values() if one.write_only]
    if secrets:
        # Never in the report of an error, the repeated ones neither.
        hidden = [*secrets, *(repeated(name) for name in secrets)]
        view = method_decorator(sensitive_post_parameters(*hidden), name="dispatch")(view)
    return view


def _batch_view(verb: Verb, pages: Pages) -> type[VerbBatch]:
    assert verb.batch is not None
    label = verb.batch.label or verb.label
    return type(
        "".join(word.capitalize() for word in verb.name.split("_")) + "Batch",
        (_batches.get((verb.kind, verb.name), VerbBatch),),
        {
            "declared": verb,
            "pages": pages,
            "permission": pages.permission,
            "live_kind": verb.kind,
            "title": verb.batch.title or label,
            "verb": label,
            "danger": verb.danger,
            "text": verb.batch.text,
        },
    )


def url_patterns(kind: str) -> list[URLPattern]:
    """Return the URLs of the verbs of a kind, as the catalogue has them now.

    Batches come first: they have a word where the others have an id.
    """
    pages = _pages[kind]
    verbs = of_kind(kind).public.values()
    batches = [
        path(
            f"{pages.prefix}/{verb.batch_path}/",
            _batch_view(verb, pages).as_view(),
            name=verb.batch_url_name,
        )
        for verb in verbs
        if verb.batch is not None and str(verb.batch.text)
    ]
    dialogs = [
        path(
            f"{pages.prefix}/<str:{pages.key}>/{verb.dialog_path}/",
            _dialog_view(verb, pages).as_view(),
            name=verb.url_name,
        )
        for verb in verbs
        if verb.dialog is not None and not verb.dialog.page
    ]
    return [*batches, *dialogs]


def url_of(kind: str, verb: str, pk: str) -> str:
    """Return the URL of a verb's dialog for one row."""
    return reverse(of_kind(kind).rule(verb).url_name, args=[pk])


def row_action(
    verb: Verb, row: Any, actor: Actor, *, separator: bool = False, group: Text = ""
) -> RowAction:
    """Return the line of a menu, or the button, of a verb for one row."""
    known = verb.dialog
    assert known is not None
    return RowAction(
        label=verb.label,
        url=reverse(verb.url_name, args=[row.pk]),
        icon=verb.icon,
        how=known.how,
        reason=refusals.refusal(actor, row, verb),
        danger=verb.danger,
        separator=separator,
        group=group,
    )


def menu(kind: str, row: Any, actor: Actor, *, group: int | None = None) -> list[RowAction]:
    """Return the verbs of a row for a menu, or those of one group; impossible ones say why."""
    catalogue = of_kind(kind)
    shown = [
        (verb.dialog.group, verb)
        for verb in catalogue.public.values()
        if verb.dialog is not None and verb.dialog.listed and not verb.dialog.binned
    ]
    out: list[RowAction] = []
    before: int | None = None
    for number, verb in sorted(shown, key=lambda one: one[0]):
        if group not in (None, number):
            continue
        apart = before not in (None, number)
        heading = catalogue.groups.get(number, "") if group is None else ""
        out.append(row_action(verb, row, actor, separator=apart, group=heading))
        before = number
    return out


def buttons(kind: str, row: Any, actor: Actor) -> list[RowAction]:
    return [
        row_action(verb, row, actor)
        for verb in of_kind(kind).public.values()
        if verb.dialog is not None and verb.dialog.button
    ]


def batch_actions(kind: str) -> Sequence[BatchAction]:
    """Return the batch buttons above the list of a kind."""
    return [
        BatchAction(
            verb.batch.label or verb.label,
            icon=verb.icon,
            url_name=verb.batch_url_name,
            danger=verb.danger,
            permission=verb.permission,
        )
        for verb in of_kind(kind).public.values()
        if verb.batch is not None and verb.batch.button
    ]


class VerbList(ListView):
    """A list whose menus and batches are those of the catalogue.

    ``more_batches`` are dialogs for chosen rows that are no verb of the kind.
    """

    has_row_menu = True
    more_batches: ClassVar[Sequence[BatchAction]] = ()

    @property
    def batch_actions(self) -> Sequence[BatchAction]:  # type: ignore[override]  # read per request
        known = list(batch_actions(self.kind))
        # What deletes stays last.
        deletes = known[-1:] if known and known[-1].danger else []
        return [*known[: len(known) - len(deletes)], *self.more_batches, *deletes]

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Everything that can be done with a row."""
        return menu(self.kind, obj, self.actor)

    def batches_of(self, obj: Any) -> list[str]:
        """The verbs that the row's state and the caller's role allow, and what is no verb."""
        return [
            *(one.key for one in self.more_batches),
            *(
                verb.batch_url_name
                for verb in of_kind(self.kind).public.values()
                if verb.batch is not None
                and verb.batch.button
                and not refusals.refusal(self.actor, obj, verb)
            ),
        ]


__all__ = [
    "Names",
    "Nothing",
    "Pages",
    "RenameDialog",
    "VerbBatch",
    "VerbDialog",
    "VerbList",
    "batch_actions",
    "buttons",
    "dialog",
    "form_of",
    "menu",
    "register",
    "row_action",
    "split_tags",
    "url_of",
    "url_patterns",
]
