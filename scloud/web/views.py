"""Base views of the console: who may enter, dialogs, actions, batches."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View

from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.web import errors, http
from scloud.web.forms import add_error
from scloud.web.http import ConsoleRequest, login_redirect

Text = str | Promise


class ConsoleMixin:
    """A page for a tenant's users: signed in, inside the scope, with ``request.actor``.

    ``permission`` is what the page needs to be *seen*; what it *does* is checked in the actions.
    A ScloudError that a handler lets through becomes a page or a toast (see errors.py).
    """

    request: ConsoleRequest
    kwargs: dict[str, Any]
    permission: ClassVar[str] = ""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let only signed-in users of a tenant through."""
        if not request.user.is_authenticated:
            return login_redirect(request)
        actor = getattr(request, "actor", None)
        if not isinstance(actor, Actor):
            # A platform administrator has no tenant, so the console has nothing to show.
            return errors.no_tenant(request)
        try:
            if self.permission:
                actor.require(self.permission)
            response: HttpResponseBase = super().dispatch(  # type: ignore[misc]  # View's, by mix-in
                request, *args, **kwargs
            )
        except ScloudError as error:
            return errors.response(request, error)
        return response

    @property
    def actor(self) -> Actor:
        return self.request.actor

    def render(
        self, template: str, context: dict[str, Any] | None = None, *, status: int = 200
    ) -> HttpResponse:
        return render(self.request, template, {"view": self, **(context or {})}, status=status)


class ConsoleView(ConsoleMixin, View):
    # Django's View says HttpRequest; ConsoleMixin.dispatch lets only console requests through.
    request: ConsoleRequest


@dataclass(frozen=True)
class Instead:
    """What a dialog says where there is nothing to choose, and the link to what would help.

    ``dialog`` opens the link in the dialog. Without ``url`` it can only be closed.
    """

    text: Text
    label: Text = ""
    url: str = ""
    dialog: bool = True


class ActionView(ConsoleView):
    """A dialog that ends in an action: GET shows it, POST does it.

    Subclasses set the texts, override ``get_object`` and ``perform``, and may set ``form_class``.
    ``perform`` calls an action function; its ScloudError is shown next to the field it names, or
    at the top of the dialog. Without ``form_class`` it is a confirmation.
    """

    title: ClassVar[Text] = ""
    text: ClassVar[Text] = ""
    verb: ClassVar[Text] = gettext_lazy("Confirm")
    icon: ClassVar[str] = ""
    danger: ClassVar[bool] = False
    # Ask to type the object's name; for what cannot be undone.
    type_name: ClassVar[bool] = False
    form_class: ClassVar[type[forms.Form] | None] = None
    template_name: ClassVar[str] = "web/dialog/action.html"
    success_text: ClassVar[Text] = ""
    wide: ClassVar[bool] = False
    live_kind: ClassVar[str] = ""

    def get_object(self) -> Any:
        """Return the object of the action; raise NotFound for an unknown or foreign one."""
        return None

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form | None:
        """Return the form, bound when ``data`` is given."""
        if self.form_class is None:
            return None
        return self.form_class(data, files, **self.get_form_kwargs(obj))

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Return what the form's constructor needs, such as ``initial``."""
        return {}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Return more variables: ``lines`` (label, value), ``warnings``, ``objects``."""
        return {}

    def heading(self, obj: Any) -> str:
        """Return the title with the name of the object, where it has one."""
        name = getattr(obj, "name", "")
        if not name:
            return str(self.title)
        return _("%(title)s: %(name)s") % {"title": self.title, "name": name}

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Return what to say instead of a form that nobody could fill in; None for a usual one."""
        return None

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action. ``data`` is the form's cleaned data."""
        raise NotImplementedError

    def succeeded(self, obj: Any, result: Any) -> HttpResponse:
        """Return the answer to a success: close the dialog, toast, let the rows refresh."""
        response = http.done(
            self.request,
            self.get_success_text(obj, result),
            to=self.success_url(obj),
            undo=self.undo(obj),
        )
        if self.live_kind and obj is not None and response.status_code == 204:
            http.changed(response, self.live_kind, str(obj.pk))
        return response

    def get_success_text(self, obj: Any, result: Any) -> Text:
        return self.success_text

    def undo(self, obj: Any) -> http.Undo | None:
        """Return how it is taken back; None where it cannot be."""
        return None

    def success_url(self, obj: Any) -> Any:
        """Return where to go after a success; None stays on the page."""
        return None

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = self.get_object()
        return self.show(obj, self.get_form(obj))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do it, or show the dialog again with what was wrong."""
        obj = self.get_object()
        form = self.get_form(obj, request.POST, request.FILES)
        if form is not None and not form.is_valid():
            return self.show(obj, form, status=422)
        if self.type_name and request.POST.get("typed_name", "").strip() != str(obj.name):
            refusal = _("Type the name %(name)s to confirm.") % {"name": obj.name}
            return self.show(obj, form, status=422, name_error=refusal)
        try:
            result = self.perform(obj, form.cleaned_data if form is not None else {})
        except NotFound:
            raise
        except ScloudError as error:
            if form is not None and error.field in form.fields:
                add_error(form, error)
                return self.show(obj, form, status=422)
            return self.show(obj, form, status=422, refusal=error)
        return self.succeeded(obj, result)

    def show(
        self, obj: Any, form: forms.Form | None, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        """Render the dialog, as a fragment for HTMX and as a page of its own otherwise."""
        inside = {
            "object": obj,
            "heading": self.heading(obj),
            "form": form,
            "action_url": self.request.get_full_path(),
            "dialog_template": self.template_name,
            **self.get_dialog_context(obj),
            "instead": self.instead(obj, form),
            **context,
        }
        htmx = self.request.htmx
        template = self.template_name if htmx else "web/dialog/page.html"
        return self.render(template, inside, status=status)


class PostView(ConsoleView):
    """A button that acts at once: POST only, answered by a toast.

    Subclasses override ``get_object``, ``perform`` and the texts.
    """

    success_text: ClassVar[Text] = ""
    live_kind: ClassVar[str] = ""

    def get_object(self) -> Any:
        """Return the object of the action; raise NotFound for an unknown or foreign one."""
        return None

    def perform(self, obj: Any) -> Any:
        raise NotImplementedError

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do it; a refusal becomes a toast with its remedy."""
        obj = self.get_object()
        self.perform(obj)
        response = http.done(request, self.success_text)
        if self.live_kind and obj is not None:
            http.changed(response, self.live_kind, str(obj.pk))
        return response


@dataclass(frozen=True)
class BatchResult:
    id: str
    name: str
    error: ScloudError | None = None

    @property
    def ok(self) -> bool:
        """True when the action was accepted."""
        return self.error is None


@dataclass
class BatchOutcome:
    """The results of a batch, in the order in which the objects were chosen."""

    results: list[BatchResult] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many were accepted."""
        return sum(1 for result in self.results if result.ok)


class BatchView(ConsoleView):
    """An action on several chosen objects: GET asks, POST acts and shows one result per row."""

    title: ClassVar[Text] = ""
    text: ClassVar[Text] = ""
    verb: ClassVar[Text] = gettext_lazy("Confirm")
    danger: ClassVar[bool] = False
    form_class: ClassVar[type[forms.Form] | None] = None
    live_kind: ClassVar[str] = ""
    template_name: ClassVar[str] = "web/dialog/batch.html"
    max_objects: ClassVar[int] = 100

    def get_objects(self, ids: list[str]) -> list[Any]:
        raise NotImplementedError

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action on one object."""
        raise NotImplementedError

    def get_dialog_context(self, objects: list[Any]) -> dict[str, Any]:
        """Return more variables for the dialog, such as ``warnings``."""
        return {}

    def get_form(self, data: Any = None) -> forms.Form | None:
        """Return the form, bound when ``data`` is given."""
        return self.form_class(data) if self.form_class else None

    def heading(self, count: int) -> str:
        """Return the title with how many objects it is about."""
        if not count:
            return str(self.title)
        return _("%(title)s: %(n)d selected") % {"title": self.title, "n": count}

    def chosen(self, values: list[str]) -> tuple[list[str], list[Any]]:
        """Return the ids without repeats, and the objects found, in the order of choice."""
        clean = (value for value in values if "\x00" not in value)
        ids = list(dict.fromkeys(clean))[: self.max_objects]
        found = {str(obj.pk): obj for obj in self.get_objects(ids)}
        return ids, [found[i] for i in ids if i in found]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask, naming the objects."""
        _ids, objects = self.chosen(request.GET.getlist("ids"))
        return self.show(objects, self.get_form())

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Act on each and show the results; one refusal does not stop the others."""
        ids, objects = self.chosen(request.POST.getlist("ids"))
        form = self.get_form(request.POST)
        if form is not None and not form.is_valid():
            return self.show(objects, form, status=422)
        data = form.cleaned_data if form is not None else {}
        by_id = {str(obj.pk): obj for obj in objects}
        outcome = BatchOutcome()
        for chosen_id in ids:
            obj = by_id.get(chosen_id)
            if obj is None:
                missing = NotFound(_("It no longer exists."))
                outcome.results.append(BatchResult(chosen_id, chosen_id, missing))
                continue
            try:
                self.perform(obj, data)
            except ConfirmationNeeded as needed:
                if not outcome.accepted:
                    raise
                # Sent again as a whole, what was accepted would be done twice.
                outcome.results.append(BatchResult(chosen_id, str(obj.name), needed.refusal()))
            except ScloudError as error:
                outcome.results.append(BatchResult(chosen_id, str(obj.name), error))
            else:
                outcome.results.append(BatchResult(chosen_id, str(obj.name)))
        response = self.render(
            "web/dialog/batch_results.html" if self.request.htmx else "web/dialog/page.html",
            {
                "outcome": outcome,
                "heading": self.heading(len(ids)),
                "dialog_template": "web/dialog/batch_results.html",
            },
        )
        if self.live_kind:
            http.changed(response, self.live_kind, *by_id)
        return response

    def show(
        self, objects: list[Any], form: forms.Form | None, *, status: int = 200
    ) -> HttpResponse:
        context = {
            "objects": objects,
            "heading": self.heading(len(objects)),
            "form": form,
            "action_url": self.request.path,
            "dialog_template": self.template_name,
            **self.get_dialog_context(objects),
        }
        template = self.template_name if self.request.htmx else "web/dialog/page.html"
        return self.render(template, context, status=status)
