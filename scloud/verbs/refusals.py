"""Why somebody cannot use a verb on a row now: the one answer that every place shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.utils.translation import gettext as _

from scloud.tenancy.actor import Actor
from scloud.verbs.catalogue import Text, Verb, of_kind

State = Callable[[Any, str], Text | None]
_states: dict[str, State] = {}
_platform: dict[str, State] = {}


def register(kind: str, state: State, *, platform: State | None = None) -> None:
    """Make known what says why the state of a kind's row does not allow a verb.

    ``platform`` is for administrators, where tenants are refused more.
    """
    _states[kind] = state
    _platform[kind] = platform or state


def not_allowed() -> str:
    """Return what people are told whose role lacks a right."""
    return _("Your role does not include this.")


def refusal(actor: Actor, row: Any, verb: Verb) -> str:
    """Return why the caller cannot use a verb on a row now; empty when it can be tried.

    The actions check again; nothing is allowed because it is said to be here.
    """
    if not actor.allows(verb.permission):
        return not_allowed()
    return str(_states[verb.kind](row, verb.name) or "")


def for_platform(row: Any, verb: Verb) -> str:
    """Return why administrators cannot use a verb on a row now; empty when it can be tried."""
    return str(_platform[verb.kind](row, verb.name) or "")


def allowed_actions(actor: Actor, kind: str, row: Any) -> Iterator[tuple[str, str]]:
    """Yield each verb of tenants with the reason against it; empty when it can be tried."""
    for verb in of_kind(kind).public.values():
        if not verb.administrator_only:
            yield verb.name, refusal(actor, row, verb)
