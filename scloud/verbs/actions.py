"""From a verb to the action that carries it out, found by the right that both declare."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

from scloud.audit.action import actions_of
from scloud.tenancy.actor import Actor
from scloud.tenancy.permissions import GRANTS, matches
from scloud.verbs import inputs
from scloud.verbs.catalogue import Verb, all_catalogues

Action = Callable[..., Any]
_prices: dict[str, Action] = {}


def load(package: str) -> None:
    """Import every module of a package of actions, so that their decorators have run."""
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        importlib.import_module(module.name)


def action_of(verb: Verb) -> Action:
    """Return the action of a verb. Raises LookupError unless there is exactly one."""
    found = actions_of(verb.permission)
    if len(found) != 1:
        raise LookupError(f"{verb.permission} is the right of {len(found)} actions")
    return found[0]


def invoke(verb: Verb, *, actor: Actor, row: Any, **values: Any) -> Any:
    """Call the action of a verb on a row. Raises what the action raises."""
    target = {verb.argument: row} if verb.argument else {}
    return action_of(verb)(actor=actor, **target, **values)


def prices(*verbs: str) -> Callable[[Action], Action]:
    """Make a function the one that says what a change by these verbs would cost.

    One that serves several verbs takes the name of the verb as ``verb``.
    """

    def register(function: Action) -> Action:
        for verb in verbs:
            _prices[verb] = function
        return function

    return register


def price(verb: Verb, *, actor: Actor, row: Any, **values: Any) -> Any:
    """Return what a verb would cost; changes nothing. Raises what the verb refuses."""
    function = _prices[verb.name]
    if "verb" in inspect.signature(function).parameters:
        values["verb"] = verb.name
    return function(actor=actor, **({verb.argument: row} if verb.argument else {}), **values)


def mistakes(knows_job: Callable[[str], bool]) -> Iterator[str]:
    """Yield what is wrong with the declarations; the URLs are checked where they are made."""
    for catalogue in all_catalogues():
        for verb in catalogue.public.values():
            if verb.job and not knows_job(verb.job):
                yield f"{verb.kind}.{verb.name}: no handler runs {verb.job}"
            yield from (f"{verb.kind}.{verb.name}: {said}" for said in _mistakes(verb))


def _mistakes(verb: Verb) -> Iterator[str]:
    if not str(verb.label):
        yield "it has no label"
    if not verb.icon:
        yield "it has no icon"
    if not verb.administrator_only and not any(
        matches(pattern, verb.permission) for patterns in GRANTS.values() for pattern in patterns
    ):
        yield f"no role includes {verb.permission}"
    if verb.route is None and not verb.elsewhere:
        yield "it has neither a route nor a word on where else it is"
    if verb.dialog is None and not verb.silent:
        yield "it has neither a dialog nor a reason for having none"
    if verb.batch is not None and verb.batch.button and not str(verb.batch.text):
        yield "its batch has no text"
    if verb.input is not None and inputs.missing(verb):
        yield f"nothing is registered as {', '.join(sorted(inputs.missing(verb)))}"
    if verb.route is not None and verb.route.quote is not None and verb.name not in _prices:
        yield "nothing says what it costs"
    found = actions_of(verb.permission)
    if len(found) != 1:
        yield f"{verb.permission} is the right of {len(found)} actions"
        return
    if verb.route is not None:
        yield from _mismatches(verb, found[0])


def _mismatches(verb: Verb, action: Action) -> Iterator[str]:
    """Yield where the input of a verb and the parameters of its action differ."""
    known = dict(inspect.signature(action).parameters)
    known.pop("actor", None)
    if verb.argument and known.pop(verb.argument, None) is None:
        yield f"the action takes no {verb.argument}"
    given = inputs.parameters_of(verb)
    unknown = given - set(known)
    if unknown:
        yield f"the action takes no {', '.join(sorted(unknown))}"
    needed = {name for name, one in known.items() if one.default is inspect.Parameter.empty}
    if needed - given:
        yield f"the input has no {', '.join(sorted(needed - given))}"
