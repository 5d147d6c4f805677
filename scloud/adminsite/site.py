"""The admin site."""

from collections.abc import Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.widgets import AdminBigIntegerFieldWidget, AdminIntegerFieldWidget
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import BigIntegerField, DecimalField, IntegerField, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _
from django.views.generic import RedirectView

from scloud.accounts import signin
from scloud.adminsite import downloads, finding, panels
from scloud.adminsite.passwords import PasswordChangeView
from scloud.lib import search
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.lib.form_fields import PlainDecimalField, PlainIntegerField
from scloud.tenancy.admintools import is_allowed
from scloud.tenancy.models import User
from scloud.web import errors
from scloud.web.export import workbook_response

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = DjangoModelAdmin[Any]
else:
    ModelAdmin = DjangoModelAdmin


# "1e3" in a price would be a thousand.
PLAIN_NUMBERS: dict[Any, Any] = {
    DecimalField: {"form_class": PlainDecimalField},
    IntegerField: {"form_class": PlainIntegerField, "widget": AdminIntegerFieldWidget},
    BigIntegerField: {"form_class": PlainIntegerField, "widget": AdminBigIntegerFieldWidget},
}


# The pages of Django's own, which ask for the permissions of their model themselves, and those of
# ours that do.
GUARDED: Final = frozenset(
    {
        "index", "login", "logout", "password_change", "password_change_done", "i18n_javascript",
        "app_index", "autocomplete_view", "catch_all_view", "changelist_view", "add_view",
        "change_view", "delete_view", "history_view", "shortcut",
        "button_view", "download_view", "search_view",
    }
)  # fmt: skip


def _asks_itself(view: Any) -> bool:
    # A redirect leads to a page that asks.
    return (
        getattr(view, "__name__", "") in GUARDED
        or getattr(view, "view_class", None) is RedirectView
    )


# Parts of names of fields that no list may be filtered by: who tries one beginning after the other
# learns the value.
SECRET: Final = ("password", "session_key", "sealed", "digest", "secret")


def _reaches_secret(model: type[Model], lookup: str) -> bool:
    """Tell whether a lookup, such as ``sessions__pk__gte``, names a secret field.

    A relation that it ends with stands for the primary key of what is related.
    """
    if _is_secret(lookup):
        return True
    # ``pk`` is another name of a field.
    at: type[Model] | None = model
    for part in lookup.split(LOOKUP_SEP):
        if at is None:
            break
        try:
            field = at._meta.pk if part == "pk" else at._meta.get_field(part)
        except FieldDoesNotExist:
            break
        if field is None or _is_secret(field.name):
            return True
        at = getattr(field, "related_model", None)
        if at is not None and at._meta.pk is not None and _is_secret(at._meta.pk.name):
            return True
    return False


def _is_secret(name: str) -> bool:
    return any(secret in name for secret in SECRET)


class Bounded(ModelAdmin):
    """What the site adds to all: searches as long as the console's, numbers in plain digits, each
    list as a workbook, only the verbs for chosen rows that the user has a right to, no filter by a
    secret."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Tell whether the URL of a list may filter by a field or by one of a related model."""
        if _reaches_secret(self.model, lookup):
            return False
        return super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]  # Django takes None, too

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the verbs that the user may use; Django asks itself about deleting."""
        return {
            name: found
            for name, found in super().get_actions(request).items()
            if name == "delete_selected"
            or (found is not None and is_allowed(request, getattr(found[0], "right", "")))
        }

    def get_urls(self) -> list[URLPattern]:
        """Return the pages of the model, and the download of its list."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_download"
        view = self.admin_site.admin_view(self.download_view)
        return [path("download/", view, name=name), *super().get_urls()]

    def download_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send all rows that the list finds with its filters and its search, in its order.

        With ``progress`` in the URL, how far it is comes first; see scloud/web/export.py.
        """
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        query = request.GET.copy()
        progress = bool(query.pop("progress", None))
        # The list takes everything else for a filter.
        request.GET = query  # type: ignore[assignment]  # as Django's own admin does
        back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        try:
            found = self.get_changelist_instance(request)
            return workbook_response(
                queryset=found.queryset,
                columns=downloads.columns(self, [str(name) for name in found.list_display]),
                name=slugify(str(self.opts.verbose_name_plural)),
                tenant=None,
                user=f"administrator {request.user.pk}",
                progress=progress,
                asynchronous=isinstance(request, ASGIRequest),
            )
        except IncorrectLookupParameters:
            return HttpResponseRedirect(back)
        except ScloudError as error:
            if request.headers.get("HX-Request") == "true":
                return errors.response(request, error)
            self.message_user(request, f"{error.message} {error.remedy or ''}", messages.ERROR)
            return HttpResponseRedirect(back)

    def get_inline_instances(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return the inlines, whose forms take numbers in plain digits too."""
        found: list[Any] = super().get_inline_instances(request, obj)
        for inline in found:
            inline.formfield_overrides = {**inline.formfield_overrides, **PLAIN_NUMBERS}
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the rows found, none and a message where the search is too long."""
        try:
            words = search.words_of(search_term.replace("\x00", ""), field="q")
        except InvalidInput as error:
            self.message_user(request, f"{error.message} {error.remedy}", messages.ERROR)
            return queryset.none(), False
        return super().get_search_results(request, queryset, " ".join(words))


class ScloudAdminSite(AdminSite):
    """Only platform administrators get in; a tenant's user never does."""

    site_header = _("SCloud operations")
    site_title = _("SCloud operations")
    index_title = _("Platform")
    index_template = "admin/scloud/index.html"

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[DjangoModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Register models, bounded whatever class an app brings."""
        given = admin_class or DjangoModelAdmin
        added = {
            "__module__": given.__module__,
            "formfield_overrides": {**given.formfield_overrides, **PLAIN_NUMBERS},
        }
        bounded = type(given.__name__, (Bounded, given), added)
        super().register(model_or_iterable, bounded, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False)) and (
            getattr(user, "tenant_id", None) is None
        )

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is one login page; this address leads to it and takes no password itself."""
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index", current_app=self.name))
        if request.user.is_authenticated:
            # The login page would send them back here.
            raise PermissionDenied
        target = request.GET.get(REDIRECT_FIELD_NAME) or request.POST.get(REDIRECT_FIELD_NAME)
        return redirect_to_login(target or reverse("admin:index", current_app=self.name))

    def logout(  # type: ignore[override]  # Django's own redirects, too, whatever its stub says
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """End the session as the console does."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        signin.sign_out(request)
        return HttpResponseRedirect(resolve_url("login"))

    def password_change(  # type: ignore[override]  # as above
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The administrator's own password, changed as in the console."""
        response = PasswordChangeView.as_view(
            extra_context={**self.each_context(request), **(extra_context or {})},
            success_url=reverse("admin:password_change_done", current_app=self.name),
        )(request)
        assert isinstance(response, HttpResponse)
        return response

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The front page: whether everything is all right, and the panels of the apps."""
        assert isinstance(request.user, User)
        return super().index(request, {**(extra_context or {}), **panels.front(request.user)})

    def get_urls(self) -> list[Any]:
        """Add the search."""
        own = path("search/", self.admin_view(self.search_view), name="search")
        return [own, *super().get_urls()]

    def search_view(self, request: HttpRequest) -> HttpResponse:
        """Go to what has the id or the address; show all where there are several."""
        text = request.GET.get("q", "").replace("\x00", "").strip()[: finding.LONGEST]
        hits = finding.search(self._registry.values(), request, text) if text else []
        best = [hit for hit in hits if hit.rank == hits[0].rank]
        if len(best) == 1:
            return HttpResponseRedirect(best[0].url)
        context = {**self.each_context(request), "title": _("Search"), "words": text, "hits": hits}
        return TemplateResponse(request, "admin/scloud/search.html", context)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Ask for the right of a page before it is entered.

        Django's own ask themselves. One of ours that names none is for administrators alone.
        """

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            right = getattr(view, "right", "")
            if not _asks_itself(view) and not is_allowed(request, right):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return super().admin_view(guarded, cacheable)
