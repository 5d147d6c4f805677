"""The one list component: columns, search, filters, sort, pages, selection, export, live rows.

A list of a resource is a subclass of ListView with declarations; see docs/console.md.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from typing import Any, ClassVar, Literal, cast
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model, QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template import Context, Template
from django.template.loader import get_template
from django.urls import reverse
from django.utils.functional import Promise, cached_property
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from scloud.lib import search
from scloud.lib.errors import NotFound
from scloud.web import export, saved_views, ui
from scloud.web.http import ConsoleRequest
from scloud.web.preferences import COLUMNS_COOKIE, SIZE_COOKIE
from scloud.web.views import ConsoleView

Text = str | Promise
SIZES = (10, 20, 50, 100)
MAX_LIVE_ROWS = 100


@dataclass(frozen=True)
class Column:
    """One column.

    ``value`` is an attribute path (``"subnet.name"``, default: the key) or a function of the row.
    ``render`` makes HTML of that value (see ui.py), or ``template`` gets the row as ``obj``.
    ``sort`` is the ``order_by`` expression (or several), None when it cannot be sorted.
    ``export`` is the value for the workbook: a path or a function; default is ``value``; False
    keeps the column out of it. ``script`` is a static module that fills the cells afterwards, with
    what a list must not wait for. ``yields`` lets the column give way where the list is too narrow
    for all, unless the user chose the columns: 1 is the first to go, 4 the last, 0 stays.
    """

    key: str
    label: Text
    value: str | Callable[[Any], Any] | None = None
    render: Callable[[Any], Any] | None = None
    template: str = ""
    sort: str | tuple[str, ...] | None = None
    export: str | Callable[[Any], Any] | Literal[False] | None = None
    align: Literal["start", "end"] = "start"
    default: bool = True
    # The column that names the row: always shown, and the heading of a stacked row.
    main: bool = False
    nowrap: bool = False
    script: str = ""
    yields: Literal[0, 1, 2, 3, 4] = 0

    @cached_property
    def _getter(self) -> Callable[[Any], Any]:
        return _as_getter(self.value if self.value is not None else self.key)

    def of(self, obj: Any) -> Any:
        """Return the row's value."""
        return self._getter(obj)

    def html(self, obj: Any, request: ConsoleRequest) -> str | SafeString:
        """Return the cell's content."""
        if self.template:
            template = cast(Template, get_template(self.template).template)  # type: ignore[attr-defined]  # Django's own backend
            return template.render(Context({"obj": obj, "request": request, "column": self}))
        value = self.of(obj)
        if self.render is not None:
            return ui.show(self.render(value))
        return ui.show(value)

    @property
    def exported(self) -> bool:
        return self.export is not False

    def export_value(self, obj: Any) -> Any:
        """Return the plain value for the workbook."""
        return self._exported(obj)

    @cached_property
    def _exported(self) -> Callable[[Any], Any]:
        assert self.export is not False
        return self._getter if self.export is None else _as_getter(self.export)

    @property
    def css_class(self) -> str:
        """Classes of the column's cells."""
        classes = []
        if self.main:
            classes.append("cell-main")
        if self.align == "end":
            classes.append("num")
        elif self.nowrap:
            classes.append("cell-nowrap")
        if self.yields:
            classes.append(f"yields-{self.yields}")
        return " ".join(classes)


def _as_getter(path: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if callable(path):
        return path
    get = attrgetter(path)

    def read(obj: Any) -> Any:
        try:
            value = get(obj)
        except AttributeError:
            # A relation on the way may be empty; a wrong path shows in the list's test.
            if "." in path:
                return None
            raise
        return value() if callable(value) else value

    return read


Choices = Sequence[tuple[str, Text]]


@dataclass(frozen=True)
class Filter:
    """One filter; its values stand in the URL and appear as chips.

    ``choices`` is a list of (value, label) or a function of the request. ``lookup`` is the ORM
    lookup (default ``<key>__in`` for choices, ``<key>__icontains`` for text, ``<key>`` for dates);
    ``apply`` replaces it by a function of queryset and values. ``one`` offers the choices in a
    select, of which one can be taken: for those that are many.
    """

    key: str
    label: Text
    kind: Literal["choice", "text", "date"] = "choice"
    choices: Choices | Callable[[ConsoleRequest], Choices] = ()
    lookup: str = ""
    apply: Callable[[QuerySet[Any], list[str]], QuerySet[Any]] | None = None
    one: bool = False

    def choices_for(self, request: ConsoleRequest) -> Choices:
        return self.choices(request) if callable(self.choices) else self.choices

    def narrow(self, queryset: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
        """Return the rows that match any of the values."""
        if self.apply is not None:
            return self.apply(queryset, values)
        if self.kind == "choice":
            return queryset.filter(**{self.lookup or f"{self.key}__in": values})
        if self.kind == "date":
            return queryset.filter(**{self.lookup or self.key: values[0]})
        text = values[0][: search.MAX_CHARACTERS]
        return queryset.filter(**{self.lookup or f"{self.key}__icontains": text})


@dataclass(frozen=True)
class BatchAction:
    """A button that appears when rows are selected; it opens a BatchView in the dialog."""

    label: Text
    icon: str
    url_name: str
    danger: bool = False
    permission: str = ""

    @property
    def url(self) -> str:
        """Where the dialog comes from."""
        return reverse(self.url_name)

    @property
    def key(self) -> str:
        """What rows call it that say which batches they allow."""
        return self.url_name


@dataclass(frozen=True)
class RowAction:
    """A line of a row's menu (or a button of the row when ``inline``).

    ``how`` is what a click does: follow the URL, open it in the dialog, POST to it, or open it in
    a new tab. ``reason`` says why it is disabled; empty means enabled. ``group`` is the heading of
    the part of a menu that it stands in.
    """

    label: Text
    url: str
    icon: str = ""
    how: Literal["link", "dialog", "post", "tab"] = "dialog"
    reason: Text = ""
    danger: bool = False
    inline: bool = False
    separator: bool = False
    group: Text = ""

    @property
    def reason_id(self) -> str:
        """The id of the element that tells the reason, of a button outside of menus."""
        return "why" + re.sub(r"[^a-zA-Z0-9]+", "-", self.url)


@dataclass(frozen=True)
class EmptyState:
    """What an empty list says: what this is for and the next step."""

    title: Text
    text: Text = ""
    icon: str = "inbox"
    action_label: Text = ""
    action_url_name: str = ""
    action_permission: str = ""
    dialog: bool = False


@dataclass(frozen=True)
class PageAction:
    """A button in the page's head."""

    label: Text
    url_name: str
    icon: str = "plus"
    primary: bool = True
    dialog: bool = False
    permission: str = ""

    @property
    def url(self) -> str:
        return reverse(self.url_name)


@dataclass
class Cell:
    column: Column
    html: str | SafeString


@dataclass
class Row:
    """A row as it is rendered; the same for the full page and for a push."""

    id: str
    name: str
    live: str
    cells: list[Cell]
    inline: list[RowAction]
    # The keys of the batch actions that the row allows now, None where nobody knows.
    allows: list[str] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Chip:
    """An active filter: its name, its value, and the URL without it."""

    label: Text
    value: Text
    remove_url: str


@dataclass
class Header:
    """A column's heading with its sort link."""

    column: Column
    sort_url: str
    aria_sort: Literal["", "ascending", "descending"]


@dataclass
class State:
    """What the URL says: search, filters, sort, page, size."""

    search: str
    filters: dict[str, list[str]]
    sort: str
    page: int
    size: int


class ListView(ConsoleView):
    """Base of all lists. Declare ``kind``, ``title``, ``columns`` and ``get_queryset``."""

    kind: ClassVar[str]
    title: ClassVar[Text]
    text: ClassVar[Text] = ""
    columns: ClassVar[Sequence[Column]]
    filters: ClassVar[Sequence[Filter]] = ()
    search_fields: ClassVar[Sequence[str]] = ("id", "name", "remark")
    search_placeholder: ClassVar[Text] = _("Search by name or ID")
    default_sort: ClassVar[str] = ""
    batch_actions: ClassVar[Sequence[BatchAction]] = ()
    page_actions: ClassVar[Sequence[PageAction]] = ()
    empty: ClassVar[EmptyState] = EmptyState(_("Nothing here yet"))
    has_row_menu: ClassVar[bool] = False
    exportable: ClassVar[bool] = True
    page_template: ClassVar[str] = "web/list/page.html"
    default_size: ClassVar[int] = 10
    # Set it when the list may stand beside another one of the same kind on a page.
    dom_id: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note the kind, for views of the list that users save."""
        super().__init_subclass__(**kwargs)
        kind = getattr(cls, "kind", None)
        # The recycle bin has that of its address, which is one of another list's too.
        if isinstance(kind, str):
            saved_views.KINDS.add(kind)

    # --- for subclasses -----------------------------------------------------------------

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows of the open scope, with everything that the columns read prefetched."""
        raise NotImplementedError

    def get_page_actions(self) -> Sequence[PageAction]:
        """Return the buttons of the page's head that are offered on this installation."""
        return self.page_actions

    def row_name(self, obj: Any) -> str:
        """Return what the buttons of the row call it; must not query."""
        return str(getattr(obj, "name", obj.pk))

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Return the row's actions, disabled ones with the reason."""
        return []

    def inline_actions(self, obj: Any) -> list[RowAction]:
        """Return the few actions that stand in the row itself; must not query."""
        return []

    def batches_of(self, obj: Any) -> list[str] | None:
        """Return the keys of the batch actions that the row allows now; must not query.

        None where that is not known: then the bar offers all.
        """
        return None

    def match(self, model: type[Model]) -> search.Match:
        """Return what one word of a search finds."""
        return search.containing(model, self.search_fields)

    def page_context(self) -> dict[str, Any]:
        """Return more variables for the page around the list."""
        return {}

    # --- requests ------------------------------------------------------------------------

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the page, the list alone, some rows, a row's menu, or the workbook."""
        params = request.GET
        if "rows" in params:
            return self.rows_response(params["rows"].split(",")[:MAX_LIVE_ROWS])
        if "menu" in params:
            return self.menu_response(params["menu"])
        if params.get("export") == "xlsx" and self.exportable:
            return self.export_response()
        context = {"list": self.build()}
        htmx = self.request.htmx
        if htmx and htmx.target == self.element_id:
            response = self.render("components/list.html", context)
        else:
            response = self.render(self.page_template, {**context, **self.page_context()})
        size = _number(params.get("size", ""), 0, 1, 1_000_000)
        if size in SIZES:
            response.set_cookie(SIZE_COOKIE, str(size), max_age=31_536_000, samesite="Lax")
        return response

    def rows_response(self, ids: Iterable[str]) -> HttpResponse:
        """Return the rows with these ids that still match the list's scope (not its filters)."""
        columns = self.visible_columns()
        queryset = self.get_queryset()
        found = queryset.filter(pk__in=possible_keys(queryset.model, ids))
        rows = [self.make_row(obj, columns) for obj in found]
        return self.render("components/list_rows.html", {"list": self.frame(), "rows": rows})

    def menu_response(self, pk: str) -> HttpResponse:
        queryset = self.get_queryset()
        obj = queryset.filter(pk__in=possible_keys(queryset.model, [pk])).first()
        if obj is None:
            raise NotFound(str(_("It no longer exists.")))
        return self.render(
            "components/row_menu.html",
            {"actions": self.row_actions(obj), "obj": obj, "menu_id": "row-menu"},
        )

    def export_response(self) -> HttpResponseBase:
        """Return everything that the filter shows as a workbook, with all columns of the list."""
        state = self.state()
        columns = [column for column in self.columns if column.exported]
        return export.workbook_response(
            queryset=self.sorted(self.narrowed(state), state),
            columns=[
                export.ExportColumn(str(column.label), column.export_value) for column in columns
            ],
            name=self.kind,
            tenant=self.actor.tenant,
            user=str(self.request.user.pk),
            progress="progress" in self.request.GET,
            asynchronous=isinstance(self.request, ASGIRequest),
        )

    # --- building ------------------------------------------------------------------------

    @property
    def element_id(self) -> str:
        """The id of the list's element, which HTMX replaces."""
        return self.dom_id or f"list-{self.kind}"

    def choices_of(self, item: Filter) -> Choices:
        """Return the choices of a filter, asked once per request."""
        if item.key not in self._choices:
            self._choices[item.key] = item.choices_for(self.request)
        return self._choices[item.key]

    @cached_property
    def _choices(self) -> dict[str, Choices]:
        return {}

    def state(self) -> State:
        """Read the URL; what makes no sense falls back to the default."""
        params = self.request.GET
        filters = {}
        for item in self.filters:
            values = list(dict.fromkeys(value for value in params.getlist(item.key) if value))
            if values and item.kind == "choice":
                known = {str(value) for value, _label in self.choices_of(item)}
                values = [value for value in values if value in known]
            elif item.kind == "date":
                values = [value for value in values if _is_date(value)]
            if values:
                filters[item.key] = values
        sort = params.get("sort", "")
        sortable = {column.key for column in self.columns if column.sort}
        if sort.removeprefix("-") not in sortable:
            sort = self.default_sort
        return State(
            search=params.get("q", "").replace("\x00", "").strip(),
            filters=filters,
            sort=sort,
            page=_number(params.get("page", ""), 1, 1, 1_000_000),
            size=self._size(params.get("size", "") or self.request.COOKIES.get(SIZE_COOKIE, "")),
        )

    def _size(self, text: str) -> int:
        size = _number(text, self.default_size, 1, 1_000_000)
        return size if size in SIZES else self.default_size

    def chosen_columns(self) -> set[str]:
        """Return the keys of the columns that the user chose; empty for the usual ones.

        A saved view names them in the URL; else they are those of the browser.
        """
        known = {column.key for column in self.columns}
        cookie = self.request.COOKIES.get(COLUMNS_COOKIE + self.kind, "")
        for chosen in (self.request.GET.get("cols", ""), cookie):
            wanted = set(chosen.split("."))
            if wanted & known:
                return wanted
        return set()

    def visible_columns(self) -> list[Column]:
        """Return the columns that the user chose, in the declared order."""
        wanted = self.chosen_columns()
        if not wanted:
            return [column for column in self.columns if column.default or column.main]
        return [column for column in self.columns if column.key in wanted or column.main]

    def narrowed(self, state: State) -> QuerySet[Any]:
        """Return the rows that search and filters leave."""
        queryset = self.get_queryset()
        match = self.match(queryset.model)
        queryset = search.narrow(queryset, state.search, match, field="q")
        for item in self.filters:
            if item.key in state.filters:
                queryset = item.narrow(queryset, state.filters[item.key])
        return queryset

    def sorted(self, queryset: QuerySet[Any], state: State) -> QuerySet[Any]:
        """Return the rows in order; the primary key makes the order of equals stable."""
        key = state.sort.removeprefix("-")
        column = next((c for c in self.columns if c.key == key and c.sort), None)
        if column is None or column.sort is None:
            return queryset if queryset.ordered else queryset.order_by("pk")
        names = (column.sort,) if isinstance(column.sort, str) else column.sort
        if state.sort.startswith("-"):
            names = tuple(n[1:] if n.startswith("-") else f"-{n}" for n in names)
        return queryset.order_by(*names, "pk")

    def make_row(self, obj: Model, columns: Sequence[Column]) -> Row:
        return Row(
            id=str(obj.pk),
            name=self.row_name(obj),
            live=f"{self.kind}:{obj.pk}",
            cells=[Cell(column, column.html(obj, self.request)) for column in columns],
            inline=self.inline_actions(obj),
            allows=self.batches_of(obj),
        )

    def url(self, state: State, **changes: Any) -> str:
        """Return the list's URL for a state with some things changed (page goes back to 1)."""
        params: list[tuple[str, str]] = []
        search = changes.get("search", state.search)
        if search:
            params.append(("q", search))
        for key, values in changes.get("filters", state.filters).items():
            params.extend((key, value) for value in values)
        sort = changes.get("sort", state.sort)
        if sort and sort != self.default_sort:
            params.append(("sort", sort))
        if "size" in self.request.GET:
            # Otherwise the cookie says it, and the URL stays short.
            params.append(("size", str(state.size)))
        if self.request.GET.get("cols"):
            params.append(("cols", self.request.GET["cols"]))
        page = changes.get("page", 1)
        if page > 1:
            params.append(("page", str(page)))
        if "export" in changes:
            params.append(("export", changes["export"]))
        return self.request.path + (f"?{urlencode(params)}" if params else "")

    def frame(self) -> dict[str, Any]:
        actor = self.actor
        batch = [a for a in self.batch_actions if not a.permission or actor.allows(a.permission)]
        return {
            "id": self.element_id,
            "kind": self.kind,
            "path": self.request.path,
            "batch_actions": batch,
            "selectable": bool(batch),
            "has_menu": self.has_row_menu,
            "has_actions": self.has_row_menu
            or type(self).inline_actions is not ListView.inline_actions,
        }

    def build(self) -> dict[str, Any]:
        """Return the template's variables for the whole list: two queries plus the prefetches."""
        state = self.state()
        columns = self.visible_columns()
        queryset = self.narrowed(state)
        total = queryset.count()
        pages = max(1, -(-total // state.size))
        page = min(state.page, pages)
        start = (page - 1) * state.size
        objects = list(self.sorted(queryset, state)[start : start + state.size]) if total else []
        narrowed = bool(state.search or state.filters)
        actor = self.actor
        return {
            **self.frame(),
            "state": state,
            "title": self.title,
            "headers": [self._header(column, state) for column in columns],
            # What the user chose is shown, even where that needs scrolling.
            "yielding": not self.chosen_columns() and any(column.yields for column in columns),
            "rows": [self.make_row(obj, columns) for obj in objects],
            "total": total,
            "first": start + 1 if total else 0,
            "last": start + len(objects),
            "page": page,
            "pages": pages,
            "page_links": [
                {"number": n, "url": self.url(state, page=n), "current": n == page}
                if n
                else {"number": 0, "url": "", "current": False}
                for n in _page_numbers(page, pages)
            ],
            "previous_url": self.url(state, page=page - 1) if page > 1 else "",
            "next_url": self.url(state, page=page + 1) if page < pages else "",
            "sizes": SIZES,
            "chips": self._chips(state),
            "clear_url": self.url(state, search="", filters={}),
            "filters": self._filter_controls(state),
            "filter_count": sum(len(values) for values in state.filters.values()),
            "column_choices": [
                {"column": c, "shown": c in columns} for c in self.columns if not c.main
            ],
            "export_url": self.url(state, export="xlsx") if self.exportable else "",
            "search_placeholder": self.search_placeholder,
            "searchable": bool(self.search_fields),
            "narrowed": narrowed,
            "empty": self.empty,
            "empty_action": bool(self.empty.action_url_name)
            and (not self.empty.action_permission or actor.allows(self.empty.action_permission)),
            # One primary button a view: the empty state's own, while it is there.
            "empty_action_shown": not total and not narrowed and bool(self.empty.action_url_name),
            "cols_parameter": self.request.GET.get("cols", ""),
            **self._saved_views(state, columns),
            "sort_parameter": state.sort if state.sort != self.default_sort else "",
            "size_parameter": state.size if "size" in self.request.GET else "",
            "page_actions": [
                a for a in self.get_page_actions() if not a.permission or actor.allows(a.permission)
            ],
            "column_count": len(columns) + 2,
            # Of hidden columns too: one that is chosen later comes without a new page.
            "scripts": [column.script for column in self.columns if column.script],
        }

    def _header(self, column: Column, state: State) -> Header:
        if not column.sort:
            return Header(column, "", "")
        if state.sort == column.key:
            return Header(column, self.url(state, sort=f"-{column.key}"), "ascending")
        if state.sort == f"-{column.key}":
            return Header(column, self.url(state, sort=column.key), "descending")
        return Header(column, self.url(state, sort=column.key), "")

    def _saved_views(self, state: State, columns: Sequence[Column]) -> dict[str, Any]:
        """Return the views that the user has saved, and where this one is saved."""
        params = [("q", state.search)] if state.search else []
        params += [(key, value) for key, values in state.filters.items() for value in values]
        if state.sort and state.sort != self.default_sort:
            params.append(("sort", state.sort))
        shown = [column.key for column in columns if not column.main]
        if self.chosen_columns() and shown:
            params.append(("cols", ".".join(shown)))
        query = urlencode(params)
        saved = self.request.user.list_views.get(self.kind, [])
        return {
            "views": [
                {
                    "name": one["name"],
                    "url": f"{self.request.path}?{one['query']}",
                    "current": saved_views.same(one["query"], query),
                }
                for one in saved
            ],
            "save_view_url": reverse("list-view-save", args=[self.kind])
            + f"?{urlencode({'query': query})}",
            "delete_view_url": reverse("list-view-delete", args=[self.kind]),
        }

    def _chips(self, state: State) -> list[Chip]:
        chips = []
        for item in self.filters:
            values = state.filters.get(item.key, [])
            labels = {}
            if values and item.kind == "choice":
                labels = {str(v): label for v, label in self.choices_of(item)}
            for value in values:
                rest = {
                    k: [v for v in vs if (k, v) != (item.key, value)]
                    for k, vs in state.filters.items()
                }
                chips.append(
                    Chip(item.label, labels.get(value, value), self.url(state, filters=rest))
                )
        return chips

    def _filter_controls(self, state: State) -> list[dict[str, Any]]:
        controls = []
        for item in self.filters:
            values = state.filters.get(item.key, [])
            choices = self.choices_of(item) if item.kind == "choice" else ()
            controls.append(
                {
                    "filter": item,
                    "value": values[0] if values else "",
                    "choices": [
                        {"value": v, "label": label, "checked": str(v) in values}
                        for v, label in choices
                    ],
                }
            )
        return controls


def possible_keys(model: type[Model], values: Iterable[str]) -> list[Any]:
    """Return what could be a primary key of the model; the rest would upset the database."""
    assert model._meta.pk is not None
    keys = []
    for value in values:
        try:
            keys.append(model._meta.pk.to_python(value.replace("\x00", "")))
        except ValidationError:
            continue
    return keys


def _number(text: str, default: int, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return default
    return min(max(int(text), low), high)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _page_numbers(page: int, pages: int) -> list[int]:
    """Return the page numbers of the pager; 0 stands for a gap."""
    wanted = sorted({1, pages, *(n for n in range(page - 1, page + 2) if 1 <= n <= pages)})
    out: list[int] = []
    for number in wanted:
        if out and number - out[-1] == 2:
            out.append(number - 1)
        elif out and number - out[-1] > 2:
            out.append(0)
        out.append(number)
    return out
