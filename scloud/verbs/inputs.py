"""What a verb takes: checked values, rows instead of ids, and what is built of several values.

A declaration imports no query. It names the rows that an id is looked for among, and who reads them
is registered by a layer above (``<app>/queries/verbs.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _
from rest_framework import serializers

from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor
from scloud.verbs.catalogue import Verb

M = TypeVar("M", bound=Model)
Rows = Callable[[Actor, Any], QuerySet[Any]]
Build = Callable[[Actor, Any, dict[str, Any]], Any]

_rows: dict[str, Rows] = {}
_builders: dict[str, Build] = {}


class Reference(serializers.CharField):
    """The id of a row; the action is given the row.

    ``among`` names the rows that the caller may choose from, ``what`` the thing for people. Any
    other id is refused as unknown.
    """

    def __init__(self, among: str, *, what: str, max_length: int = 20, **options: Any) -> None:
        super().__init__(max_length=max_length, **options)
        self.among = among
        self.what = what


class VerbInput(serializers.Serializer[Any]):
    """The input of a verb.

    ``builds`` says which parameter of the action is built of which fields, by the function of that
    name.
    """

    builds: ClassVar[Mapping[str, tuple[str, ...]]] = {}


def rows(name: str) -> Callable[[Rows], Rows]:
    """Make a function the reader of the rows that a :class:`Reference` names.

    It is given the caller and the verb's own row.
    """

    def register(function: Rows) -> Rows:
        _rows[name] = function
        return function

    return register


def builder(name: str) -> Callable[[Build], Build]:
    """Make a function the builder of a parameter; it may take values out of what it is given."""

    def register(function: Build) -> Build:
        _builders[name] = function
        return function

    return register


def pick(found: QuerySet[M], pk: Any, *, field: str, what: str) -> M:
    """Return one of the rows by its id; InvalidInput (``<field>_unknown``) if it is not there."""
    row = found.filter(pk=pk).first() if pk not in (None, "") else None
    if row is None:
        raise InvalidInput(
            _("There is no such %(what)s here.") % {"what": what},
            code=f"{field}_unknown",
            field=field,
            remedy=_("Choose one that is offered."),
        )
    return row


def fields_of(verb: Verb) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    """Return the fields of a verb's input by their names; none where it takes no input."""
    return dict(verb.input().fields) if verb.input is not None else {}


def parameters_of(verb: Verb) -> set[str]:
    """Return the names under which the action is given the verb's input."""
    if verb.input is None:
        return set()
    built: Mapping[str, tuple[str, ...]] = getattr(verb.input, "builds", {})
    used = {name for names in built.values() for name in names}
    found = fields_of(verb)
    return {str(field.source) for name, field in found.items() if name not in used} | set(built)


def missing(verb: Verb) -> set[str]:
    """Return the names of rows and builders that a verb's input needs and nobody registered."""
    among = {one.among for one in fields_of(verb).values() if isinstance(one, Reference)}
    built = set(getattr(verb.input, "builds", {}))
    return {*(among - set(_rows)), *({_key(verb, one) for one in built} - set(_builders))}


def _key(verb: Verb, parameter: str) -> str:
    return f"{verb.kind}.{parameter}"


def checked(shape: type[serializers.BaseSerializer[Any]], data: Any) -> dict[str, Any]:
    """Return what was sent, checked against its shape. Raises DRF's ValidationError."""
    serializer = shape(data=data)
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found


def arguments(
    verb: Verb, actor: Actor, row: Any, data: Any, *, shape: type[Any] | None = None
) -> dict[str, Any]:
    """Return what the action is given for what was sent.

    ``shape`` replaces the verb's input, as a quote does. Raises DRF's ValidationError for values,
    InvalidInput for ids that the caller may not choose.
    """
    chosen = shape or verb.input
    if chosen is None:
        return {}
    values = _referenced(dict(chosen().fields), actor, row, checked(chosen, data))
    for parameter, names in getattr(chosen, "builds", {}).items():
        taken = {name: values.pop(name) for name in names if name in values}
        values[parameter] = _builders[_key(verb, parameter)](actor, row, taken)
    return values


def referenced(verb: Verb, actor: Actor, row: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked values of a verb's input with rows instead of ids.

    Raises InvalidInput for ids that the caller may not choose.
    """
    return _referenced(fields_of(verb), actor, row, values)


def _referenced(
    fields: Mapping[str, Any], actor: Actor, row: Any, values: Mapping[str, Any]
) -> dict[str, Any]:
    out = dict(values)
    for name, field in fields.items():
        key = str(field.source)
        if isinstance(field, Reference) and out.get(key) is not None:
            found = _rows[field.among](actor, row)
            out[key] = pick(found, out[key], field=name, what=field.what)
    return out
