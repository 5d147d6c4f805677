"""The API's part of the catalogue: routes, schema and answers of every verb of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.jobs.models import Job
from scloud.rest.fields import Lines
from scloud.rest.inputs import refuse_fields, refuse_what_is_not_described, valid
from scloud.rest.views import ResourceViewSet
from scloud.tenancy.actor import Actor
from scloud.verbs import actions, inputs, refusals
from scloud.verbs.catalogue import Answer, Route, Verb, of_kind

Shape = type[serializers.BaseSerializer[Any]]


class AllowedAction(serializers.Serializer[Any]):
    """Whether a verb is allowed now; ``reason`` says why not."""

    verb = serializers.CharField()
    allowed = serializers.BooleanField()
    reason = Lines(allow_null=True)


class JobAccepted(serializers.Serializer[Any]):
    """A verb was begun: its job, null when it took effect at once."""

    job_id = serializers.CharField(allow_null=True)


def allowed_actions(actor: Actor, kind: str, row: Any) -> list[dict[str, Any]]:
    """Return every verb of a kind with the reason why it is not allowed, if it is not."""
    return [
        {"verb": verb, "allowed": not reason, "reason": reason or None}
        for verb, reason in refusals.allowed_actions(actor, kind, row)
    ]


@dataclass(frozen=True)
class Shown:
    """How the API shows rows of a kind: their shape, and one row read anew by its id."""

    shape: Shape
    read: Callable[[Actor, str], Any]


_shown: dict[str, Shown] = {}


def show(kind: str, shape: Shape, read: Callable[[Actor, str], Any]) -> None:
    """Make known how the rows of a kind are shown."""
    _shown[kind] = Shown(shape, read)


class VerbViewSet(ResourceViewSet):
    """List and detail of a kind; its verbs are added by :func:`routed`."""

    kind: ClassVar[str]
    tag: ClassVar[str]
    # What the price of a change looks like.
    quote_shape: ClassVar[Shape]

    def shown(self, kind: str, pk: str) -> Any:
        """Return a row as it is now, as the API shows it."""
        known = _shown[kind]
        row = known.read(self.actor, pk)
        return known.shape(row, context=self.get_serializer_context()).data

    def begin(self, verb: Verb, request: Request) -> Response:
        """Begin a verb on the row of the address."""
        route = verb.route
        assert route is not None
        row = self.get_object()
        sent = request.query_params if route.query else _body(verb, request)
        values = inputs.arguments(verb, self.actor, row, sent)
        result = actions.invoke(verb, actor=self.actor, row=row, **values)
        return self._answer(route, row, result)

    def _answer(self, route: Route, row: Any, result: Any) -> Response:
        if route.answer is Answer.JOB:
            return job_answer(result)
        if route.answer is Answer.ROW:
            return Response(self.shown(self.kind, row.pk))
        if route.answer is Answer.MADE:
            return Response(self.shown(route.made, result.pk), status=201)
        if route.answer is Answer.SHAPE:
            assert route.shape is not None
            headers = {"Cache-Control": "no-store"} if route.secret else {}
            return Response(route.shape(result).data, headers=headers)
        return Response(status=204)

    def change(self, verbs: Sequence[Verb], request: Request) -> Response:
        """Change what was sent of a row; each verb is given its own part."""
        row = self.get_object()
        sent = valid(_changes(verbs), request)
        for verb in verbs:
            names = inputs.parameters_of(verb)
            values = {name: value for name, value in sent.items() if name in names}
            if values or len(verbs) == 1:
                actions.invoke(verb, actor=self.actor, row=row, **values)
        return Response(self.shown(self.kind, row.pk))

    def price(self, verb: Verb, request: Request) -> Response:
        """Say what a verb would cost; changes nothing."""
        assert verb.route is not None
        assert verb.route.quote is not None
        row = self.get_object()
        shape = verb.route.quote.input
        refuse_what_is_not_described(shape, request.data)
        values = inputs.arguments(verb, self.actor, row, request.data, shape=shape)
        return Response(actions.price(verb, actor=self.actor, row=row, **values).as_dict())


def job_answer(found: object) -> Response:
    """Return 202 with the job's id, null when the verb took effect at once."""
    return Response({"job_id": found.pk if isinstance(found, Job) else None}, status=202)


def routed(view_set: type[VerbViewSet]) -> type[VerbViewSet]:
    """Return the view set with the routes of its kind's verbs, as the catalogue has them now."""
    methods: dict[str, Any] = {}
    patched: list[Verb] = []
    for verb in of_kind(view_set.kind).public.values():
        route = verb.route
        if route is None:
            continue
        if route.method == "patch":
            patched.append(verb)
        elif route.method == "delete":
            methods["destroy"] = _deletion(verb, view_set)
        else:
            name = route.name or verb.route_path.replace("-", "_")
            methods[name] = _post(verb, name, view_set)
            if route.quote is not None:
                methods[route.quote.name] = _quote(verb, view_set)
    if patched:
        methods["partial_update"] = _change(patched, view_set)
    named = {"__doc__": view_set.__doc__, "__module__": view_set.__module__}
    made = type(view_set.__name__, (view_set,), {**named, **methods})
    tagged: type[VerbViewSet] = extend_schema(tags=[view_set.tag])(made)
    return tagged


def _body(verb: Verb, request: Request) -> Any:
    if verb.input is None:
        refuse_fields(request.data)
        return {}
    refuse_what_is_not_described(verb.input, request.data)
    return request.data


def _changes(verbs: Sequence[Verb]) -> Any:
    """Return the shape of what can be changed: that of the verb, or of all of them together."""
    first = verbs[0]
    assert first.route is not None
    return first.route.shape or first.input


def _responses(route: Route, view_set: type[VerbViewSet]) -> Any:
    return {
        Answer.JOB: {202: JobAccepted},
        Answer.ROW: view_set.serializer_class,
        Answer.MADE: {201: _shown[route.made].shape} if route.made else None,
        Answer.SHAPE: route.shape,
        Answer.NOTHING: {204: None},
    }[route.answer]


def _examples(example: tuple[str, Mapping[str, Any]] | None) -> list[OpenApiExample]:
    if example is None:
        return []
    name, value = example
    return [OpenApiExample(name, value=dict(value), request_only=True)]


def _named(method: Callable[..., Response], name: str, doc: str) -> Callable[..., Response]:
    method.__name__ = name
    method.__doc__ = doc
    return method


def _post(verb: Verb, name: str, view_set: type[VerbViewSet]) -> Any:
    route = verb.route
    assert route is not None

    def post(self: VerbViewSet, request: Request, pk: str) -> Response:
        return self.begin(verb, request)

    made: Any = action(detail=True, methods=["post"], url_path=verb.route_path)(
        _named(post, name, route.doc)
    )
    # An answer with a secret is kept for nobody.
    made.keeps_answer = not route.secret
    made.operation_id = route.operation or verb.name
    return extend_schema(
        request=verb.input,
        responses=_responses(route, view_set),
        examples=_examples(route.example) or None,
    )(made)


def _quote(verb: Verb, view_set: type[VerbViewSet]) -> Any:
    route = verb.route
    assert route is not None
    quote = route.quote
    assert quote is not None

    def post(self: VerbViewSet, request: Request, pk: str) -> Response:
        return self.price(verb, request)

    made: Any = action(detail=True, methods=["post"], url_path=f"{verb.route_path}/quote")(
        _named(post, quote.name, quote.doc)
    )
    asked = quote.name.removeprefix("quote_").removeprefix(f"{verb.kind}_")
    made.operation_id = f"quote_{verb.kind}_{asked}"
    return extend_schema(
        request=quote.input,
        responses=view_set.quote_shape,
        examples=_examples(quote.example) or None,
    )(made)


def _deletion(verb: Verb, view_set: type[VerbViewSet]) -> Any:
    route = verb.route
    assert route is not None

    def delete(self: VerbViewSet, request: Request, pk: str) -> Response:
        return self.begin(verb, request)

    parameters: list[Any] = [verb.input] if route.query else []
    return extend_schema(
        request=None, parameters=parameters or None, responses=_responses(route, view_set)
    )(_named(delete, "destroy", route.doc))


def _change(verbs: Sequence[Verb], view_set: type[VerbViewSet]) -> Any:
    route = verbs[0].route
    assert route is not None

    def patch(self: VerbViewSet, request: Request, pk: str) -> Response:
        return self.change(verbs, request)

    return extend_schema(request=_changes(verbs), responses=view_set.serializer_class)(
        _named(patch, "partial_update", route.doc)
    )


__all__ = [
    "AllowedAction",
    "JobAccepted",
    "VerbViewSet",
    "allowed_actions",
    "job_answer",
    "routed",
    "show",
]
