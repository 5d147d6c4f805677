"""What every app's Django admin shares: read-only rows, columns, and buttons that call actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from scloud.lib import durations
from scloud.lib.errors import ScloudError
from scloud.lib.sizes import size_bytes
from scloud.tenancy import sessions, staff
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import Tenant, User

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


def administrator(request: HttpRequest, tenant: Tenant | None) -> Actor:
    """Return the signed-in administrator, acting on a tenant's resource or on the platform."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return Actor.administrator(
        request.user,
        tenant,
        client_ip(request),
        confirmed=sessions.is_confirmed(request.session),
    )


class YesNoFilter(admin.EmptyFieldListFilter):
    """Whether something has happened: rows whose column is filled, or empty."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Say yes and no instead of empty and not empty; the URL stays the same."""
        counts = self.get_facet_queryset(changelist) if changelist.add_facets else {}
        for value, text, counted in (
            (None, _("All"), ""),
            ("0", _("Yes"), "not_empty__c"),
            ("1", _("No"), "empty__c"),
        ):
            yield {
                "selected": self.lookup_val == value,
                "query_string": changelist.get_query_string({self.lookup_kwarg: value}),
                "display": f"{text} ({counts[counted]})" if counted in counts else text,
            }


def duration_column(field: str, label: Any) -> Any:
    """A column, or a field of a page, that shows seconds in words; nothing where there are none."""

    @admin.display(description=label, ordering=field)
    def show(_admin: Any, row: Any) -> str | None:
        value = getattr(row, field)
        return None if value is None else durations.words(value)

    return show


def size_column(field: str, label: Any) -> Any:
    """A column, or a field of a page, that shows bytes in the unit that fits."""

    @admin.display(description=label, ordering=field)
    def show(_admin: Any, row: Any) -> str | None:
        value = getattr(row, field)
        return None if value is None else size_bytes(value)

    return show


F = TypeVar("F", bound=Callable[..., Any])


def needs(right: str) -> Callable[[F], F]:
    """Say which right a page of its own, or a verb for chosen rows, needs.

    The site asks for it before the page is entered or the verb is offered. What does not say it is
    for administrators alone.
    """

    def mark(function: F) -> F:
        function.right = right  # type: ignore[attr-defined]  # read by scloud.adminsite.site
        return function

    return mark


def is_allowed(request: HttpRequest, right: str) -> bool:
    """Tell whether the signed-in member of the staff has a right."""
    return isinstance(request.user, User) and staff.may(request.user, right)


@dataclass(frozen=True)
class Button:
    """A button of a row's page: ``call`` takes actor and object and returns what to say.

    ``right`` is that of the action; without one only administrators have it. ``reason`` says why it
    cannot be pressed now (empty when it can); ``confirm`` is asked first;
    ``batch`` also offers it for chosen rows of the list, ``only_batch`` for these alone.
    """

    name: str
    label: str | Promise
    call: Callable[[Actor, Any], str]
    reason: Callable[[Any], str] = lambda _obj: ""
    confirm: str | Promise = ""
    batch: bool = False
    only_batch: bool = False
    right: str = ""


class ReadOnlyAdmin(ModelAdmin):
    """Rows that the platform writes; here they are only looked at."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ButtonAdmin(ModelAdmin):
    """Adds :class:`Button` to a page. Every button ends in a POST and in the operation log."""

    buttons: ClassVar[tuple[Button, ...]] = ()
    # Whether each verb for chosen rows first shows what it is possible for; else only those that
    # have a question.
    shows_chosen: ClassVar[bool] = False
    change_form_template = "admin/scloud/change_form.html"

    def get_buttons(self) -> tuple[Button, ...]:
        """Return the buttons, in their order."""
        return self.buttons

    def tenant_of(self, obj: Any) -> Tenant | None:
        """Return whose resource it is; None for the platform's own."""
        return getattr(obj, "tenant", None)

    def get_urls(self) -> list[URLPattern]:
        meta = self.model._meta
        own = path(
            "<path:object_id>/do/<slug:button>/",
            self.admin_site.admin_view(self.button_view),
            name=f"{meta.app_label}_{meta.model_name}_do",
        )
        return [own, *super().get_urls()]

    def _button(self, name: str) -> Button:
        for button in self.get_buttons():
            if button.name == name:
                return button
        raise Http404

    def button_view(self, request: HttpRequest, object_id: str, button: str) -> HttpResponse:
        chosen = self._button(button)
        obj = self.get_object(request, object_id)
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj) or not is_allowed(request, chosen.right):
            raise PermissionDenied
        meta = self.model._meta
        back = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[obj.pk])
        if request.method != "POST":
            context = {
                **self.admin_site.each_context(request),
                "title": chosen.label,
                "button": chosen,
                "object": obj,
                "opts": meta,
                "back": back,
            }
            return TemplateResponse(request, "admin/scloud/confirm.html", context)
        self._press(request, chosen, obj)
        return HttpResponseRedirect(back)

    def _pressed(self, request: HttpRequest, button: Button, obj: Any) -> Line:
        """Call the action for a row and return what became of it."""
        try:
            said = button.call(administrator(request, self.tenant_of(obj)), obj)
        except ScloudError as error:
            return Line(obj, error.for_operators(), failed=True)
        return Line(obj, said, failed=False)

    def _press(self, request: HttpRequest, button: Button, obj: Any) -> None:
        line = self._pressed(request, button, obj)
        if line.failed:
            self.message_user(request, f"{obj}: {line.said}", messages.ERROR)
        else:
            self.message_user(request, line.said, messages.SUCCESS)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        shown = []
        if obj is not None:
            meta = self.model._meta
            for button in self.get_buttons():
                if button.only_batch or not is_allowed(request, button.right):
                    continue
                url = reverse(
                    f"admin:{meta.app_label}_{meta.model_name}_do", args=[obj.pk, button.name]
                )
                shown.append({"button": button, "url": url, "reason": button.reason(obj)})
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "buttons": shown}
        )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the batch buttons for chosen rows too."""
        found: dict[str, Any] = dict(super().get_actions(request))
        for button in self.get_buttons():
            if button.batch:
                found[button.name] = (_batch(button), button.name, button.label)
        return found


#: Rows that one request works on; more would keep a web process for too long.
MOST_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A chosen row with why the verb is not possible for it, or what became of it."""

    obj: Any
    said: str
    failed: bool


def _batch(button: Button) -> Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse | None]:
    def run(owner: ButtonAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(rows[: MOST_ROWS + 1])
        if len(chosen) > MOST_ROWS:
            said = _("Choose at most %(count)d at once.") % {"count": MOST_ROWS}
            owner.message_user(request, said, messages.ERROR)
            return None
        if not (button.confirm or owner.shows_chosen):
            for obj in chosen:
                owner._press(request, button, obj)
            return None
        confirmed = "confirmed" in request.POST
        if confirmed:
            lines = [owner._pressed(request, button, obj) for obj in chosen]
        else:
            reasons = [(obj, button.reason(obj)) for obj in chosen]
            lines = [Line(obj, reason, bool(reason)) for obj, reason in reasons]
        context = {
            **owner.admin_site.each_context(request),
            "title": button.label,
            "opts": owner.model._meta,
            "button": button,
            "lines": lines,
            "possible": sum(not line.failed for line in lines),
            "confirmed": confirmed,
        }
        return TemplateResponse(request, "admin/scloud/batch.html", context)

    return needs(button.right)(run)
