"""What is wrong with the catalogue of verbs is said when a process starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error
from django.urls import NoReverseMatch, reverse

from scloud.jobs import handlers
from scloud.verbs import actions
from scloud.verbs.catalogue import Verb, all_catalogues

# An id that every pattern of the URLs takes.
ANY_ID = "vm-000000000"


def route_name(verb: Verb) -> str:
    """Return the name of the API's URL of a verb."""
    collection = f"api-{verb.kind.replace('_', '-')}"
    if verb.route is None or verb.route.method != "post":
        return f"{collection}-detail"
    last = verb.route.name or verb.route_path.replace("-", "_")
    return f"{collection}-{last.replace('_', '-')}"


def mistakes() -> list[str]:
    """Return what is wrong with the declarations of verbs, in words for programmers."""
    found = list(actions.mistakes(handlers.knows))
    for catalogue in all_catalogues():
        for verb in catalogue.public.values():
            names = [verb.url_name] if verb.dialog is not None else []
            names += [verb.batch_url_name] if verb.batch is not None and verb.batch.button else []
            names += [route_name(verb)] if verb.route is not None else []
            for name in names:
                arguments = [] if name == verb.batch_url_name else [ANY_ID]
                try:
                    reverse(name, args=arguments)
                except NoReverseMatch:
                    found.append(f"{verb.kind}.{verb.name}: there is no URL {name}")
    return found


def check_verbs(app_configs: Any = None, **options: Any) -> Sequence[CheckMessage]:
    """Refuse to start with a verb that is declared wrongly."""
    return [Error(said, id="scloud.verbs") for said in mistakes()]
