"""What every app's Django admin shares: read-only rows, and buttons that call actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise

from scloud.lib.errors import ScloudError
from scloud.tenancy import sessions
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


@dataclass(frozen=True)
class Button:
    """A button of a row's page: ``call`` takes actor and object and returns what to say.

    ``reason`` says why it cannot be pressed now (empty when it can); ``confirm`` is asked first;
    ``batch`` also offers it for chosen rows of the list.
    """

    name: str
    label: str | Promise
    call: Callable[[Actor, Any], str]
    reason: Callable[[Any], str] = lambda _obj: ""
    confirm: str | Promise = ""
    batch: bool = False


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
        if not self.has_view_permission(request, obj):
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

    def _press(self, request: HttpRequest, button: Button, obj: Any) -> None:
        try:
            said = button.call(administrator(request, self.tenant_of(obj)), obj)
        except ScloudError as error:
            self.message_user(request, f"{obj}: {error.for_operators()}", messages.ERROR)
        else:
            self.message_user(request, said, messages.SUCCESS)

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


def _batch(button: Button) -> Callable[[Any, HttpRequest, QuerySet[Any]], None]:
    def run(owner: ButtonAdmin, request: HttpRequest, rows: QuerySet[Any]) -> None:
        for obj in rows:
            owner._press(request, button, obj)

    return run
