"""The form of the catalogue: what a verb is, and the verbs of one kind of resource.

A verb is declared once, in ``<app>/verbs/<noun>.py``. Guards, API routes and schema, dialogs,
menus, batches and admin buttons all read the declaration, so it imports neither models nor actions:
its action is found by the right it declares (:mod:`scloud.verbs.actions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from rest_framework.serializers import Serializer

Text = str | Promise
Input = type[Serializer[Any]]


class Answer(Enum):
    """What the API answers when a verb was begun."""

    # 202 and the job, null where the verb took effect at once.
    JOB = "job"
    # 200 and the row as it is now.
    ROW = "row"
    # 201 and the row that was made, of the kind that the route names.
    MADE = "made"
    # 200 and a shape of the verb's own.
    SHAPE = "shape"
    # 204.
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The route below a verb's own that says what the verb would cost.

    ``name`` is that of the operation. The price comes from the function that
    :func:`scloud.verbs.actions.prices` names for the verb.
    """

    doc: str
    input: Input
    name: str
    example: tuple[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Route:
    """A verb in the API: ``POST /<kind>s/{id}/<path>`` unless ``method`` says otherwise.

    ``doc`` is its sentence in the schema. ``name`` (default: from the path) is the last part of the
    URL's name. With ``query`` the input is read from the query. An answer with a ``secret`` is kept
    nowhere, not even for a second request with the same Idempotency-Key. ``operation`` is what
    generated clients call it by, where another kind has a verb of the same name.
    """

    doc: str
    _: KW_ONLY
    path: str = ""
    method: Literal["post", "patch", "delete"] = "post"
    name: str = ""
    operation: str = ""
    answer: Answer = Answer.JOB
    made: str = ""
    shape: Input | None = None
    secret: bool = False
    query: bool = False
    example: tuple[str, Mapping[str, Any]] | None = None
    quote: Quote | None = None


@dataclass(frozen=True)
class Field:
    """How a dialog asks for one field of the input."""

    label: Text
    help: Text = ""


@dataclass(frozen=True, kw_only=True)
class Dialog:
    """A verb in the console: ``/<kind>s/<id>/<path>/``, a line of the menu, perhaps a button.

    ``text`` explains before it is done, ``done`` is said afterwards and may name the row
    (``%(name)s``). ``title`` and ``press`` (the word on the button) default to the verb's label,
    ``icon`` to the verb's. A menu shows the verbs by ``group``, apart from each other, below the
    heading that the catalogue gives to it; ``button`` puts the verb among the buttons of the row's
    page too. ``binned`` verbs are those of the recycle bin, ``listed=False`` keeps a verb out of
    menus. With ``how="post"`` it acts without a question; ``page`` names a URL that is there
    already. ``fields`` of the input make the form; a form that needs more is a dialog of its own
    (:mod:`scloud.web.verbs`). ``type_name`` asks for the row's name; ``leaves`` says that the row's
    own page is gone afterwards.
    """

    text: Text = ""
    done: Text = ""
    title: Text = ""
    press: Text = ""
    icon: str | None = None
    path: str = ""
    name: str = ""
    page: str = ""
    how: Literal["dialog", "post", "tab"] = "dialog"
    group: int = 0
    button: bool = False
    listed: bool = True
    binned: bool = False
    fields: Mapping[str, Field] = field(default_factory=dict)
    type_name: bool = False
    leaves: bool = False


@dataclass(frozen=True)
class Batch:
    """A verb that several rows can be given at once, with one result per row.

    Without ``text`` only programs can; ``button`` puts it above the list. ``label``, ``title``,
    ``path`` and ``name`` (of the URL) replace those that the verb gives.
    """

    text: Text = ""
    button: bool = True
    label: Text = ""
    title: Text = ""
    path: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class AdminButton:
    """A verb in Django admin; with ``confirm`` it is asked first.

    ``done`` may name the row; ``path`` is the last part of the button's URL.
    """

    confirm: Text = ""
    batch: bool = False
    done: Text = ""
    path: str = ""


@dataclass(frozen=True)
class Verb:
    """One verb: when it is allowed, what it sets in flight, and how each place offers it.

    ``task`` is empty for verbs that take effect at once; ``preempts`` are tasks that the verb may
    push aside; ``deadline_s`` bounds the job; ``event`` is emitted on success. ``right`` replaces
    the permission that the name gives; ``argument`` replaces the action's parameter that the row is
    given to (None: the input names what the action works on). ``elsewhere`` says where a verb
    without a ``route`` is to be found, ``silent`` why none of the console's menus has it.
    """

    name: str
    label: Text
    allowed_from: frozenset[str] = frozenset()
    task: str = ""
    deadline_s: int = 300
    event: str = ""
    _: KW_ONLY
    preempts: frozenset[str] = frozenset()
    icon: str = ""
    danger: bool = False
    administrator_only: bool = False
    # Refused while something is in flight, even though it sets no task itself.
    needs_idle: bool = True
    right: str = ""
    argument: str | None = ""
    input: Input | None = None
    route: Route | None = None
    elsewhere: str = ""
    dialog: Dialog | None = None
    silent: str = ""
    batch: Batch | None = None
    admin: AdminButton | None = None
    # The job of another verb that carries this one out too, such as ``disk.create``.
    joins: str = ""
    # Filled in by the catalogue.
    kind: str = ""
    app: str = ""

    @property
    def permission(self) -> str:
        """The right that the verb needs, such as ``compute.start_vm``."""
        if self.right:
            return self.right
        return f"platform.{self.name}" if self.administrator_only else f"{self.app}.{self.name}"

    @property
    def short(self) -> str:
        """The verb without its kind, with dashes: ``shut-down`` of ``shut_down_vm``."""
        return self.name.removesuffix(f"_{self.kind}").replace("_", "-")

    @property
    def job(self) -> str:
        """The kind of the job that carries it out, such as ``vm.start``; empty without a task."""
        if not self.task:
            return ""
        return self.joins or f"{self.kind}.{self.name.removesuffix(f'_{self.kind}')}"

    @property
    def route_path(self) -> str:
        """The last part of the API's URL; empty for the row's own."""
        if self.route is None or self.route.method != "post":
            return ""
        return self.route.path or self.short

    @property
    def dialog_path(self) -> str:
        """The last part of the console's URL."""
        return (self.dialog.path if self.dialog else "") or self.short

    @property
    def url_name(self) -> str:
        """The name of the console's URL, such as ``vm-shut-down``."""
        known = self.dialog
        if known is not None and (known.page or known.name):
            return known.page or known.name
        return f"{self.kind.replace('_', '-')}-{self.dialog_path}"

    @property
    def batch_url_name(self) -> str:
        """The name of the console's URL for several rows."""
        if self.batch is not None and self.batch.name:
            return self.batch.name
        return f"{self.kind.replace('_', '-')}-batch-{self.short}"

    @property
    def batch_path(self) -> str:
        """The last part of that URL."""
        return (self.batch.path if self.batch else "") or f"batch/{self.short}"

    @property
    def admin_path(self) -> str:
        """The last part of the admin button's URL."""
        return (self.admin.path if self.admin else "") or self.name


V = TypeVar("V", bound=Verb)


class Catalogue(Generic[V]):
    """The verbs of one kind of resource, in the order in which menus show them.

    ``public`` ones are what people invoke, ``internal`` ones belong to the platform itself.
    ``labels`` has a word for every status and task, ``hidden_tasks`` are shown as the status.
    ``busy`` tells people that something is in flight and takes ``%(state)s``. ``argument`` is the
    parameter of the actions that takes the row. ``groups`` are the headings of the menu.
    """

    def __init__(
        self,
        kind: str,
        *,
        app: str,
        public: Iterable[V],
        internal: Iterable[V] = (),
        labels: Mapping[Any, Text] | None = None,
        busy: Text = "",
        hidden_tasks: frozenset[str] = frozenset(),
        argument: str = "",
        groups: Mapping[int, Text] | None = None,
    ) -> None:
        self.kind = kind
        self.app = app
        self.argument = argument or kind
        self.public: dict[str, V] = self._own(public)
        self.internal: dict[str, V] = self._own(internal)
        self.labels: Mapping[Any, Text] = labels or {}
        self.busy = busy
        self.hidden_tasks = hidden_tasks
        self.groups: Mapping[int, Text] = groups or {}
        if kind in _catalogues:
            raise ValueError(f"there are two catalogues of {kind}")
        _catalogues[kind] = self

    def _own(self, verbs: Iterable[V]) -> dict[str, V]:
        return {verb.name: self.filled(verb) for verb in verbs}

    def filled(self, verb: V) -> V:
        """Return a verb as it is in this catalogue: with its kind, app and argument."""
        named = replace(verb, kind=self.kind, app=self.app)
        return replace(named, argument=self.argument) if verb.argument == "" else named

    def rule(self, verb: str) -> V:
        """Return a verb by its name; KeyError for an unknown one."""
        return self.public.get(verb) or self.internal[verb]

    def name(self, verb: str) -> str:
        """Return the verb without its kind, as in the names of jobs: ``start`` of ``start_vm``."""
        return verb.removesuffix(f"_{self.kind}")

    def label(self, status: str, task: str = "") -> str:
        """Return the state that people see: what is being done, else where it stands.

        A state of a newer release, which runs beside this one during an upgrade, is its own word.
        """
        state = status if task in self.hidden_tasks else task or status
        return str(self.labels.get(state, state.replace("_", " ").capitalize()))

    def standing(self, verb: str, status: str, task: str = "") -> str | None:
        """Return why status and task do not allow a verb; None when they do."""
        rule = self.rule(verb)
        if task:
            if task in rule.preempts:
                return None
            if rule.needs_idle:
                return str(self.busy) % {"state": self.label(status, task).lower()}
        if status not in rule.allowed_from:
            return _("Not possible while %(state)s; allowed when %(allowed)s.") % {
                "state": self.label(status).lower(),
                "allowed": self.words(rule.allowed_from),
            }
        return None

    def words(self, statuses: Iterable[str]) -> str:
        """Return statuses in words, such as ``running / stopped``."""
        return " / ".join(self.label(status).lower() for status in sorted(statuses))


_catalogues: dict[str, Catalogue[Any]] = {}


def of_kind(kind: str) -> Catalogue[Any]:
    """Return the catalogue of a kind; KeyError if there is none."""
    return _catalogues[kind]


def all_catalogues() -> list[Catalogue[Any]]:
    return list(_catalogues.values())
