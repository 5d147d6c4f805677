"""Searches: what people type into a search box or send as ``?search=``, as bounded SQL.

Every list of the console, the API and the admin site narrows its rows here. One word becomes one
condition, all conditions one WHERE clause, and a relation with many rows a subquery rather than a
join: the statement grows with the number of words, never with its power.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput

MAX_WORDS: Final = 10
MAX_CHARACTERS: Final = 100

# Makes the condition for one word.
Match = Callable[[str], Q]
M = TypeVar("M", bound=Model)


def words_of(text: str, *, field: str = "search") -> list[str]:
    """Return the different words of a search, in their order.

    ``field`` is the request's parameter. Raises InvalidInput (``search_too_long``) above 100
    characters or ten words.
    """
    text = text.strip()
    words = list({word.casefold(): word for word in text.split()}.values())
    if len(text) > MAX_CHARACTERS or len(words) > MAX_WORDS:
        raise InvalidInput(
            _("A search has at most %(words)d words and %(characters)d characters.")
            % {"words": MAX_WORDS, "characters": MAX_CHARACTERS},
            code="search_too_long",
            field=field,
            remedy=_("Search for fewer or shorter words."),
            numbers={
                "max_words": MAX_WORDS,
                "max_characters": MAX_CHARACTERS,
                "words": len(words),
                "characters": len(text),
            },
        )
    return words


def containing(model: type[Model], paths: Sequence[str]) -> Match:
    """Return the condition that a word is in one of the fields, upper and lower case alike."""

    def match(word: str) -> Q:
        found = Q()
        for path in paths:
            inside = Q(**{f"{path}__icontains": word})
            if _has_many(model, path):
                same = model._base_manager.filter(inside, pk=OuterRef("pk"))
                inside = Q(Exists(same))
            found |= inside
        return found

    return match


def narrow(rows: QuerySet[M], text: str, match: Match, *, field: str = "search") -> QuerySet[M]:
    """Return the rows that match every word of the text. Raises InvalidInput as words_of."""
    conditions = [match(word) for word in words_of(text, field=field)]
    return rows.filter(*conditions) if conditions else rows


def _has_many(model: type[Model], path: str) -> bool:
    """Tell whether a path leads over a relation by which one row has many others."""
    at: Any = model
    for name in path.split("__"):
        try:
            step = at._meta.get_field(name)
        except FieldDoesNotExist:
            return False  # "pk", or the lookup of a plain field
        if step.one_to_many or step.many_to_many:
            return True
        if step.related_model is None:
            return False
        at = step.related_model
    return False
